//! How text is split before its parts are merged: by `tokenizer.ggml.pre`, or by what the vocabulary tells of it.
//!
//! The names are llama.cpp's (`llama_vocab::impl::load`), the patterns those of the models' own `tokenizer.json`.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use crate::model::Error;
use crate::model::gguf::Gguf;

const KEY: &str = "tokenizer.ggml.pre";

/// A way to split text, and what goes with it.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// What files call it; the first is what we call it.
    names: &'static [&'static str],
    splits: &'static [Step],
    /// Whether text is normalized to NFC first.
    pub(super) is_nfc: bool,
    /// Whether a part that is a token needs no merges.
    pub(super) ignores_merges: bool,
    /// Whether prompts begin with a token of their own where the file does not say.
    pub(super) adds_bos: bool,
}

/// A step of splitting; all but [`Step::Gpt2`] leave bytes as they are.
#[derive(Debug)]
enum Step {
    /// At the matches of a pattern, which become parts themselves.
    Pattern(&'static str),
    /// Every digit for itself.
    Digits,
    /// GPT-2's pattern.
    Gpt2,
}

/// How the text of a file's tokenizer is split.
pub(super) struct Choice {
    pub(super) pre_tokenizer: &'static PreTokenizer,
    /// What to tell the user where the file did not say it.
    pub(super) assumption: Option<String>,
}

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    splits: &[Step::Gpt2],
    is_nfc: false,
    ignores_merges: false,
    adds_bos: false,
};

static GPT_2: PreTokenizer = PreTokenizer {
    names: &[
        "gpt-2",
        "default",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "mellum",
        "exaone4",
        "trillion",
        "granite-docling",
        "gigachat",
        "a.x-4.0",
    ],
    ..PLAIN
};

static STARCODER: PreTokenizer = PreTokenizer {
    names: &["starcoder", "smollm", "refact", "codeshell", "command-r", "exaone", "minerva-7b"],
    splits: &[Step::Digits, Step::Gpt2],
    ..PLAIN
};

static QWEN_2: PreTokenizer =
    PreTokenizer { names: &["qwen2"], splits: &[Step::Pattern(QWEN2)], is_nfc: true, ..PLAIN };

