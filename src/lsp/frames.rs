//! Messages on the wire: `Content-Length` headers and JSON bodies.
//!
//! A message that cannot be read is a value like any other ([`BadMessage`]), not the end of the
//! stream: the next `Content-Length` is looked for and the server goes on.

use std::io;

use serde::Serialize;
use serde_json::Value;
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;
use tower_lsp::jsonrpc::{Error, Id, Request, Response};

/// Longer headers than this are garbage.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What a client sends.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A request or notification.
    Request(Request),
    /// The answer to one of our requests.
    Response(Response),
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    /// No length in the headers.
    #[error("message without a content length")]
    Header,
    /// The body is not JSON.
    #[error("the message is not JSON: {0}")]
    Json(serde_json::Error),
    /// The body is JSON, but not JSON-RPC.
    #[error("the message is not JSON-RPC: {0}")]
    Shape(serde_json::Error),
}

impl BadMessage {
    /// The answer that JSON-RPC asks for.
    pub(super) fn response(&self) -> Response {
        let mut error = match self {
            Self::Header | Self::Json(_) => Error::parse_error(),
            Self::Shape(_) => Error::invalid_request(),
        };
        error.message = self.to_string().into();
        Response::from_error(Id::Null, error)
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Set between the headers and the end of the body.
    body_len: Option<usize>,
}

impl Decoder for Frames {
    type Item = Result<Incoming, BadMessage>;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        let body_len = match self.body_len {
            Some(body_len) => body_len,
            None => match take_header(bytes) {
                None => return Ok(None),
                Some(Err(bad)) => return Ok(Some(Err(bad))),
                Some(Ok(body_len)) => *self.body_len.insert(body_len),
            },
        };
        if bytes.len() < body_len {
            return Ok(None);
        }
        self.body_len = None;
        Ok(Some(parse(&bytes.split_to(body_len))))
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
    let Some(header_len) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        if bytes.len() <= MAX_HEADER_BYTES {
            return None;
        }
        bytes.clear();
        return Some(Err(BadMessage::Header));
    };
    let header = bytes.split_to(header_len);
    bytes.advance(4);
    let header = String::from_utf8_lossy(&header).to_ascii_lowercase();
    let (_, value) = header.rsplit_once("content-length:").unwrap_or_default();
    let value = value.split("\r\n").next().unwrap_or_default();
    Some(value.trim().parse().map_err(|_| BadMessage::Header))
}

fn parse(body: &[u8]) -> Result<Incoming, BadMessage> {
    let mut message: Value = serde_json::from_slice(body).map_err(BadMessage::Json)?;
    let Some(fields) = message.as_object_mut().filter(|fields| fields.contains_key("method"))
    else {
        let response = serde_json::from_value(message).map_err(BadMessage::Shape)?;
        return Ok(Incoming::Response(response));
    };
    // Some clients send `"params": null` where LSP has none; tower-lsp would refuse it.
    if fields.get("params").is_some_and(Value::is_null) {
        fields.remove("params");
    }
    let request = serde_json::from_value(message).map_err(BadMessage::Shape)?;
    Ok(Incoming::Request(request))
}

#[cfg(test)]
mod tests {
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
                seen.push(match item {
                    Ok(Incoming::Request(request)) => request.method().to_owned(),
                    Ok(Incoming::Response(response)) => format!("response {}", response.id()),
                    Err(bad) => bad.to_string(),
                });
            }
        }
        assert_eq!(seen.len(), expect.len(), "{seen:?}");
        for (seen, expect) in seen.iter().zip(expect) {
            assert!(seen.starts_with(expect), "{seen:?} {expect:?}");
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
        let input = format!(
            "content-type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length: {}\r\n\r\n{EXIT}",
            EXIT.len()
        );
        check(&input, &["exit"]);
    }

    #[test]
    fn a_bad_message_is_followed_by_a_good_one() {
        check(&(frame("{") + &frame(EXIT)), &["the message is not JSON: ", "exit"]);
        check(&(frame("[1]") + &frame(EXIT)), &["the message is not JSON-RPC", "exit"]);
        check(&format!("X: 1\r\n\r\n{}", frame(EXIT)), &["message without", "exit"]);
        check(&format!("Content-Length: x\r\n\r\n{}", frame(EXIT)), &["message without", "exit"]);
    }

    #[test]
    fn a_wrong_length_costs_no_second_message() {
        let short = format!("Content-Length: {}\r\n\r\n{EXIT}", EXIT.len() - 2);
        check(&(short + &frame(EXIT)), &["the message is not JSON", "exit"]);
    }
}
