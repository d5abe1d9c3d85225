//! Samples as tokens: what is scored, what is left out, and that the text comes back.

use std::collections::HashSet;

use cosec_ls::model::Tokenizer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::prompt::fim::{FimTokens, PromptBudget};
use cosec_ls::train::dataset::{Dataset, OnMalformed};
use cosec_ls::train::examples::{Example, Examples, Framing, Kind, Options, Role, Selection};

use super::{line, write};
use crate::support::tiny_gguf::TinyGguf;

fn tokenizer() -> Tokenizer {
    let directory = tempfile::tempdir().unwrap();
    let path = TinyGguf::default().write(directory.path(), "tiny.gguf");
    Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap()
}

fn framing(tokenizer: &Tokenizer) -> Framing {
    let special = |name: &str| tokenizer.special(name).unwrap();
    Framing {
        fim: FimTokens {
            prefix: special("<|pre|>"),
            suffix: special("<|suf|>"),
            middle: special("<|mid|>"),
            file: None,
        },
        end_of_text: special("<|end|>"),
    }
}

/// A data set with the same samples in both parts.
fn dataset(marked: &[&str]) -> Dataset {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = marked.iter().map(|marked| line(marked).to_string()).collect();
    write(directory.path(), "train/a.jsonl", &lines);
    write(directory.path(), "val/a.jsonl", &lines);
    Dataset::read(directory.path(), OnMalformed::Stop).unwrap()
}

fn options(fim_share: f64) -> Options {
    Options { fim_share, ..Options::default() }
}

fn epoch(dataset: &Dataset, options: Options, epoch: usize) -> Selection {
    let tokenizer = tokenizer();
    let framing = Some(framing(&tokenizer));
    Examples::new(dataset, &tokenizer, framing, options).unwrap().epoch(epoch).unwrap()
}

/// The text of the tokens with this role.
fn text_of(example: &Example, role: Role) -> String {
    let tokenizer = tokenizer();
    let tokens = example.tokens.iter().zip(&example.roles);
    let tokens: Vec<u32> = tokens.filter(|(_, other)| **other == role).map(|(t, _)| *t).collect();
    tokenizer.decode_lossy(&tokens)
}

/// What stands between the special tokens of a fill-in-the-middle example: above, suffix, and what is decoded.
fn parts(example: &Example, tokenizer: &Tokenizer) -> [String; 3] {
    let framing = framing(tokenizer);
    let at = |token: u32| example.tokens.iter().position(|&other| other == token).unwrap();
    let (suffix, middle) = (at(framing.fim.suffix), at(framing.fim.middle));
    assert_eq!(example.tokens[0], framing.fim.prefix);
    assert_eq!(example.tokens.last(), Some(&framing.end_of_text));
    let text = |from: usize, to: usize| tokenizer.decode_lossy(&example.tokens[from..to]);
    [text(1, suffix), text(suffix + 1, middle), text(middle + 1, example.tokens.len() - 1)]
}

const MARKED: [&str; 5] = [
    "def f(q):\n    x = 1\n    run(q⟦, (ab,)⟧)\n    return x\n",
    "def g():\n    '''漢字 🦀 é'''\n    s = '🦀⟦漢🦀é⟧ü'\n\n    return s",
    "int h(void) {\r\n    int ab = 1;\r\n⟦    if (ab)\r\n        return 2;\r\n⟧    return 3;\r\n}\r\n",
    "⟦one⟧\n\n\n\n\n\n\n\n⟦two⟧\n\n\n\n\n\n\n\nthree⟦ four⟧",
    "\t\tif ⟦(⟧a⟦)⟧:\n\t\t\t⟦return⟧ 漢",
];

