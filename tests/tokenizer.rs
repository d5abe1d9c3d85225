//! The tokenizer against an independent implementation (tiktoken) of the same vocabulary, and its own promises.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use cosec_ls::model::Tokenizer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::healing::Healing;
use cosec_ls::model::{Error, pair};
use cosec_ls::prompt::fim::{FimTokens, PromptBudget, Reach, frame, frame_ahead};
use cosec_ls::prompt::{Layout, Prompt};
use tiktoken_rs::CoreBPE;

use crate::support::real_models;
use crate::support::tiny_gguf::{Metadata, Random, TinyGguf};

/// Qwen's published `tokenization_qwen.py` pattern.
const QWEN_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Lines of many scripts, symbols, emoji and white space, all of it already in NFC.
fn unicode_lines(n: usize) -> String {
    let ranges = [
        (0x20, 0x7e),
        (0xc0, 0xff),
        (0x391, 0x3a9),
        (0x410, 0x44f),
        (0x5d0, 0x5ea),
        (0x4e00, 0x9f00),
        (0x3041, 0x3090),
        (0xac00, 0xd700),
        (0x1f600, 0x1f640),
        (0x2190, 0x21ff),
        (0x30, 0x39),
        (0x20, 0x20),
    ];
    let mut random = Random(3);
    let mut text = String::new();
    for _ in 0..n {
        for _ in 0..random.below(40) {
            let (from, to) = ranges[random.below(ranges.len())];
            for _ in 0..=random.below(6) {
                text.extend(char::from_u32((from + random.below(to - from + 1)) as u32));
            }
        }
        text.push_str(["\n", "\r\n", "\n\n", "  \n\t", "\t\t\n", "\n    "][random.below(6)]);
    }
    text
}

#[test]
fn real_ids_equal_tiktoken_on_code_and_unicode() {
    let Some(path) = real_models::find(real_models::SECURITY) else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    // Qwen's ids are its merge ranks, which is what tiktoken works on.
    let ranks = (0..tokenizer.vocab() as u32).filter(|&id| !tokenizer.is_special(id));
    let ranks = ranks.map(|id| (tokenizer.bytes(id).to_vec(), id)).collect();
    let tiktoken = CoreBPE::new(ranks, HashMap::default(), QWEN_PATTERN).unwrap();
    let code = [
        include_str!("tokenizer.rs"),
        include_str!("co_decoding.rs"),
        include_str!("../src/model/transformer.rs"),
        include_str!("../models.toml"),
        include_str!("../Cargo.lock"),
    ];
    let text = format!("{}\n{}", code.join("\n"), unicode_lines(3000));
    let (ours, theirs) = (tokenizer.encode(&text).unwrap(), tiktoken.encode_ordinary(&text));
    println!("{} lines, {} tokens", text.lines().count(), ours.len());
    let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    assert_eq!(first, None, "first difference at token {first:?}");
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(tokenizer.decode_lossy(&ours), text);
}

fn tiny() -> Tokenizer {
    let directory = tempfile::tempdir().unwrap();
    let path = TinyGguf::default().write(directory.path(), "tiny.gguf");
    Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap()
}

/// Each token's range holds its bytes, ranges follow each other, and tokens overlap only in characters that they share.
fn check_offsets(tokenizer: &Tokenizer, text: &str) {
    let encoded = tokenizer.encode_with_offsets(text).unwrap();
    let tokens: Vec<u32> = encoded.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, tokenizer.encode(text).unwrap());
    let mut at = 0;
    for (token, range) in encoded {
        let end = at + tokenizer.bytes(token).len();
        let start = (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        let char_end = (end..).find(|&at| text.is_char_boundary(at)).unwrap();
        assert_eq!(range, start..char_end, "{:?}", tokenizer.describe(token));
        at = end;
    }
    assert_eq!(at, text.len());
}

#[test]
fn offsets_are_the_characters_that_a_token_has_part_in() {
    check_offsets(&tiny(), "");
    check_offsets(&tiny(), &unicode_lines(200));
    let Some(path) = real_models::find(real_models::SECURITY) else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    check_offsets(&tokenizer, &unicode_lines(1000));
    check_offsets(&tokenizer, include_str!("tokenizer.rs"));
}