static LIKE_QWEN_2: PreTokenizer = PreTokenizer {
    names: &["deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "kormo", "f2llmv2"],
    splits: &[Step::Pattern(QWEN2)],
    ..PLAIN
};

static LLAMA_3: PreTokenizer = PreTokenizer {
    names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"],
    splits: &[Step::Pattern(LLAMA3)],
    ignores_merges: true,
    adds_bos: true,
    ..PLAIN
};

static LIKE_LLAMA_3: PreTokenizer = PreTokenizer {
    names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
    splits: &[Step::Pattern(LLAMA3)],
    ..PLAIN
};

static SEED: PreTokenizer =
    PreTokenizer { names: &["seed-coder"], splits: &[Step::Pattern(SEED_CODER)], ..PLAIN };

static MISTRAL: PreTokenizer = PreTokenizer {
    names: &["tekken"],
    splits: &[Step::Pattern(TEKKEN)],
    ignores_merges: true,
    adds_bos: true,
    ..PLAIN
};

static DEEPSEEK_CODER: PreTokenizer = PreTokenizer {
    names: &["deepseek-coder"],
    splits: &[
        Step::Pattern("[\r\n]"),
        Step::Pattern(r"\s?\p{L}+"),
        Step::Pattern(r"\s?\p{P}+"),
        Step::Pattern("[一-龥\u{800}-一가-\u{d7ff}]+"),
        Step::Digits,
    ],
    ..PLAIN
};

static KNOWN: [&PreTokenizer; 9] = [
    &GPT_2,
    &STARCODER,
    &QWEN_2,
    &LIKE_QWEN_2,
    &LLAMA_3,
    &LIKE_LLAMA_3,
    &SEED,
    &MISTRAL,
    &DEEPSEEK_CODER,
];

/// Tokens that only models of one tokenizer have, by id where others have them elsewhere.
static MARKS: [(Option<usize>, &str, &PreTokenizer); 7] = [
    (Some(151_644), "<|im_start|>", &QWEN_2),
    (Some(128_000), "<|begin_of_text|>", &LLAMA_3),
    (Some(32_013), "<｜begin▁of▁sentence｜>", &DEEPSEEK_CODER),
    (None, "<[fim-prefix]>", &SEED),
    (None, "<fim_prefix>", &STARCODER),
    (None, "<repo_name>", &STARCODER),
    (Some(50_256), "<|endoftext|>", &GPT_2),
];

/// A vocabulary of fewer tokens is no evidence of what its splitting kept apart.
const TELLING_VOCABULARY: usize = 5_000;

/// How text is split for `gguf`, whose tokens are `tokens`.
///
/// # Errors
/// If `tokenizer.ggml.pre` is there and no string.
pub(super) fn choose(gguf: &Gguf, tokens: &[&str]) -> Result<Choice, Error> {
    let pre = if gguf.has_key(KEY) { Some(gguf.string(KEY)?) } else { None };
    let named = |pre: &str| KNOWN.into_iter().find(|known| known.names.contains(&pre));
    if let Some(pre_tokenizer) = pre.and_then(named) {
        return Ok(Choice { pre_tokenizer, assumption: None });
    }
    let pre_tokenizer = infer(tokens);
    let fact = match pre {
        Some(pre) => format!("`{pre}`, which is not known here"),
        None => "missing from the file".to_owned(),
    };
    let assumption = Some(format!(
        "`{KEY}` is {fact}; text is split as for `{}`, to judge by the vocabulary. If that is wrong, completions are \
         worse: convert the model again with a current llama.cpp",
        pre_tokenizer.name()
    ));
    Ok(Choice { pre_tokenizer, assumption })
}

/// What a vocabulary tells of how text was split when it was made: no token crosses a split.
fn infer(tokens: &[&str]) -> &'static PreTokenizer {
    for (id, mark, pre_tokenizer) in MARKS {
        let is_there = match id {
            Some(id) => tokens.get(id) == Some(&mark),
            None => tokens.contains(&mark),
        };
        if is_there {
            return pre_tokenizer;
        }
    }
    let digits = tokens.iter().filter(|token| token.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.map(|token| token.len()).max() {
        _ if tokens.len() < TELLING_VOCABULARY => &GPT_2,
        // `Ċ` stands for a line break.
        Some(1) if tokens.contains(&");Ċ") => &LIKE_QWEN_2,
        Some(1) => &STARCODER,
        Some(2..=3) => &LIKE_LLAMA_3,
        _ => &GPT_2,
    }
}

impl PreTokenizer {
    /// What we call it.
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The splits, for the library.
    ///
    /// # Errors
    /// If a pattern is none.
    pub(super) fn build(&self) -> Result<PreTokenizerWrapper, Error> {
        let mut is_split = false;
        let mut parts = Vec::new();
        for step in self.splits {
            is_split |= matches!(step, Step::Gpt2);
            parts.push(match step {
                Step::Pattern(regex) => split(regex)?,
                Step::Digits => PreTokenizerWrapper::Digits(Digits::new(true)),
                Step::Gpt2 => PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, true)),
            });
        }
        if !is_split {
            parts.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
        }
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(parts)))
    }
}

fn split(regex: &str) -> Result<PreTokenizerWrapper, Error> {
    let pattern = SplitPattern::Regex(regex.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Ok(PreTokenizerWrapper::Split(split.map_err(|e| Error::Tokenizer(e.to_string()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_no_name_is_there_twice() {
        let mut names: Vec<&str> = KNOWN.iter().flat_map(|known| known.names).copied().collect();
        let n_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n_names);
        for known in KNOWN {
            known.build().unwrap();
        }
    }

    /// A vocabulary that is long enough to tell something, with `extra` in it.
    fn vocabulary(extra: &[&str]) -> Vec<String> {
        let letters = |mut n: usize| {
            std::iter::repeat_with(|| {
                n /= 26;
                char::from(b'a' + (n % 26) as u8)
            })
            .take(6)
            .collect()
        };
        let tokens = (0..TELLING_VOCABULARY * 26).step_by(26).map(letters);
        tokens.chain(extra.iter().map(|token| (*token).to_owned())).collect()
    }

    #[test]
    fn a_vocabulary_tells_how_text_was_split() {
        for (extra, expected) in [
            (&["1", "2", ");Ċ"][..], "deepseek-r1-qwen"),
            (&["1", "2"], "starcoder"),
            (&["1", "12", "123"], "dbrx"),
            (&["1", "1234"], "gpt-2"),
            (&["1", "<fim_prefix>"], "starcoder"),
            (&["123", "<[fim-prefix]>"], "seed-coder"),
            (&[], "gpt-2"),
        ] {
            let tokens = vocabulary(extra);
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            assert_eq!(infer(&tokens).name(), expected, "{extra:?}");
        }
        assert_eq!(infer(&["1", "2"]).name(), "gpt-2", "too few to tell");
        let mut qwen = vec!["a"; 151_645];
        qwen[151_644] = "<|im_start|>";
        assert_eq!(infer(&qwen).name(), "qwen2");
    }
}
