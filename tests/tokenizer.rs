//! The tokenizer against an independent implementation (tiktoken) of the same vocabulary, and its own promises.

use std::collections::HashMap;

use cosec_ls::model::Tokenizer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::healing::Healing;
use tiktoken_rs::CoreBPE;

use crate::support::real_models;
use crate::support::tiny_gguf::{Random, TinyGguf};

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
