//! Messages on the wire: `Content-Length` headers and JSON bodies.
//!
//! A message that cannot be read is a value like any other ([`BadMessage`]), not the end of the
//! stream: the next `Content-Length` is looked for and the server goes on.

use std::io;

use serde::Serialize;
use serde_json::Value;
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;
use tower_lsp::jsonrpc::Error;

use super::json::{self, Body, Lost};
use super::message::Reply;

/// Longer headers than this are garbage.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Longer messages than this are refused. No editor opens a file of that size for completion, and a length out of a
/// garbled header would have the server wait for bytes that never come.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

const LENGTH: &[u8] = b"content-length:";

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    /// No length in the headers.
    #[error("message without a content length")]
    Header,
    /// More than anybody can mean.
    #[error("a message may have {MAX_BODY_BYTES} bytes, and not {0}")]
    TooLong(usize),
    /// The body is not JSON.
    #[error("the message is not JSON: {error}")]
    Json {
        /// Where it is not.
        error: serde_json::Error,
        /// Whose text went with it.
        lost: Lost,
    },
}

impl BadMessage {
    /// The answer that JSON-RPC asks for.
    pub(super) fn reply(&self) -> Reply {
        let error = Error { message: self.to_string().into(), ..Error::parse_error() };
        Reply::new(Value::Null, Err(error))
    }

    /// Whose text went with it.
    pub(super) fn lost(&self) -> &Lost {
        match self {
            Self::Header | Self::TooLong(_) => &Lost::Everything,
            Self::Json { lost, .. } => lost,
        }
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Set between the headers and the end of the body.
    body_len: Option<usize>,
    /// What comes is garbage, and this has been said.
    is_lost: bool,
}

impl Decoder for Frames {
    type Item = Result<Body, BadMessage>;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        while self.body_len.is_none() {
            match take_header(bytes) {
                None => return Ok(None),
                Some(Ok(body_len)) => {
                    self.is_lost = false;
                    self.body_len = Some(body_len);
                }
                Some(Err(_)) if self.is_lost => {}
                Some(Err(bad)) => {
                    self.is_lost = true;
                    return Ok(Some(Err(bad)));
                }
            }
        }
        let Some(body_len) = self.body_len.take_if(|body_len| *body_len <= bytes.len()) else {
            return Ok(None);
        };
        let body = bytes.split_to(body_len);
        Ok(Some(json::parse(&body).map_err(|error| {
            let lost = json::lost_by(&body, &error);
            BadMessage::Json { error, lost }
        })))
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        let last = self.decode(bytes)?;
        if last.is_none() {
            bytes.clear();
        }
        Ok(last)
    }
}

/// Bytes of `message` as they go over the wire.
pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(message).expect("our messages have string keys");
    let mut frame = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    frame.extend_from_slice(&body);
    frame
}

/// Takes the headers off `bytes` and returns the length of the body; none while they are incomplete.
///
/// The name is looked for anywhere, not only at line starts: after a message of a wrong length, the
/// next header follows the garbage immediately.
fn take_header(bytes: &mut BytesMut) -> Option<Result<usize, BadMessage>> {
    let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    bytes.advance(blank);
    let Some((header_len, body_start)) = header_end(bytes) else {
        if bytes.len() <= MAX_HEADER_BYTES {
            return None;
        }
        // The name may have been cut in two.
        bytes.advance(bytes.len() - LENGTH.len());
        return Some(Err(BadMessage::Header));
    };
    let header = bytes.split_to(header_len);
    bytes.advance(body_start - header_len);
    let Some(at) = last_length(&header) else {
        return Some(Err(BadMessage::Header));
    };
    let value = header[at + LENGTH.len()..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = str::from_utf8(value).unwrap_or_default().trim();
    Some(match value.parse() {
        Ok(length) if length <= MAX_BODY_BYTES => Ok(length),
        Ok(length) => Err(BadMessage::TooLong(length)),
        Err(_) => Err(BadMessage::Header),
    })
}

/// Where headers end, and where the body starts: behind an empty line. One whose lines end in bare newlines counts only
/// behind a length, for what programs print by mistake has such lines as well.
fn header_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    newlines.map(|(at, _)| at).find_map(|at| {
        let empty_line = match &bytes[at + 1..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return None,
        };
        let is_standard = empty_line == 2 && bytes[..at].ends_with(b"\r");
        (is_standard || last_length(&bytes[..at]).is_some()).then_some((at, at + 1 + empty_line))
    })
}

