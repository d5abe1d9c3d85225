//! The text of a message → JSON, forgiving: what a client cannot help sending is mended, and what was mended is told.
//!
//! JavaScript has strings with half a surrogate pair and writes them as `"\ud800"`; editors of bytes send bytes that are
//! no UTF-8. serde_json refuses both. They become U+FFFD here, and [`Fidelity`] says whether the text is still the one
//! that the client counts its columns in. Of a message that cannot be mended [`lost_by`] says whose text went with it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Deserializer, Value};
use tower_lsp::lsp_types::Url;

use super::params::{self, Effect};
use super::uri;

/// How faithful the strings of a message are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fidelity {
    /// As the client wrote them.
    #[default]
    Exact,
    /// Half pairs are U+FFFD, which is one UTF-16 unit too.
    HalfPairs,
    /// Bytes that are no UTF-8 are U+FFFD, and nobody knows how many columns the client counts for them.
    BadBytes,
}

/// What one message says.
#[derive(Debug)]
pub(super) struct Body {
    /// What was sent.
    pub(super) value: Value,
    /// How faithfully.
    pub(super) fidelity: Fidelity,
}

/// Which documents may have changed by a message that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// None: it was about something else.
    Nothing,
    /// These.
    Documents {
        /// By this method, if it can be told.
        method: Option<String>,
        /// In their one spelling.
        uris: Vec<Url>,
    },
    /// Any.
    Everything,
}

/// Reads the text of one message.
///
/// # Errors
///
/// When it is not JSON, even when mended.
pub(super) fn parse(text: &[u8]) -> serde_json::Result<Body> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    serde_json::from_slice(text)
        .map(|value| Body { value, fidelity: Fidelity::Exact })
        .or_else(|error| mended(text).ok_or(error))
}

fn mended(text: &[u8]) -> Option<Body> {
    let text = String::from_utf8_lossy(text);
    let fidelity = match text {
        Cow::Borrowed(_) => Fidelity::HalfPairs,
        Cow::Owned(_) => Fidelity::BadBytes,
    };
    let value = serde_json::from_str(&without_half_pairs(&text)).ok()?;
    Some(Body { value, fidelity })
}

/// `text` with the escapes of halves of surrogate pairs replaced by that of U+FFFD, which is as long.
fn without_half_pairs(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        let escape = &rest[at..];
        let len = match (escaped_unit(escape), escape.get(6..).and_then(escaped_unit)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(0xD800..0xE000), _) => {
                mended.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            _ => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        mended.push_str(&escape[..len]);
        rest = &escape[len..];
    }
    mended + rest
}

/// The UTF-16 unit that an escape at the start of `text` stands for.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| are_hex)
}

/// Whose text was changed by a message that is not JSON because of `error`.
///
/// A message that ends too early or too late was cut from the stream at a wrong place, so what follows is lost as well.
pub(super) fn lost_by(text: &[u8], error: &serde_json::Error) -> Lost {
    if text.trim_ascii().is_empty() {
        return Lost::Nothing;
    }
    let text = String::from_utf8_lossy(text);
    let first = Deserializer::from_str(&text).into_iter::<Value>().next();
    if error.is_eof() || matches!(first, Some(Ok(_))) {
        return Lost::Everything;
    }
    let mut methods = strings_at("method", &text).peekable();
    let is_silent = methods.peek().is_none();
    let changes_text =
        |name: &String| params::method(name).is_some_and(|method| method.effect == Effect::Text);
    let method = methods.find(changes_text);
    if method.is_none() && !is_silent {
        return Lost::Nothing;
    }
    let uris: Vec<Url> = strings_at("uri", &text).map(|written| uri::canonical(&written)).collect();
    if uris.is_empty() { Lost::Everything } else { Lost::Documents { method, uris } }
}

/// The strings that stand behind a key of this name, at any depth. Quotes inside of strings are escaped, so that no text
/// of a document is taken for a key.
fn strings_at<'a>(key: &str, text: &'a str) -> impl Iterator<Item = String> + 'a {
    let parts: Vec<&str> = text.split(&format!("\"{key}\"")).skip(1).collect();
    parts.into_iter().filter_map(|part| {
        let value = part.trim_start().strip_prefix(':')?.trim_start();
        String::deserialize(&mut Deserializer::from_str(value)).ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &[u8], expect: Value, fidelity: Fidelity) {
        let body = parse(text).unwrap();
        let text = String::from_utf8_lossy(text);
        assert_eq!((body.value, body.fidelity), (expect, fidelity), "{text}");
    }

    #[test]
    fn half_a_pair_is_one_replacement_character() {
        for (text, expect) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\uDFFFb""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00\ud83d""#, "😀\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud800\ud800\"é""#, "\\ud800\u{fffd}\"é"),
        ] {
            check(text.as_bytes(), json!(expect), Fidelity::HalfPairs);
        }
    }

    #[test]
    fn whole_texts_are_left_alone() {
        for (text, expect) in
            [(r#""\ud83d\ude00""#, "😀"), (r#""\\ud800""#, "\\ud800"), (r#""\ufffd""#, "\u{fffd}")]
        {
            check(text.as_bytes(), json!(expect), Fidelity::Exact);
        }
        check(b"\xEF\xBB\xBF[1]", json!([1]), Fidelity::Exact);
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_told() {
        check(b"\"caf\xE9\"", json!("caf\u{fffd}"), Fidelity::BadBytes);
        check(b"\"\xED\xA0\x80\"", json!("\u{fffd}\u{fffd}\u{fffd}"), Fidelity::BadBytes);
        check(b"\"\xE9\\ud800\"", json!("\u{fffd}\u{fffd}"), Fidelity::BadBytes);
    }

    #[test]
    fn what_cannot_be_read_takes_its_document_with_it() {
        let uris = vec![uri::canonical("file:///a")];
        let unknown = Lost::Documents { method: None, uris: uris.clone() };
        let method = Some("textDocument/didChange".to_owned());
        let a = || Lost::Documents { method: method.clone(), uris: uris.clone() };
        let change = r#""method":"textDocument/didChange","params":{"#;
        for (text, expect) in [
            (format!(r#"{{{change}"textDocument":{{"uri":"file:///a"}},"x":"\q"}}}}"#), a()),
            (format!(r#"{{{change}"x":"\q","textDocument":{{"uri" : "file:/a"}}}}}}"#), a()),
            (format!(r#"{{{change}"x":'1'}}}}"#), Lost::Everything),
            (r#"{"params":{"textDocument":{"uri":"file:///a"},"x":01}}"#.to_owned(), unknown),
            (format!(r#"{{{change}"x":"{{\"uri\":\"file:///a\"}}\q"}}}}"#), Lost::Everything),
            (r#"{"method":"textDocument/completion","x":"\q"}"#.to_owned(), Lost::Nothing),
            (r#"{"method":"$/setTrace",}"#.to_owned(), Lost::Nothing),
            (format!(r#"{{{change}"textDocument":{{"uri":"file:///a"}},"x"#), Lost::Everything),
            (r#"{"method":"$/setTrace"} {"meth"#.to_owned(), Lost::Everything),
            (" ".to_owned(), Lost::Nothing),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(lost_by(text.as_bytes(), &error), expect, "{text}");
        }
    }
}
