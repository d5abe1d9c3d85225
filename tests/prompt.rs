//! Prompts in tokens: what a file's path looks like in them, and budgets that hold whatever the text is.

use std::fs;
use std::ops::Range;

use cosec_ls::cli::complete::Place;
use cosec_ls::engine::pair::file_tokens;
use cosec_ls::model::Tokenizer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::prompt::fim::{FimTokens, PromptBudget, Reach, frame, frame_ahead};
use cosec_ls::prompt::window::prompt_at;
use cosec_ls::prompt::{Header, Layout, Prompt};
use cosec_ls::text::{ByteIdx, Document};

use crate::support::real_models;
use crate::support::tiny_gguf::TinyGguf;

const BUDGET: PromptBudget = PromptBudget { prefix_tokens: 240, suffix_tokens: 60 };

/// A tokenizer, and the tokens that frame its prompts.
struct Family {
    tokenizer: Tokenizer,
    fim: Option<FimTokens>,
}

impl Family {
    /// Every byte is a token; the model was trained on paths, or was not.
    fn tiny(knows_paths: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let extra_tokens = match knows_paths {
            true => vec!["ab", "<|repo_name|>", "<|file_sep|>", "<|pre|>", "<|suf|>", "<|mid|>"],
            false => TinyGguf::default().extra_tokens,
        };
        let n_special = extra_tokens.len() - 1;
        let path = TinyGguf { extra_tokens, n_special, ..TinyGguf::default() }
            .write(directory.path(), "t.gguf");
        Self::of(&path, ["<|pre|>", "<|suf|>", "<|mid|>"])
    }

    /// The real one, where it is on this machine.
    fn real() -> Option<Self> {
        let path = real_models::find(real_models::SECURITY)?;
        Some(Self::of(&path, ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]))
    }

    fn of(path: &std::path::Path, [prefix, suffix, middle]: [&str; 3]) -> Self {
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap();
        let special = |name: &str| tokenizer.special(name).unwrap();
        let fim = Some(FimTokens {
            prefix: special(prefix),
            suffix: special(suffix),
            middle: special(middle),
            file: file_tokens(&tokenizer),
        });
        Self { tokenizer, fim }
    }

    /// The prompt as text, with the names of special tokens; what healing took back is there again.
    fn shown(&self, prompt: &Prompt, budget: PromptBudget) -> String {
        let framed = frame(prompt, &self.tokenizer, self.fim, budget).unwrap();
        let tokens = framed.tokens.iter().map(|&token| self.tokenizer.describe(token));
        tokens.collect::<String>() + std::str::from_utf8(framed.healing.pending()).unwrap()
    }

    fn n_tokens(&self, text: &str) -> usize {
        self.tokenizer.encode(text).unwrap().len()
    }

    /// The tokens of the parts of a prompt: before the middle and after it together, and between them the suffix.
    fn parts(&self, prompt: &Prompt, budget: PromptBudget) -> Parts {
        let framed = frame(prompt, &self.tokenizer, self.fim, budget).unwrap();
        let fim = self.fim.unwrap();
        let at = |token| framed.tokens.iter().position(|&t| t == token).unwrap();
        let (suffix, middle) = (at(fim.suffix), at(fim.middle));
        let is_text = |token: &&u32| !self.tokenizer.is_special(**token);
        Parts {
            n_opening: framed.tokens[..suffix].iter().filter(is_text).count(),
            suffix: framed.tokens[suffix + 1..middle].to_vec(),
            left: framed.tokens[middle + 1..].to_vec(),
            healed: framed.healing.pending().to_vec(),
        }
    }
}

struct Parts {
    n_opening: usize,
    suffix: Vec<u32>,
    left: Vec<u32>,
    healed: Vec<u8>,
}

impl Parts {
    /// Tokens that stand before the cursor, with the one that was taken back.
    fn n_before(&self) -> usize {
        self.n_opening + self.left.len() + usize::from(!self.healed.is_empty())
    }