fn last_length(header: &[u8]) -> Option<usize> {
    header.windows(LENGTH.len()).rposition(|name| name.eq_ignore_ascii_case(LENGTH))
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    const EXIT: &str = r#"{"jsonrpc":"2.0","method":"exit","params":null}"#;

    fn check(input: &str, expect: &[&str]) {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        let mut bytes = BytesMut::new();
        // One byte at a time: every split of the input is survived.
        for byte in input.bytes() {
            bytes.extend_from_slice(&[byte]);
            while let Some(item) = frames.decode(&mut bytes).unwrap() {
                match item {
                    Ok(body) => seen.extend(Message::read(body).iter().map(word)),
                    Err(bad) => seen.push(bad.to_string()),
                }
            }
        }
        assert_eq!(seen.len(), expect.len(), "{seen:?}");
        for (seen, expect) in seen.iter().zip(expect) {
            assert!(seen.starts_with(expect), "{seen:?} {expect:?}");
        }
    }

    fn word(message: &Message) -> String {
        match message {
            Message::Call(call) => call.method.clone(),
            Message::Answer(answered) => format!("response {}", answered.id.unwrap_or(-1)),
            Message::Nonsense(id) => format!("the message is not JSON-RPC: {id}"),
        }
    }

    fn frame(body: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn messages_follow_each_other() {
        let response = r#"{"jsonrpc":"2.0","id":3,"result":null}"#;
        check(&(frame(EXIT) + &frame(response)), &["exit", "response 3"]);
    }

    #[test]
    fn header_names_have_no_case_and_others_are_ignored() {
        let length = EXIT.len();
        for header in [
            format!(
                "content-type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length: {length}\r\n\r\n"
            ),
            format!("CONTENT-LENGTH:{length}\r\nContent-Type: x; charset=utf8\r\nX: \r\n\r\n"),
            format!("X-Length: 3\r\nContent-length:\t {length} \r\n\r\n"),
            format!("Content-Length: 3\r\nContent-Length: {length}\r\n\r\n"),
        ] {
            check(&(header + EXIT + &frame(EXIT)), &["exit", "exit"]);
        }
    }

    #[test]
    fn header_lines_may_end_in_bare_newlines() {
        let length = EXIT.len();
        for header in [
            format!("Content-Length: {length}\n\n"),
            format!("Content-Type: x\nContent-Length: {length}\n\r\n"),
            format!("Content-Length: {length}\r\n\n"),
            format!("\r\n\nContent-Length: {length}\n\n"),
            format!("Listening.\n\nOn a pipe.\nContent-Length: {length}\r\n\r\n"),
        ] {
            check(&(header + EXIT + "\r\n\r\n" + &frame(EXIT)), &["exit", "exit"]);
        }
    }

    #[test]
    fn a_bad_message_is_followed_by_a_good_one() {
        check(&(frame("{") + &frame(EXIT)), &["the message is not JSON: ", "exit"]);
        check(&(frame("[1]") + &frame(EXIT)), &["the message is not JSON-RPC", "exit"]);
        check(&(frame("") + &frame(EXIT)), &["the message is not JSON: ", "exit"]);
        for header in [
            "X: 1",
            "Content-Length: x",
            "Content-Length: -3",
            "Content-Length:",
            "Content-Length: 2.0",
        ] {
            check(&format!("{header}\r\n\r\n{}", frame(EXIT)), &["message without", "exit"]);
        }
    }

    #[test]
    fn a_wrong_length_costs_no_second_message() {
        let short = format!("Content-Length: {}\r\n\r\n{EXIT}", EXIT.len() - 2);
        check(&(short + &frame(EXIT)), &["the message is not JSON", "exit"]);
    }

    #[test]
    fn an_absurd_length_is_refused_once_and_nothing_is_waited_for() {
        for length in ["268435457", "18446744073709551615"] {
            let garbage = "x".repeat(3 * MAX_HEADER_BYTES);
            let input = format!("Content-Length: {length}\r\n\r\n{garbage}{}", frame(EXIT));
            check(&input, &["a message may have", "exit"]);
        }
        let beyond = format!("Content-Length: 99999999999999999999999\r\n\r\n{{}}{}", frame(EXIT));
        check(&beyond, &["message without", "exit"]);
    }

    #[test]
    fn garbage_is_reported_once_until_something_can_be_read() {
        let garbage = "A: 1\r\n\r\n".repeat(3);
        check(
            &(garbage.clone() + &frame(EXIT) + &garbage),
            &["message without", "exit", "message"],
        );
    }

    #[test]
    fn a_batch_is_taken_apart() {
        let batch = format!("[{EXIT},1,{EXIT},[],{{\"id\":4,\"params\":1}}]");
        let nonsense = "the message is not JSON-RPC: ";
        let nonsense = [format!("{nonsense}4"), format!("{nonsense}null")];
        check(&frame(&batch), &["exit", "exit", &nonsense[0], &nonsense[1]]);
        check(&frame("[]"), &[&nonsense[1]]);
    }

    #[test]
    fn answers_come_with_ids_of_all_spellings() {
        for (sent, expect) in [
            (r#"{"id":3,"result":1}"#, "response 3"),
            (r#"{"jsonrpc":"1.0","id":"3","result":1,"error":null}"#, "response 3"),
            (r#"{"id":3.0,"error":{"code":1,"message":""}}"#, "response 3"),
            (r#"{"id":3}"#, "response 3"),
            (r#"{"id":"x","result":null}"#, "response -1"),
            (r#"{"id":3.5,"result":null}"#, "response -1"),
            (r#"{"result":null}"#, "the message is not JSON-RPC: null"),
            (r#"{"id":3,"method":5}"#, "the message is not JSON-RPC: 3"),
            ("3", "the message is not JSON-RPC: null"),
        ] {
            check(&frame(sent), &[expect]);
        }
    }
}