#[test]
fn left_to_right_shows_the_text_and_scores_all_but_its_first_token() {
    let dataset = dataset(&MARKED);
    let selection = epoch(&dataset, options(0.0), 0);
    assert_eq!(selection.examples.len(), MARKED.len());
    let tokenizer = tokenizer();
    for example in &selection.examples {
        let sample = dataset.train.samples.iter().find(|s| s.source == example.source).unwrap();
        assert_eq!(example.kind, Kind::LeftToRight);
        assert_eq!(tokenizer.decode_lossy(&example.tokens), sample.text);
        assert_eq!(example.roles.len(), example.tokens.len());
        assert_eq!(example.roles[0], Role::Unscored);
        assert_eq!(example.count(Role::Unscored), 1);
    }
}

#[test]
fn the_fix_is_exactly_what_was_added() {
    let fix =
        |marked: &str| text_of(&epoch(&dataset(&[marked]), options(0.0), 0).examples[0], Role::Fix);
    assert_eq!(fix("x = '🦀⟦漢🦀é⟧ü'"), "漢🦀é");
    assert_eq!(fix("漢字 🦀 é ⟦safe⟧(é)"), "safe");
    assert_eq!(fix("c\r\n⟦d\r\n⟧e\r\n⟦f⟧"), "d\nf");
    // `ab` is one token, and a token that is fixed in part is fixed.
    assert_eq!(fix("xa⟦by⟧z"), "aby");
    assert_eq!(fix("⟦xa⟧b"), "ab", "the first token is predicted by nothing");
}

#[test]
fn a_filled_in_middle_gives_the_text_back() {
    let (dataset, tokenizer) = (dataset(&MARKED), tokenizer());
    for epoch_idx in 0..100 {
        let selection = epoch(&dataset, options(1.0), epoch_idx);
        assert_eq!(selection.examples.len(), MARKED.len());
        for example in &selection.examples {
            let sample = dataset.train.samples.iter().find(|s| s.source == example.source).unwrap();
            let [above, suffix, decoded] = parts(example, &tokenizer);
            assert_eq!(format!("{above}{decoded}{suffix}"), sample.text);
            assert!(above.is_empty() || above.ends_with('\n'));
        }
    }
}

#[test]
fn a_filled_in_middle_scores_what_is_decoded_and_learns_the_fix() {
    let dataset = dataset(&MARKED[..2]);
    for epoch_idx in 0..100 {
        for example in epoch(&dataset, options(1.0), epoch_idx).examples {
            let middle = framing(&tokenizer()).fim.middle;
            let at = example.tokens.iter().position(|&token| token == middle).unwrap();
            assert!(example.roles[..=at].iter().all(|&role| role == Role::Unscored));
            assert!(example.roles[at + 1..].iter().all(|&role| role != Role::Unscored));
            assert_eq!(example.roles.last(), Some(&Role::Keep));
            let fix = text_of(&example, Role::Fix);
            assert!([", (ab,)", "漢🦀é"].contains(&fix.as_str()), "{fix:?}");
        }
    }
}

#[test]
fn healing_takes_back_the_last_token_of_the_cursor_s_line() {
    // The middle begins inside `ab` now and then: `a` is taken back and comes again in one token with `b`.
    let (dataset, tokenizer) = (dataset(&["x = xxxa⟦b⟧(c)"]), tokenizer());
    let ab = tokenizer.encode("ab").unwrap()[0];
    let mut n_fix = HashSet::new();
    for epoch_idx in 0..100 {
        for example in epoch(&dataset, options(1.0), epoch_idx).examples {
            assert!(example.tokens.contains(&ab));
            n_fix.insert(example.count(Role::Fix));
        }
    }
    assert_eq!(n_fix, HashSet::from([1]));
}

