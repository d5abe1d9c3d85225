//! What stands right of the cursor: suggestions come there by themselves, stay on the line, and neither double nor
//! swallow what is there.

use cosec_ls::complete::brackets::{brackets, unmatched};
use cosec_ls::complete::surroundings::Surroundings;
use cosec_ls::complete::trigger::{Extent, extent};
use cosec_ls::complete::trim::{Trimmed, trim};
use cosec_ls::complete::{Reason, Trigger};
use cosec_ls::config::MultiLine;
use cosec_ls::text::{ByteIdx, Document};

/// A language, a text with the cursor as `$0`, what the model says, and the text once that is accepted.
type Row = (&'static str, &'static str, &'static str, &'static str);

const CLOSED_BY_EDITORS: &[Row] = &[
    ("html", "<div>$0</div>", "hello</div>", "<div>hello</div>"),
    ("html", "<div>$0</div>", "<b>a</b>", "<div><b>a</b></div>"),
    ("html", "<div>$0</div>", "<div>a</div>", "<div><div>a</div></div>"),
    ("html", "<div>$0</div>", "<div>a</div></div>", "<div><div>a</div></div>"),
    ("html", "<p><b>$0</b></p>", "a</b>", "<p><b>a</b></p>"),
    ("html", "<p>$0</p>", "it's (a) [0, n)</p><p>b", "<p>it's (a) [0, n)</p>"),
    ("html", "<a href=\"$0\">x</a>", "/index\">home</a>", "<a href=\"/index\">x</a>"),
    ("html", "<div class=\"a\"$0></div>", " id=\"b\">", "<div class=\"a\" id=\"b\"></div>"),
    ("javascriptreact", "<Foo a={$0} />", "b} />", "<Foo a={b} />"),
    (
        "javascriptreact",
        "<li>{items.map(x => $0)}</li>",
        "x.name)}</li>",
        "<li>{items.map(x => x.name)}</li>",
    ),
    ("typescriptreact", "<Foo $0/>", "a=\"b\" />", "<Foo a=\"b\" />"),
    ("vue", "<p>{{ $0 }}</p>", "user.name }}</p>", "<p>{{ user.name }}</p>"),
    ("svelte", "{#if $0}", "user}", "{#if user}"),
    ("javascript", "/** $0 */", "Adds two numbers. */", "/** Adds two numbers. */"),
    ("javascript", "/** $0 */", "Adds (a, b) [0, n)", "/** Adds (a, b) [0, n) */"),
    ("css", "/* $0 */", "colours */\n.a {", "/* colours */"),
    ("html", "<!-- $0 -->", "a note -->", "<!-- a note -->"),
    ("jinja", "{# $0 #}", "a note #}", "{# a note #}"),
    ("jinja", "{% if $0 %}", "user %}", "{% if user %}"),
    ("jinja", "{{ $0 }}", "user.name}}", "{{ user.name }}"),
    ("erb", "<%= $0 %>", "user.name %>", "<%= user.name %>"),
    ("php", "<?= $0 ?>", "$a ?>", "<?= $a ?>"),
    ("rust", "foo($0)?;", ")?;", "foo()?;"),
    ("rust", "foo($0)?;", ");", "foo()?;"),
    ("rust", "foo($0)?;", "a, b);", "foo(a, b)?;"),
    ("rust", "foo($0).await?;", "a).await?;", "foo(a).await?;"),
    ("rust", "foo($0).await?;", "a)?;", "foo(a).await?;"),
    ("rust", "map(|x$0|)", "| x + 1)", "map(|x| x + 1)"),
    (
        "rust",
        "let x: Vec<$0> = y;",
        "HashMap<u8, Vec<u8>>> = Vec::new();",
        "let x: Vec<HashMap<u8, Vec<u8>>> = y;",
    ),
    ("rust", "let x = r#\"$0\"#;", "a \"b\" c\"#;", "let x = r#\"a \"b\" c\"#;"),
    ("go", "run($0); // go", "); // go", "run(); // go"),
    ("go", "run($0); // go", ") {", "run(); // go"),
    ("go", "run($0); // go", "a); // stop", "run(a); // go"),
    ("go", "x := `$0`", "a (b` + c", "x := `a (b` + c"),
    ("typescript", "list.map(x$0) => {", ", i) => {", "list.map(x, i) => {"),
    ("typescript", "list.map(x$0) => {", ", i) => foo", "list.map(x, i) => {"),
    (
        "typescript",
        "useEffect(() => {$0}, [deps]);",
        " run() }, [deps]);",
        "useEffect(() => { run() }, [deps]);",
    ),
    ("typescript", "`a ${$0} c`", "b} c`", "`a ${b} c`"),
    ("python", "def f($0) -> None:", "a, b) -> None:", "def f(a, b) -> None:"),
    ("python", "def f($0) -> None:", "a: int):", "def f(a: int) -> None:"),
    (
        "python",
        "def f():\n    \"\"\"$0\"\"\"",
        "Return [0, n).\"\"\"",
        "def f():\n    \"\"\"Return [0, n).\"\"\"",
    ),
    ("python", "x = f'{$0}'", "a}'", "x = f'{a}'"),
    ("python", "x = [\"$0\"],", "a\"],", "x = [\"a\"],"),
    ("python", "print(\"foo($0)\")", "x)\")", "print(\"foo(x)\")"),
    ("ruby", "a.each { |x$0| puts x }", ", y| p", "a.each { |x, y| puts x }"),
    ("ruby", "a.each do |x| $0 end", "puts x end", "a.each do |x| puts x end"),
    ("lua", "f(function() $0 end)", "return x end)", "f(function() return x end)"),
    ("lua", "f(function() $0 end)", "if a then b() end", "f(function() if a then b() end end)"),
    ("lua", "x = [[$0]]", "a]]", "x = [[a]]"),
    ("lua", "--[[ $0 ]]", "a note ]]", "--[[ a note ]]"),
    ("markdown", "the $$0$ of", "x^2$", "the $x^2$ of"),
    ("markdown", "$$0$", "x^2$ and $y", "$x^2$"),
    ("markdown", "**$0** x", "bold**", "**bold** x"),
    ("markdown", "`$0`", "code` is", "`code` is"),
    ("markdown", "[$0](url)", "text](http://x)", "[text](url)"),
    ("latex", "\\frac{$0}{2}", "x}{2}", "\\frac{x}{2}"),
    ("shellscript", "x=\"$($0)\"", "pwd)\"", "x=\"$(pwd)\""),
    ("java", "String x = \"$0\";", "a\";", "String x = \"a\";"),
    ("haskell", "{- $0 -}", "a -}", "{- a -}"),
    ("haskell", "{-# $0 #-}", "LANGUAGE GADTs #-}", "{-# LANGUAGE GADTs #-}"),
    ("ocaml", "(* $0 *)", "a note *)", "(* a note *)"),
    ("latex", "\\($0\\)", "x^2\\)", "\\(x^2\\)"),
    ("latex", "\\left( $0 \\right)", "x \\right)", "\\left( x \\right)"),
    ("liquid", "{%- if $0 -%}", "user -%}", "{%- if user -%}"),
    ("xml", "<![CDATA[$0]]>", "a[0]]]>", "<![CDATA[a[0]]]>"),
    ("cpp", "std::vector<$0> x;", "int> y;", "std::vector<int> x;"),
    ("c", "#include <$0>", "stdio.h>", "#include <stdio.h>"),
    ("rust", "#[derive($0)]", "Debug, Clone)]", "#[derive(Debug, Clone)]"),
    ("rust", "println!(\"{}\", $0);", "x);", "println!(\"{}\", x);"),
    ("rust", "Some($0) => {", "x) => {", "Some(x) => {"),
    ("vue", "<div :class=\"{$0}\">", " active: x }\">", "<div :class=\"{ active: x }\">"),
    ("shellscript", "if [[ $0 ]]; then", "-f x ]]; then", "if [[ -f x ]]; then"),
    ("shellscript", "echo \"${$0}\"", "HOME}\"", "echo \"${HOME}\""),
    ("swift", "print(\"a \\($0)\")", "b)\")", "print(\"a \\(b)\")"),
    ("csharp", "x = $\"{$0}\";", "a}\";", "x = $\"{a}\";"),
    ("kotlin", "x = \"${$0}\"", "a.b}\"", "x = \"${a.b}\""),
    ("elixir", "Enum.map(a, fn x -> $0 end)", "x + 1 end)", "Enum.map(a, fn x -> x + 1 end)"),
    ("erlang", "<<$0>>", "1, 2>>", "<<1, 2>>"),
    ("markdown", "~~$0~~", "gone~~", "~~gone~~"),
    ("sql", "values ($0);", "1, 2);", "values (1, 2);"),
    ("php", "$x = ['a' => $0];", "1];", "$x = ['a' => 1];"),
];

