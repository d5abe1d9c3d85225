//! Bytes on the wire, well framed or not.

use cosec_ls::lsp::End;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::harness::fuzz;
use crate::wire::{Wire, frame, in_no_time, n_answers, settle};

/// What a broken client writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Piece {
    /// A body in a frame of its length.
    Framed(Vec<u8>),
    /// The same for a body of text.
    Text(String),
    /// A body of brackets within brackets.
    Nested { open: u8, times: u16 },
    /// A header of its own, and then a body of text.
    Header { header: String, body: String },
    /// Anything.
    Loose(Vec<u8>),
}

const BODIES: [&str; 14] = [
    r#"{"jsonrpc":"2.0","id":7,"method":"cosec/status"}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"capabilities":{}}}"#,
    r#"{"jsonrpc":"2.0","id":"\ud800","method":"shutdown","params":null}"#,
    r#"{"jsonrpc":"2.0","method":"initialized"}"#,
    r#"{"jsonrpc":"2.0","id":1.5,"method":"cosec/status"}"#,
    r#"{"jsonrpc":"2.0","id":null,"method":"cosec/status"}"#,
    r#"{"jsonrpc":"1.0","id":18446744073709551616,"method":"$/x"}"#,
    r#"{"jsonrpc":"2.0","id":3,"result":null}"#,
    r#"{"jsonrpc":"2.0","id":3,"error":{"code":99999999999,"message":3}}"#,
    r#"{"id":4,"method":{"a":1}}"#,
    r#"[{"jsonrpc":"2.0","id":5,"method":"shutdown"}]"#,
    "{",
    "null",
    "\u{feff}{}",
];

const HEADERS: [&str; 12] = [
    "Content-Length: 18446744073709551615\r\n\r\n",
    "Content-Length: 18446744073709551616\r\n\r\n",
    "Content-Length: 9223372036854775807\r\n\r\n",
    "Content-Length: -1\r\n\r\n",
    "Content-Length: 0\r\n\r\n",
    "Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
    "content-length:2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-16\r\n\r\n",
    "Content-Length: 2\n\n",
    "Content-Length : 2\r\n\r\n",
    "Content-Length: +2\r\n\r\n",
    "Content-Length: 2 \r\n\r\n",
    "\r\n\r\n",
];

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        4 => prop::sample::select(&BODIES[..]).prop_map(|body| Piece::Text(body.to_owned())),
        2 => any_body().prop_map(Piece::Framed),
        1 => (prop::sample::select(&b"[{\""[..]), 0..20_000_u16)
            .prop_map(|(open, times)| Piece::Nested { open, times }),
        2 => (prop::sample::select(&HEADERS[..]), prop::sample::select(&BODIES[..]))
            .prop_map(|(header, body)| Piece::Header { header: header.to_owned(), body: body.to_owned() }),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Piece::Loose),
        1 => prop::collection::vec(prop::sample::select(&b"Content-Length: \r\n0123{}"[..]), 0..9_000)
            .prop_map(Piece::Loose),
    ];
    prop::collection::vec(piece, 0..12)
}

/// A body with some of its bytes changed.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(&BODIES[..]), changes).prop_map(|(body, changes)| {
        let mut body = body.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body
    })
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Framed(body) => frame(body),
            Self::Text(body) => frame(body.as_bytes()),
            Self::Nested { open, times } => frame(&vec![*open; usize::from(*times)]),
            Self::Header { header, body } => [header.as_bytes(), body.as_bytes()].concat(),
            Self::Loose(bytes) => bytes.clone(),
        }
    }

    /// Whether the next piece is read as what it is.
    fn ends_where_it_says(&self) -> bool {
        matches!(self, Self::Framed(_) | Self::Text(_) | Self::Nested { .. })
    }
}

const LAST: i64 = 424_242;

fn check(pieces: &[Piece]) {
    in_no_time(async {
        let (mut wire, _script) = Wire::open();
        for piece in pieces {
            wire.send(&piece.bytes()).await;
            settle().await;
        }
        wire.request(LAST, "cosec/status", serde_json::json!({})).await;
        settle().await;
        let (end, said) = wire.close().await;
        let answers = n_answers(&said, LAST);
        assert!(answers <= 1, "answered {answers} times");
        if end == End::HangUp && pieces.iter().all(Piece::ends_where_it_says) {
            assert_eq!(answers, 1, "the last request has no answer: {said:?}");
        }
    });
}

#[test]
fn bytes_on_the_wire_end_nothing() {
    fuzz("frames", pieces(), |pieces| check(pieces));
}
