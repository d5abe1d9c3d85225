//! White space belongs to the file: every line is indented as the block that it continues.

use cosec_ls::complete::style::Style;
use cosec_ls::complete::surroundings::Surroundings;
use cosec_ls::text::{ByteIdx, Document};

/// A language, a text with the cursor as `$0`, what the model says, and what of that is shown.
type Row = (&'static str, &'static str, &'static str, &'static str);

const LANGUAGES: &[Row] = &[
    // A recipe begins with a tab, whatever the variables above are aligned with.
    ("makefile", "SRC = a \\\n    b \\\n    c\n\nall: x$0\n", "\n\tgcc -o x", "\n\tgcc -o x"),
    (
        "makefile",
        "SRC = a \\\n    b \\\n    c\n\nall: x$0\n",
        "\n    gcc -o x\n    ls",
        "\n\tgcc -o x\n\tls",
    ),
    ("makefile", "all: x\n\tgcc\n$0", "    ls", "\tls"),
    ("makefile", "all: a \\\n     b$0\n", "\n\tgcc", "\n\tgcc"),
    ("makefile", "all:\n\tif x; then \\$0\n", "\n\t    y; \\\n\tfi", "\n\t    y; \\\n\tfi"),
    ("makefile", "all:\n\tgcc\n\nSRC := a \\$0\n", "\n    b", "\n    b"),
    // gofmt, and what stands in raw strings.
    ("go", "func f() {$0\n", "\n    return 1", "\n\treturn 1"),
    ("go", "func f() {\n\tx := `$0`\n", "\na:\n  b: 1", "\na:\n  b: 1"),
    ("go", "func f() {\n\tx := `\na:\n  b:$0\n`\n", "\n    c: 1\n\td: 2", "\n    c: 1\n  d: 2"),
    ("go", "func f() {\n\tx := `\nSELECT\n\ta$0`\n", ",\n\tb", ",\n\tb"),
    // A tab is an error.
    ("yaml", "a:\n  b:$0\n", "\n\t\tc: 1", "\n    c: 1"),
    ("yaml", "a:$0\n", "\n\tc: 1", "\n  c: 1"),
    ("yaml", "a: |$0\n", "\n  all:\n  \tgcc", "\n  all:\n  \tgcc"),
    ("fsharp", "let f x =$0\n", "\n\tx + 1", "\n  x + 1"),
    // Never mixed.
    ("python", "def f():\n    x\n\ndef g():\n\ta\n\tb\n\ndef h():\n    c$0\n", "\n\td", "\n    d"),
    ("python", "def f():\n    x\n    y\n    z\n\ndef g():\n\ta\n$0", "    b", "\tb"),
    ("python", "def f():\n\tx\n\tif y:$0\n", "\n\t  z\n\t\tw", "\n\t  z\n\t\tw"),
    ("python", "class A:\n\tdef f(self):$0\n", "\n      x", "\n\t\tx"),
    // Content.
    (
        "diff",
        "--- a\n+++ b\n@@ -1,2 +1,2 @@\n context$0\n",
        "\n-old  \n+new\t\n \n x",
        "\n-old  \n+new\t\n \n x",
    ),
    ("patch", " $0", "  x", "  x"),
    ("tsv", "a\tb\n1\t$0\n", "\t\n2\t\t\n", "\t\n2\t\t\n"),
    ("csv", "a, $0\n", " b \nc, d ", " b \nc, d "),
    ("markdown", "- a\n\t- b\n\none$0\n", "  \ntwo \n  - three\n    ", "  \ntwo\n  - three\n    "),
    ("restructuredtext", "\ta\n$0", "    b", "    b"),
    // Everything else follows its block.
    ("c", "\tif (x) {$0", "\n        y();\n    }", "\n\t\ty();\n\t}"),
    ("c", "\tf(a);\n\tg(b);\n\tint x = foo(a,$0", "\n\t            b);", "\n\t            b);"),
    ("c", "\tf(a);\n\tint x = foo(a,$0", "\n                b);", "\n\t            b);"),
    ("c", "int f(int a,\n      int b) {\n\tx();\n\tif (a) {$0", "\n\t\ty();", "\n\t\ty();"),
    ("c", "\tx();\n\t/**$0", "\n\t * Adds.\n\t */", "\n\t * Adds.\n\t */"),
    ("c", "x {\n  y {\n    z\n  }\n}\n  w {$0", "\n\t\tv", "\n    v"),
    ("", "a$0", "\n\tb\n  c", "\n\tb\n  c"),
];

const STRINGS: &[Row] = &[
    ("javascript", "f();\n\tx = `$0`\n", "a  \n  b\n\tc\n`", "a  \n  b\n\tc\n`"),
    ("typescript", "  x = sql`\n    a$0\n  `\n", ",\n\tb", ",\n    b"),
    ("rust", "fn f() {\n\tlet x = r#\"$0\"#;\n", "\n  a: 1  \n    b", "\n  a: 1  \n    b"),
    ("cpp", "\tauto x = R\"($0)\";\n", "\n    a", "\n    a"),
    ("lua", "\tx = [[$0", "\n    a ", "\n    a "),
    ("java", "\tString x = \"\"\"$0", "\n    a", "\n    a"),
    ("python", "def f():\n\tx = '''$0", "\n    a \n    b'''", "\n    a \n    b'''"),
    ("python", "def f():\n\t\"\"\"A.$0", " \n\n    B.\n    \"\"\"", "\n\n\tB.\n\t\"\"\""),
    ("shellscript", "if x; then\n    cat <<-EOF$0\n", "\n\ta\n\tEOF\n\ty", "\n\ta\n\tEOF\n    y"),
    ("shellscript", "f() {\n\tcat <<EOF$0\n", "\n    a\nEOF\n    b", "\n    a\nEOF\n\tb"),
    ("ruby", "\tx = <<~SQL$0\n", "\n    a", "\n    a"),
    ("php", "\t$x = <<<SQL$0\n", "\n    a", "\n    a"),
    ("dockerfile", "RUN <<EOF$0\n", "\n\ta", "\n\ta"),
    ("elixir", "  x = ~s(a)\n  y = f(\"\"\"$0", "\n\ta", "\n\ta"),
];

fn check(rows: &[Row]) {
    for (language, text, decoded, expect) in rows {
        let cursor = text.find("$0").expect("the text has a cursor");
        let document = Document::new(&text.replacen("$0", "", 1), 1, language);
        let style = Style::of(&Surroundings::at(&document, ByteIdx(cursor)));
        assert_eq!(style.rewrite(decoded), *expect, "{language} {text:?} {decoded:?}");
        for (end, _) in decoded.char_indices() {
            let part = style.rewrite(&decoded[..end]);
            assert!(expect.starts_with(part.trim_end()), "{language} {part:?} {expect:?}");
        }
    }
}

#[test]
fn languages_have_rules_for_white_space() {
    check(LANGUAGES);
}

#[test]
fn strings_of_several_lines_keep_theirs() {
    check(STRINGS);
}