const DIVIDED: &[Row] = &[
    ("c", "x = f()$0; // go", " + g(); // b", "x = f() + g(); // go"),
    ("c", "x = $0 // go", "f(); // go", "x = f(); // go"),
    ("python", "x = $0  # go", "f(a)  # b", "x = f(a)  # go"),
    ("sql", "select a $0 -- go", "from b; -- c", "select a from b; -- go"),
    ("c", "x = $0;", "f();", "x = f();"),
    ("json", "{\"a\": $0, \n\"b\": 1}", "1,", "{\"a\": 1, \n\"b\": 1}"),
    ("python", "if x$0:", " > 0:", "if x > 0:"),
    ("c", "if (x)$0 {", " // a", "if (x) {"),
    ("typescript", "const f = (a)$0 => {", ": number => {", "const f = (a): number => {"),
    ("rust", "fn f()$0 -> {", " where T: A -> {", "fn f() where T: A -> {"),
    ("rust", "g()$0?;", ".h()?;", "g().h()?;"),
    ("css", "color: $0;", "red;", "color: red;"),
    ("css", "a { color: $0; }", "red; }", "a { color: red; }"),
    ("shellscript", "if x; then $0; fi", "y; fi", "if x; then y; fi"),
    ("python", "x = a[$0:]", "1:]", "x = a[1:]"),
    ("javascript", "x = { a: $0, }", "1, }", "x = { a: 1, }"),
    ("java", "case $0:", "1:", "case 1:"),
];