    fn left_bytes(&self, tokenizer: &Tokenizer) -> Vec<u8> {
        let bytes = self.left.iter().flat_map(|&token| tokenizer.bytes(token)).copied();
        bytes.chain(self.healed.iter().copied()).collect()
    }
}

fn header(path: &str, language: &str) -> Option<Header> {
    Some(Header { path: path.to_owned(), language: language.to_owned() })
}

fn prompt(header: Option<Header>, layout: Layout) -> Prompt {
    let [above, left, suffix] = ["a = 1\n", "b = ", "\nc = 3\n"].map(str::to_owned);
    Prompt { header, above, left, suffix, layout }
}

#[test]
fn a_path_is_told_as_the_family_was_trained() {
    use Layout::{FillInMiddle, LeftToRight};
    let rest = "a = 1\n<|suf|>\nc = 3\n<|mid|>b = ";
    let (trained, other) = (Family::tiny(true), Family::tiny(false));
    let without = Family { fim: None, ..Family::tiny(true) };
    let python = || header("src/a.py", "python");
    let trained_on = |path: &str| format!("<|repo_name|>workspace\n<|file_sep|>{path}\n");
    let (at, comment) = (trained_on("src/a.py"), "# path: src/a.py\n");
    for (family, header, layout, expected) in [
        (&trained, python(), FillInMiddle, format!("{at}<|pre|>{comment}{rest}")),
        (
            &trained,
            header("a.json", "json"),
            FillInMiddle,
            format!("{}<|pre|>{rest}", trained_on("a.json")),
        ),
        (&trained, None, FillInMiddle, format!("<|pre|>{rest}")),
        (&trained, python(), LeftToRight, format!("{at}{comment}a = 1\nb = ")),
        (&other, python(), FillInMiddle, format!("<|pre|>{comment}{rest}")),
        (
            &other,
            header("a.html", "html"),
            FillInMiddle,
            format!("<|pre|><!-- path: a.html -->\n{rest}"),
        ),
        (&other, header("a.json", "json"), FillInMiddle, format!("<|pre|>{rest}")),
        (&other, header("a.txt", "plaintext"), FillInMiddle, format!("<|pre|>{rest}")),
        (&without, python(), LeftToRight, format!("{comment}a = 1\nb = ")),
        (&without, header("a.rs", "rust"), FillInMiddle, "// path: a.rs\na = 1\nb = ".to_owned()),
    ] {
        assert_eq!(family.shown(&prompt(header, layout), BUDGET), expected);
    }
}

#[test]
fn the_text_of_a_special_token_in_a_path_stays_text() {
    for name in ["<|mid|>.py", "<|file_sep|>x.py", "a<|pre|>"] {
        for family in [Family::tiny(true), Family::tiny(false)] {
            let with = |path| prompt(header(path, "python"), Layout::FillInMiddle);
            let n_special = |prompt: &Prompt| {
                let framed = frame(prompt, &family.tokenizer, family.fim, BUDGET).unwrap();
                framed.tokens.iter().filter(|&&token| family.tokenizer.is_special(token)).count()
            };
            assert_eq!(n_special(&with(name)), n_special(&with("a.py")), "{name}");
            assert!(family.shown(&with(name), BUDGET).contains(name));
        }
    }
}

#[test]
fn a_path_that_takes_too_much_of_a_budget_is_not_shown() {
    let family = Family::tiny(true);
    let prompt = prompt(header("src/a.py", "python"), Layout::FillInMiddle);
    let shown =
        |prefix_tokens| family.shown(&prompt, PromptBudget { prefix_tokens, suffix_tokens: 9 });
    // Ten letters of the repository's name, nine of the path and seventeen of the comment.
    assert!(shown(4 * 36).starts_with("<|repo_name|>"));
    assert!(shown(4 * 36 - 1).starts_with("<|pre|>a = 1"));
    assert_eq!(shown(0), "<|pre|><|suf|>\nc = 3\n<|mid|>");
}