#[test]
fn offsets_cover_text_that_the_normalizer_changes() {
    let tokenizer = tiny();
    // Composed to é, two bytes and so two tokens for the three bytes of the text.
    let ranges = tokenizer.encode_with_offsets("ae\u{301}b").unwrap();
    let ranges: Vec<_> = ranges.into_iter().map(|(_, range)| range).collect();
    assert_eq!((ranges.first(), ranges.last()), (Some(&(0..1)), Some(&(4..5))));
    assert!((0..5).all(|at| ranges.iter().any(|range| range.contains(&at))), "{ranges:?}");
}

#[test]
fn text_that_spells_a_special_token_stays_text() {
    let tokenizer = tiny();
    let tokens = tokenizer.encode("x<|mid|>y").unwrap();
    assert!(tokens.iter().all(|&token| !tokenizer.is_special(token)));
    assert_eq!(tokenizer.decode_lossy(&tokens), "x<|mid|>y");
}

#[test]
fn special_tokens_decode_to_nothing() {
    let tokenizer = tiny();
    let middle = tokenizer.special("<|mid|>").unwrap();
    assert_eq!(tokenizer.decode_lossy(&[middle]), "");
    assert_eq!(tokenizer.describe(middle), "<|mid|>");
    assert_eq!(tokenizer.special("ab"), None, "ordinary tokens are not special");
    assert!(tokenizer.is_special(1_000_000), "an id beyond the vocabulary is never shown");
}

#[test]
fn healing_allows_exactly_the_tokens_that_agree_with_the_buffer() {
    let tokenizer = tiny();
    let id = |text: &str| tokenizer.encode(text).unwrap()[0];
    let mut allowed = tokenizer.tokens_matching(b"ab");
    allowed.sort_unstable();
    let mut expected = vec![id("a"), id("ab")];
    expected.sort_unstable();
    assert_eq!(allowed, expected);
    assert_eq!(tokenizer.tokens_matching(b"b"), vec![id("b")]);
}

#[test]
fn healing_gives_back_what_the_buffer_lacks() {
    let tokenizer = tiny();
    let mut tokens = tokenizer.encode("xab").unwrap();
    let mut healing = Healing::back_up(&mut tokens, &tokenizer);
    assert_eq!(tokens, tokenizer.encode("x").unwrap());
    assert!(healing.allowed(&tokenizer).is_some());
    assert_eq!(healing.advance(b"a"), b"");
    assert_eq!(healing.advance(b"bcd"), b"cd");
    assert_eq!(healing.allowed(&tokenizer), None, "then everything may come");
    assert_eq!(healing.advance(b"e"), b"e");
}

fn changed(change: impl FnOnce(&mut Metadata)) -> Result<Tokenizer, Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = TinyGguf::default().write_with(directory.path(), "tiny.gguf", change);
    Tokenizer::from_gguf(&Gguf::open(&path)?)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";