const ASKED_BEFORE_TEXT: &[Row] = &[
    ("c", "foo($0bar)", "x, bar)", "foo(x, bar)"),
    ("c", "foo($0bar)", "bar) + 1", "foo(bar) + 1"),
    ("c", "x = $0result;", "2 * result;", "x = 2 * result;"),
    ("python", "x = $0value", "self.value", "x = self.value"),
    ("python", "x = $0it", "edit", "x = editit"),
];

/// Closers that have no partner and need none.
const NEEDED: &[Row] = &[
    ("shellscript", "case $x in\n  foo$0\n", ")", "case $x in\n  foo)\n"),
    (
        "shellscript",
        "case $x in\n  $0\nesac\n",
        "a|b)\n    run ;;",
        "case $x in\n  a|b)\n    run ;;\nesac\n",
    ),
    (
        "zsh",
        "case $x in\n  -h$0\nesac\n",
        "|--help) usage; exit ;;",
        "case $x in\n  -h|--help) usage; exit ;;\nesac\n",
    ),
    (
        "makefile",
        "a:\n\tcase x in \\\n\tfoo$0\n",
        ") b;; esac",
        "a:\n\tcase x in \\\n\tfoo) b;; esac\n",
    ),
    ("markdown", "in $0\n", "[0, n)", "in [0, n)\n"),
    ("markdown", "fine $0\n", ":)", "fine :)\n"),
    ("plaintext", "a$0\n", ") first", "a) first\n"),
    ("latex", "$x \\in $0\n", "[0, 1)$", "$x \\in [0, 1)$\n"),
    ("c", "// in [0, n$0\nint x;\n", ")", "// in [0, n)\nint x;\n"),
    ("c", "/* fine\n * $0\n */\n", ":)", "/* fine\n * :)\n */\n"),
    ("c", "puts(\":$0\");\n", ")", "puts(\":)\");\n"),
    ("c", "x = $0;\n", "')'", "x = ')';\n"),
    ("python", "x = '$0'\n", "[0, n)", "x = '[0, n)'\n"),
    (
        "python",
        "def f():\n    \"\"\"In $0\n    \"\"\"\n",
        "[0, n)",
        "def f():\n    \"\"\"In [0, n)\n    \"\"\"\n",
    ),
    ("yaml", "a: in $0\n", "[0, n)", "a: in [0, n)\n"),
    ("html", "<p>in $0\n</p>\n", "[0, n)", "<p>in [0, n)\n</p>\n"),
];

const JSON: &[Row] = &[
    ("json", "{\n  \"a\": $0\n}\n", "1,", "{\n  \"a\": 1\n}\n"),
    ("json", "{\n  \"a\": $0\n}\n", "1,\n}", "{\n  \"a\": 1\n}\n"),
    ("jsonc", "[1, $0]\n", "2,", "[1, 2]\n"),
    ("json", "{\"a\": [$0\n  ]}\n", "1, 2,", "{\"a\": [1, 2\n  ]}\n"),
    ("json", "{\n  \"a\": $0\n  \"b\": 2\n}\n", "1,", "{\n  \"a\": 1,\n  \"b\": 2\n}\n"),
    ("javascript", "x = [$0\n]\n", "1,", "x = [1,\n]\n"),
];

const BLANKS: &[Row] = &[
    ("c", "x = $0   ", "f();", "x = f();"),
    ("python", "x = $0\t\ny", "1", "x = 1\ny"),
    ("c", "if (x) {$0  \n}\n", "\n    y();", "if (x) {\n    y();\n}\n"),
    ("markdown", "a$0  \nb", " line", "a line  \nb"),
];