#[test]
fn each_sample_is_one_example_of_an_epoch_in_the_chosen_share() {
    let many: Vec<String> = (0..300).map(|n| format!("x{n} = ⟦safe⟧({n})\n")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let dataset = dataset(&many);
    let selection = epoch(&dataset, options(0.3), 0);
    let sources: HashSet<&str> = selection.examples.iter().map(|e| e.source.as_str()).collect();
    assert_eq!(sources.len(), 300);
    let n_fim = selection.counts.fill_in_middle.n_examples;
    assert!((60..120).contains(&n_fim), "{n_fim}");
    let order: Vec<&str> = selection.examples.iter().map(|e| e.source.as_str()).collect();
    let read: Vec<&str> = dataset.train.samples.iter().map(|s| s.source.as_str()).collect();
    assert_ne!(order, read, "shuffled");
}

#[test]
fn the_seed_and_the_epoch_decide_all() {
    let dataset = dataset(&MARKED);
    let with_seed = |seed| Options { seed, ..options(0.5) };
    let first = epoch(&dataset, with_seed(3), 0);
    assert_eq!(epoch(&dataset, with_seed(3), 0), first);
    assert_ne!(epoch(&dataset, with_seed(3), 1), first);
    assert_ne!(epoch(&dataset, with_seed(4), 0), first);
}

#[test]
fn validation_has_both_kinds_and_never_changes() {
    let (dataset, tokenizer) = (dataset(&MARKED), tokenizer());
    let validation = |seed, framing| {
        let options = Options { seed, ..options(0.0) };
        Examples::new(&dataset, &tokenizer, framing, options).unwrap().validation().unwrap()
    };
    let first = validation(1, Some(framing(&tokenizer)));
    assert_eq!(first.counts.left_to_right.n_examples, MARKED.len());
    assert_eq!(first.counts.fill_in_middle.n_examples, MARKED.len());
    assert_eq!(validation(2, Some(framing(&tokenizer))), first);
    assert_eq!(validation(1, None).counts.fill_in_middle.n_examples, 0);
}

#[test]
fn what_cannot_be_used_is_left_out_and_counted() {
    let long = format!("{}⟦safe⟧", "x".repeat(60));
    let dataset = dataset(&["x = ⟦safe⟧", &long, "⟦x⟧yz"]);
    let options = Options { max_tokens: 40, ..options(0.0) };
    let counts = epoch(&dataset, options, 0).counts;
    assert_eq!((counts.left_to_right.n_examples, counts.left_to_right.n_fix), (1, 4));
    assert_eq!((counts.n_too_long, counts.n_without_fix), (1, 1));
    assert_eq!(
        counts.to_string(),
        "left-to-right: 1 examples of 8 tokens, 4 fixed, 3 kept; fill-in-the-middle: 0 examples of 0 tokens, \
         0 fixed, 0 kept; left out: 1 too long, 1 without a token of the fix"
    );
}

#[test]
fn the_prompt_keeps_to_its_budget() {
    let marked = format!("{}⟦safe⟧\n{}", "line\n".repeat(100), "more\n".repeat(100));
    let budget = PromptBudget { prefix_tokens: 256, suffix_tokens: 20 };
    let tokenizer = tokenizer();
    let dataset = dataset(&[&marked]);
    for epoch_idx in 0..20 {
        let options = Options { budget, ..options(1.0) };
        let selection = epoch(&dataset, options, epoch_idx);
        let [above, suffix, _] = parts(&selection.examples[0], &tokenizer);
        assert!(above.len() <= 256 && suffix.len() == 20, "{} {}", above.len(), suffix.len());
    }
}

#[test]
fn a_share_must_be_one_and_needs_a_model_that_fills_in() {
    let (dataset, tokenizer) = (dataset(&MARKED), tokenizer());
    let check = |framing, share, expected: &str| {
        let error = Examples::new(&dataset, &tokenizer, framing, options(share)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    for share in [-0.1, 1.1, f64::NAN] {
        check(Some(framing(&tokenizer)), share, "between 0 and 1");
    }
    check(None, 0.5, "no fill-in-the-middle tokens");
}

#[test]
fn no_example_at_all_is_an_error_that_says_why() {
    let (dataset, tokenizer) = (dataset(&MARKED), tokenizer());
    let options = Options { max_tokens: 3, ..options(0.5) };
    let examples = Examples::new(&dataset, &tokenizer, Some(framing(&tokenizer)), options).unwrap();
    for (error, part) in [
        (examples.epoch(0).unwrap_err(), "training"),
        (examples.validation().unwrap_err(), "validation"),
    ] {
        assert!(error.to_string().starts_with(&format!("no {part} example is left: ")), "{error}");
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