/// A document of long lines, with a place in the middle of it.
fn places(line: &str) -> Vec<(Document, ByteIdx)> {
    let lines = format!("{line}\n").repeat(3);
    let [one, many] = [line.to_owned(), lines.clone()];
    let place = |text: String, at: usize| {
        let document = Document::new(&text, 1, "javascript");
        let at = document.char_start(ByteIdx(at));
        (document, at)
    };
    let (half, whole, third_line) = (one.len() / 2, one.len(), many.len() / 2 + one.len());
    vec![
        place(one.clone(), half),
        place(one, whole),
        place(many.clone(), third_line),
        place(many, lines.len()),
    ]
}

/// Lines of about `n_bytes` bytes in which tokens are short, or long, or bytes and characters do not agree.
fn long_lines(n_bytes: usize) -> Vec<String> {
    let units = [
        "a1;b2,",
        "0123456789",
        "漢字仮名",
        "🦀🧪👩‍💻",
        "Zm9vYmFy+/Q3",
        "    ",
        "\t",
        "=",
        "é",
        "क़ख़",
        "\u{1}\u{7f}",
        "function(t){return t.x}",
        "<|fim_middle|>",
        "ab",
        "a\u{301}\u{323}",
    ];
    units.map(|unit| unit.repeat(n_bytes / unit.len())).to_vec()
}

#[track_caller]
fn check_budgets(family: &Family, budget: PromptBudget) {
    for line in long_lines(40_000) {
        let start: String = line.chars().take(3).collect();
        for (document, cursor) in places(&line) {
            let mut prompt = prompt_at(&document, cursor, budget.into());
            prompt.header = header("src/app.min.js", "javascript");
            let parts = family.parts(&prompt, budget);
            let PromptBudget { prefix_tokens, suffix_tokens } = budget;
            assert!(parts.n_before() <= prefix_tokens, "{start:?}: {}", parts.n_before());
            assert!(parts.suffix.len() <= suffix_tokens, "{start:?}: {}", parts.suffix.len());
            // What is kept is the line's end, in whole characters, up to the cursor.
            let left = String::from_utf8(parts.left_bytes(&family.tokenizer)).unwrap();
            let composed =
                family.tokenizer.decode_lossy(&family.tokenizer.encode(&prompt.left).unwrap());
            assert!(composed.ends_with(&left), "{start:?}: {left:?}");
            // Sixteen tokens do not hold every character.
            assert!(!left.is_empty() || prompt.left.is_empty() || prefix_tokens == 16, "{start:?}");
            let suffix = family.tokenizer.decode_lossy(&parts.suffix);
            assert!(!suffix.contains('\u{fffd}'), "{start:?}: {suffix:?}");
        }
    }
}

#[test]
fn budgets_count_tokens_in_one_long_line_too() {
    for budget in [BUDGET, PromptBudget { prefix_tokens: 1024, suffix_tokens: 256 }] {
        check_budgets(&Family::tiny(true), budget);
        check_budgets(&Family::tiny(false), budget);
    }
    check_budgets(&Family::tiny(true), PromptBudget { prefix_tokens: 16, suffix_tokens: 4 });
}

#[test]
fn budgets_hold_with_the_real_tokenizer() {
    let Some(family) = Family::real() else { return };
    for (prefix_tokens, suffix_tokens) in [(1024, 256), (100, 30)] {
        check_budgets(&family, PromptBudget { prefix_tokens, suffix_tokens });
    }
}