const BELOW: &[Row] = &[
    (
        "c",
        "a();\n$0\nb();\nc();\nd();\n",
        "x();\ny();\nb();\nc();\nd();",
        "a();\nx();\ny();\nb();\nc();\nd();\n",
    ),
    ("python", "$0\ny = 2\nreturn x + y\n", "x = 1\nreturn x + y", "x = 1\ny = 2\nreturn x + y\n"),
    (
        "c",
        "$0\nint y = 2;\nint z = compute(y);\nuse(z);\n",
        "int x = 1;\nint z = compute(y);\nuse(z);",
        "int x = 1;\nint y = 2;\nint z = compute(y);\nuse(z);\n",
    ),
    (
        "c",
        "f() {\n  if (a) {$0\n  }\n}\n",
        "\n    y();\n  }\n}",
        "f() {\n  if (a) {\n    y();\n  }\n}\n",
    ),
    ("c", "f() {\n  $0\n}\n", "if (a) {\n    y();\n  }", "f() {\n  if (a) {\n    y();\n  }\n}\n"),
    (
        "c",
        "case 1:\n  $0\ncase 2:\n  b();\n  break;\n",
        "a();\n  break;",
        "case 1:\n  a();\n  break;\ncase 2:\n  b();\n  break;\n",
    ),
    ("ruby", "if a\n  $0\nend\nputs x\n", "b\nend\nputs x", "if a\n  b\nend\nputs x\n"),
];

fn near(language: &str, text: &str) -> (Surroundings, String, usize) {
    let cursor = text.rfind("$0").expect("the text has a cursor");
    let plain = format!("{}{}", &text[..cursor], &text[cursor + 2..]);
    let near = Surroundings::at(&Document::new(&plain, 1, language), ByteIdx(cursor));
    (near, plain, cursor)
}

/// The text once the suggestion is accepted; as it was if there is none.
fn accept((language, text, decoded, _): Row) -> String {
    let (near, plain, cursor) = near(language, text);
    match trim(decoded, &near) {
        Ok(Trimmed { insert, replace }) => {
            assert!(replace <= near.right.len(), "{text:?}: the range is on one line");
            format!("{}{insert}{}", &plain[..cursor], &plain[cursor + replace..])
        }
        Err(reason) => {
            let silent = [Reason::Duplicate, Reason::Empty];
            assert!(silent.contains(&reason), "{text:?} {decoded:?} {reason}");
            plain
        }
    }
}

fn check(rows: &[Row]) {
    for row in rows {
        assert_eq!(accept(*row), row.3, "{} {:?} {:?}", row.0, row.1, row.2);
    }
}

#[test]
fn what_editors_close_is_neither_doubled_nor_swallowed() {
    check(CLOSED_BY_EDITORS);
}

#[test]
fn what_divides_statements_is_neither_doubled_nor_swallowed() {
    check(DIVIDED);
}

#[test]
fn suggestions_come_by_themselves_beside_what_closes_and_divides() {
    for (language, text, ..) in CLOSED_BY_EDITORS.iter().chain(DIVIDED) {
        let extent = extent(&near(language, text).0, Trigger::Automatic, MultiLine::Auto);
        assert_eq!(extent, Ok(Extent::Line), "{language} {text:?}");
    }
    for (language, text, ..) in ASKED_BEFORE_TEXT {
        let extent = extent(&near(language, text).0, Trigger::Automatic, MultiLine::Auto);
        assert_eq!(extent, Err(Reason::MidLine), "{language} {text:?}");
    }
}

#[test]
fn text_to_the_right_is_said_once() {
    check(ASKED_BEFORE_TEXT);
}

#[test]
fn a_closer_that_the_text_needs_stays() {
    check(NEEDED);
}

#[test]
fn json_has_no_comma_before_a_closer() {
    check(JSON);
}

#[test]
fn trailing_blanks_are_covered_unless_they_mean_something() {
    check(BLANKS);
}

#[test]
fn lines_below_are_not_said_again() {
    check(BELOW);
}

/// Whatever part of what it has in mind the model says, the line keeps what is there, as often as it should.
#[test]
fn any_beginning_of_a_suggestion_fits() {
    for (language, text, decoded, expect) in CLOSED_BY_EDITORS.iter().chain(DIVIDED) {
        let (near, ..) = near(language, text);
        for (end, _) in decoded.char_indices().skip(1) {
            let got = accept((language, text, &decoded[..end], expect));
            let closers = |text: &str| unmatched(brackets(text, language)).closers.len();
            assert!(closers(&got) <= closers(expect), "{got:?} {:?}", &decoded[..end]);
            let [got, expect, right] = [&got, *expect, &near.right].map(squeezed);
            let (n_got, n_most) = (got.matches(&right).count(), expect.matches(&right).count());
            assert!(n_got <= n_most.max(1), "{got:?} {:?}", &decoded[..end]);
            let mut behind = got[squeezed(&near.left).len()..].chars();
            assert!(right.chars().all(|c| behind.any(|found| found == c)), "{got:?} {right:?}");
        }
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}