#[test]
fn lists_that_do_not_fit_together_are_refused_by_key() {
    type Change = fn(&mut Metadata);
    let simple: [(Change, &str); 12] = [
        (|m| m.set("tokenizer.ggml.model", text("llama")), "tokenizer.ggml.model`: `llama` is not"),
        (|m| m.set("tokenizer.ggml.model", text("")), "tokenizer.ggml.model`: `` is not supported"),
        (
            |m| m.set("tokenizer.ggml.model", Value::U8(1)),
            "tokenizer.ggml.model`: expected a string",
        ),
        (|m| m.array(TOKENS).clear(), "tokenizer.ggml.tokens`: is empty"),
        (
            |m| m.set(TOKENS, Value::Array(vec![Value::U32(1)])),
            "tokens`: expected an array of strings",
        ),
        (|m| m.array(TOKENS)[98] = text("a"), "tokenizer.ggml.tokens`: \"a\" is token"),
        (|m| m.array(TOKENS)[97] = text("zzz"), "tokenizer.ggml.tokens`: there is no token for"),
        (
            |m| drop(m.array("tokenizer.ggml.token_type").pop()),
            "token_type`: has 260 elements, but there are 261",
        ),
        (
            |m| m.array("tokenizer.ggml.token_type").push(Value::I32(1)),
            "token_type`: has 262 elements",
        ),
        (
            |m| m.set("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.0); 3])),
            "tokenizer.ggml.scores`: has 3 elements, but there are 261 tokens",
        ),
        (
            |m| {
                m.array(TOKENS).push(text("<|more|>"));
                m.array("tokenizer.ggml.token_type").push(Value::I32(3));
            },
            "tokenizer.ggml.tokens`: has 262 tokens, but the embedding table 261 rows",
        ),
        (|m| m.set(PRE, Value::U32(2)), "tokenizer.ggml.pre`: expected a string"),
    ];
    for (change, expected) in simple {
        let error = changed(change).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn merges_make_tokens_of_tokens() {
    for (given, expected) in [
        ("ab", "tokenizer.ggml.merges`: 1 is \"ab\", without two halves"),
        ("", "tokenizer.ggml.merges`: 1 is \"\", without two halves"),
        ("a zz", "\"zz\" is no token"),
        ("zz a", "\"zz\" is no token"),
        ("a c", "\"ac\" is no token"),
        // Longer than every token: the library would write beyond its buffer and panic.
        ("<|pre|> <|suf|>", "\"<|pre|><|suf|>\" is no token"),
        ("a b c", "\"b c\" is no token"),
    ] {
        let error = changed(|m| m.array(MERGES).push(text(given))).unwrap_err().to_string();
        assert!(error.contains(expected), "{given:?}: {error}");
    }
}

#[test]
fn ids_of_special_tokens_must_be_tokens() {
    for name in ["bos", "eos", "eot", "fim_pre", "middle"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        for value in [Value::U32(261), Value::U32(u32::MAX), Value::I32(-1), text("<|end|>")] {
            let error = changed(|m| m.set(&key, value)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("metadata `{key}`: ")), "{error}");
        }
        changed(|m| m.set(&key, Value::U32(260))).unwrap();
    }
    // These mean nothing here, and files are about whose padding is beyond the vocabulary.
    for name in ["padding", "unknown", "mask"] {
        changed(|m| m.set(&format!("tokenizer.ggml.{name}_token_id"), Value::U32(261))).unwrap();
    }
}

#[test]
fn a_token_that_is_no_text_whatever_its_type_says_is_special() {
    let tokenizer = changed(|m| {
        m.array(TOKENS)[256] = text("<｜fim▁hole｜>");
        m.array(MERGES).clear();
    });
    let tokenizer = tokenizer.unwrap();
    assert_eq!(tokenizer.special("<｜fim▁hole｜>"), Some(256));
    assert!(tokenizer.is_special(256) && tokenizer.bytes(256).is_empty());
    let tokenizer = changed(|m| {
        m.array(TOKENS)[256] = text("");
        m.array(TOKENS)[257] = text("");
        m.array(MERGES).clear();
    });
    assert!(tokenizer.unwrap().is_special(256), "and so is one without any");
}

#[test]
fn a_pre_tokenizer_that_is_not_said_or_not_known_is_assumed_aloud() {
    assert_eq!(tiny().assumption(), None);
    for (pre, fact) in [
        (None, "`tokenizer.ggml.pre` is missing from the file"),
        (Some("ufakzeka"), "`tokenizer.ggml.pre` is `ufakzeka`, which is not known here"),
        (Some(""), "`tokenizer.ggml.pre` is ``, which is not known here"),
    ] {
        let tokenizer = changed(|m| match pre {
            Some(pre) => m.set(PRE, text(pre)),
            None => m.remove(PRE),
        });
        let tokenizer = tokenizer.unwrap();
        let assumption = tokenizer.assumption().unwrap();
        assert!(
            assumption.starts_with(fact) && assumption.contains("as for `gpt-2`"),
            "{assumption}"
        );
        let tokens = tokenizer.encode("x = 12  # naïve\n").unwrap();
        assert_eq!(tokenizer.decode_lossy(&tokens), "x = 12  # naïve\n");
    }
    for known in ["llama-bpe", "tekken", "seed-coder", "deepseek-r1-qwen", "mellum", "refact"] {
        let tokenizer = changed(|m| m.set(PRE, text(known))).unwrap();
        assert_eq!(tokenizer.assumption(), None, "{known}");
        let tokens = tokenizer.encode("if a1 {\n\tb(\"<|mid|>\")\n}").unwrap();
        assert!(tokens.iter().all(|&token| !tokenizer.is_special(token)), "{known}");
        assert_eq!(tokenizer.decode_lossy(&tokens), "if a1 {\n\tb(\"<|mid|>\")\n}", "{known}");
    }
}

#[test]
fn a_pair_may_leave_it_to_one_file_how_text_is_split() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str, change: fn(&mut Metadata)| {
        Gguf::open(&TinyGguf::default().write_with(directory.path(), name, change)).unwrap()
    };
    let silent = open("silent.gguf", |m| m.remove(PRE));
    let gpt2 = open("gpt2.gguf", |m| m.set(PRE, text("default")));
    pair::check(&silent, &gpt2).unwrap();
    let qwen2 = open("qwen2.gguf", |_| ());
    let error = pair::check(&qwen2, &silent).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.ggml.pre` is `qwen2` for the base and `gpt-2`"), "{error}");
}

#[test]
fn prompts_begin_with_the_beginning_of_text_where_the_file_says_so() {
    for (pre, add, id, expected) in [
        ("qwen2", None, None, None),
        ("qwen2", None, Some(257), None),
        ("qwen2", Some(false), Some(257), None),
        ("qwen2", Some(true), Some(257), Some(257)),
        ("llama-bpe", None, Some(257), Some(257)),
        ("llama-bpe", None, None, None),
        ("llama-bpe", Some(false), Some(257), None),
    ] {
        let tokenizer = changed(|m| {
            m.set(PRE, text(pre));
            add.into_iter().for_each(|add| m.set(ADD_BOS, Value::Bool(add)));
            id.into_iter().for_each(|id| m.set(BOS, Value::U32(id)));
            m.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
            m.set("tokenizer.ggml.add_space_prefix", Value::Bool(true));
        });
        let tokenizer = tokenizer.unwrap();
        assert_eq!(tokenizer.leading(), expected.as_slice(), "{pre} {add:?} {id:?}");
        assert_eq!(tokenizer.encode("b").unwrap().len(), 1, "text itself stays as it is");
    }
    let error = changed(|m| m.set(ADD_BOS, Value::Bool(true))).unwrap_err().to_string();
    assert_eq!(error, format!("metadata `{BOS}`: is missing, but `{ADD_BOS}` is true"));
    let error = changed(|m| m.set(ADD_BOS, Value::U8(1))).unwrap_err().to_string();
    assert_eq!(error, format!("metadata `{ADD_BOS}`: expected a boolean, found an integer"));
}

#[test]
fn the_beginning_of_text_stands_before_every_kind_of_prompt() {
    let tokenizer = changed(|m| {
        m.set(ADD_BOS, Value::Bool(true));
        m.set(BOS, Value::U32(257));
    });
    let tokenizer = tokenizer.unwrap();
    let fim = FimTokens { prefix: 258, suffix: 259, middle: 260, file: None };
    let budget = PromptBudget { prefix_tokens: 100, suffix_tokens: 100 };
    for (layout, start) in [(Layout::FillInMiddle, &[257, 258][..]), (Layout::LeftToRight, &[257])]
    {
        let above = "x\n".to_owned();
        let (left, suffix) = ("yz".to_owned(), "\n".to_owned());
        let prompt = Prompt { header: None, above, left, suffix, layout };
        let framed = frame(&prompt, &tokenizer, Some(fim), budget).unwrap().tokens;
        assert!(framed.starts_with(start), "{layout:?}: {framed:?}");
        assert_eq!(framed.iter().filter(|&&token| token == 257).count(), 1);
        for reach in [Reach::Head, Reach::Above, Reach::Cursor] {
            let ahead = frame_ahead(&prompt, reach, &tokenizer, Some(fim), budget).unwrap();
            assert!(framed.starts_with(&ahead), "{layout:?} {reach:?}");
            assert!(ahead.starts_with(start), "{layout:?} {reach:?}");
        }
    }
}