/// How often the first token of what is kept of the line moves, and the most and fewest tokens of it, while `unit` is
/// typed again and again behind `line`. Nothing else may change.
fn type_on(family: &Family, line: &str, unit: &str, n_bytes: usize) -> (usize, Range<usize>) {
    let above = "// above\n".repeat(4);
    let opening = |text: &str| {
        let document = Document::new(text, 1, "javascript");
        let mut prompt = prompt_at(&document, document.len(), BUDGET.into());
        prompt.header = header("src/app.js", "javascript");
        let framed = frame(&prompt, &family.tokenizer, family.fim, BUDGET).unwrap();
        let middle = framed.tokens.iter().position(|&token| token == family.fim.unwrap().middle);
        let ahead =
            frame_ahead(&prompt, Reach::Above, &family.tokenizer, family.fim, BUDGET).unwrap();
        let (opening, left) = framed.tokens.split_at(middle.unwrap());
        assert!(opening.starts_with(&ahead));
        (opening.to_vec(), family.parts(&prompt, BUDGET).left_bytes(&family.tokenizer), left.len())
    };
    let mut text = format!("{above}{line}");
    let first = opening(&text);
    let (mut n_moves, mut start, mut lengths) = (0, text.len() - first.1.len(), first.2..first.2);
    while text.len() < above.len() + line.len() + n_bytes {
        text += unit;
        let next = opening(&text);
        assert_eq!(next.0, first.0, "what stands before the line has changed");
        let next_start = text.len() - next.1.len();
        n_moves += usize::from(next_start != start);
        start = next_start;
        lengths = lengths.start.min(next.2)..lengths.end.max(next.2);
    }
    (n_moves, lengths)
}

#[test]
fn the_start_of_a_long_line_moves_in_steps_while_it_is_typed() {
    let family = Family::tiny(true);
    for unit in ["x", "a1;", "é", "ab"] {
        let (n_moves, lengths) = type_on(&family, &"y = 1; ".repeat(60), unit, 600);
        assert!((2..=12).contains(&n_moves), "{unit}: {n_moves} moves");
        assert!(lengths.start > 30 && lengths.end <= BUDGET.prefix_tokens, "{unit}: {lengths:?}");
    }
}

#[test]
fn the_start_of_a_long_line_moves_in_steps_with_the_real_tokenizer() {
    let Some(family) = Family::real() else { return };
    for unit in ["1", "a1;", "漢", "x=y ", "+/"] {
        let (n_moves, _) = type_on(&family, &"y=1;".repeat(200), unit, 600);
        assert!(n_moves <= 12, "{unit}: {n_moves} moves");
    }
}

#[test]
fn lines_above_leave_room_for_the_line_and_a_line_takes_what_they_leave() {
    let family = Family::tiny(true);
    let parts = |above: &str, left: &str| {
        let (above, left) = (above.to_owned(), left.to_owned());
        family.parts(&Prompt { above, left, ..Prompt::default() }, BUDGET)
    };
    let (above, left) = ("x = 1\n".repeat(100), "y".repeat(1000));
    let crowded = parts(&above, &left);
    assert!(crowded.n_opening >= 100 && crowded.left.len() >= BUDGET.prefix_tokens / 16);
    assert_eq!(parts(&above, "y").n_opening, crowded.n_opening, "the line does not matter");
    assert!(parts("", &left).left.len() > BUDGET.prefix_tokens / 3);
}

#[test]
fn a_short_text_is_shown_whole() {
    let Some(family) = Family::real() else { return };
    let text = "const a = 1;\n".repeat(20);
    assert!(family.n_tokens(&text) < 200);
    let document = Document::new(&text, 1, "javascript");
    let shown = family.shown(&prompt_at(&document, document.len(), BUDGET.into()), BUDGET);
    assert_eq!(shown, format!("<|fim_prefix|>{text}<|fim_suffix|><|fim_middle|>"));
}

#[test]
fn the_command_line_names_a_file_as_an_editor_would() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("repository/src");
    fs::create_dir_all(&nested).unwrap();
    let file = nested.join("app.py");
    fs::write(&file, "import os\n").unwrap();
    let shown = || Place::parse(&format!("{}:1", file.display())).unwrap().shown;
    assert_eq!(shown().as_deref(), Some("app.py"), "outside of any folder");
    fs::create_dir(directory.path().join("repository/.git")).unwrap();
    assert_eq!(shown().as_deref(), Some("src/app.py"));
    assert_eq!(Place::from_text("x", "python").shown, None);
}
