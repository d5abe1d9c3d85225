//! Whether a document holds a private key, whatever it is called.
//!
//! A key is told by its first line and what follows that: `-----BEGIN RSA PRIVATE KEY-----` and then Base64, be it in a
//! file of its own, in a string of a program, or indented in YAML. A text that merely speaks of such lines holds no key.
//! Formats: PEM and OpenSSH, encrypted or not, PGP, SSH2, OpenVPN's static keys, PuTTY, age.
//!
//! Nothing is kept between two looks: the text is searched with vector instructions, and only when somebody asks for a
//! completion, never when it is edited.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{ByteIdx, Document};

/// How keys begin.
const MARKS: [&str; 4] = ["-----BEGIN ", "---- BEGIN ", "AGE-SECRET-KEY-", "PuTTY-User-Key-File-"];

/// Bytes of the longest mark.
const LONGEST_MARK: usize = 20;

/// Bytes behind a mark that are looked at: a first line, a few headers, and the first lines of a key.
const REACH: usize = 2048;

/// Characters of Base64 that make a key. The shortest keys have 48; text that shows how a key begins has fewer.
const MIN_BODY: usize = 40;

/// Characters of Base64 in a row that are no word of a sentence.
const MIN_RUN: usize = 8;

static SEARCH: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(MARKS).expect("four short patterns are no trouble"));

impl Document {
    /// Whether a private key stands in the text.
    pub fn holds_private_key(&self) -> bool {
        let mut start = 0;
        // The end of what was searched: a mark may lie across two chunks.
        let mut seam = Vec::with_capacity(2 * LONGEST_MARK);
        for chunk in self.rope.chunks() {
            let bytes = chunk.as_bytes();
            let seam_start = start - seam.len();
            seam.extend_from_slice(&bytes[..bytes.len().min(LONGEST_MARK)]);
            if self.key_in(&seam, seam_start) || self.key_in(bytes, start) {
                return true;
            }
            start += bytes.len();
            if bytes.len() >= LONGEST_MARK {
                seam.clear();
                seam.extend_from_slice(&bytes[bytes.len() - LONGEST_MARK..]);
            } else {
                seam.drain(..seam.len().saturating_sub(LONGEST_MARK));
            }
        }
        false
    }

    /// Whether one of the marks in `bytes`, which begin at `start` of the text, is a key's.
    fn key_in(&self, bytes: &[u8], start: usize) -> bool {
        SEARCH.find_iter(bytes).any(|mark| {
            let end = self.char_start(ByteIdx(start + mark.end() + REACH));
            let rest = self.slice(ByteIdx(start + mark.end())..end);
            match mark.pattern().as_usize() {
                0 | 1 => is_armoured(&rest),
                2 => bech32(&rest) >= MIN_BODY,
                _ => rest.contains("Private-Lines:"),
            }
        })
    }
}

/// Whether `rest`, which stands behind `BEGIN `, names a secret key and goes on as one.
fn is_armoured(rest: &str) -> bool {
    let Some((label, body)) = rest.split_once("----") else {
        return false;
    };
    let label = label.to_ascii_uppercase();
    let is_secret = ["PRIVATE KEY", "SECRET KEY", "STATIC KEY"].iter().any(|k| label.contains(k));
    is_secret && label.len() <= 64 && has_body(body.trim_start_matches('-'))
}

/// Whether the text begins with Base64, apart from line ends, what programs and comments put around them, and headers
/// (`Proc-Type: 4,ENCRYPTED`).
fn has_body(text: &str) -> bool {
    let text = text.replace("\\r", "\n").replace("\\n", "\n").replace("\\t", " ");
    let mut body = String::new();
    for line in text.split(['\n', '\r']) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || "\"'`+,#*>|;/\\<=".contains(c));
        let is_header = line
            .split_once(": ")
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        if line.is_empty() || is_header && body.is_empty() {
            continue;
        }
        let run = line.len() - line.trim_start_matches(is_base64).len();
        body.push_str(&line[..run]);
        if body.len() >= MIN_BODY {
            return looks_random(&body);
        }
        if run < MIN_RUN || run < line.trim_end_matches('=').len() {
            return false;
        }
    }
    false
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/')
}

/// Words have no digits, and numbers no letters.
fn looks_random(body: &str) -> bool {
    body.contains(|c: char| c.is_ascii_digit()) && body.contains(|c: char| c.is_ascii_alphabetic())
}

fn bech32(rest: &str) -> usize {
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made up; the form of a key and nothing more.
    const BODY: &str = "MIIEpAIBAAKCAQEA7x0Zq3mN8sXk2vB1cT5yW9uJ4hL6gF0dRpOeViKsQwAbCdEf";

    fn holds(text: &str) -> bool {
        Document::new(text, 1, "").holds_private_key()
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        for text in [
            format!("-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"),
            format!("x\r\n-----BEGIN RSA PRIVATE KEY-----\r\n{BODY}\r\n"),
            format!("-----BEGIN EC PRIVATE KEY-----\r{BODY}\r"),
            format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{BODY}"),
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}"),
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,5A\n\n{BODY}"
            ),
            format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BODY}"),
            format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x\n{BODY}"),
            format!("-----BEGIN OpenVPN Static key V1-----\n{}\n{0}", "0123456789abcdef0123"),
            format!("{{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{BODY}\\n\"}}"),
            format!("KEY = (\n    \"-----BEGIN PRIVATE KEY-----\\n\"\n    \"{BODY}\\n\"\n)"),
            format!("key = \"-----BEGIN PRIVATE KEY-----\\n\" +\n      \"{BODY}\\n\";"),
            format!("key: |\n    -----BEGIN PRIVATE KEY-----\n    {BODY}\n"),
            format!("# -----BEGIN PRIVATE KEY-----\n# {BODY}\n"),
            format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n{}\n{}",
                &BODY[..16],
                &BODY[16..32],
                &BODY[32..]
            ),
            format!("AGE-SECRET-KEY-1{}", "QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQY2H8V"),
            format!(
                "PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 1\n{BODY}\nPrivate-Lines: 1\n"
            ),
        ] {
            assert!(holds(&text), "{text}");
        }
    }

    #[test]
    fn a_text_that_speaks_of_keys_holds_none() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n",
            "It begins with `-----BEGIN PRIVATE KEY-----` and ends with its counterpart.",
            "assertThat(text).contains(\"-----BEGIN PRIVATE KEY-----\");\n    assertThatExceptionOfType(IllegalArgument1Exception.class);",
            "const HEADERS: [&str; 2] = [\n    \"-----BEGIN PRIVATE KEY-----\",\n    \"-----BEGIN EC PRIVATE KEY-----\",\n];",
            "if line == '-----BEGIN PRIVATE KEY-----':\n    internationalization = configuration42\n",
            "AGE-SECRET-KEY-1...",
            "PuTTY-User-Key-File-2 is how it begins.",
            "grep -r 'AGE-SECRET-KEY-' .",
        ] {
            assert!(!holds(text), "{text}");
        }
        for label in ["CERTIFICATE", "PUBLIC KEY", "PGP PUBLIC KEY BLOCK", "PGP MESSAGE"] {
            assert!(!holds(&format!("-----BEGIN {label}-----\n{BODY}\n{BODY}\n")), "{label}");
        }
    }

    #[test]
    fn a_key_is_found_across_the_chunks_of_a_rope() {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{BODY}\n");
        for n_before in (0..4000).step_by(7) {
            let text = format!("{}\n{key}{}", "ü".repeat(n_before), "x\n".repeat(800));
            assert!(holds(&text), "{n_before}");
        }
        let mut typed = Document::new("", 1, "");
        for letter in key.chars() {
            typed = typed.with_replaced(typed.len()..typed.len(), &letter.to_string());
        }
        assert!(typed.holds_private_key());
    }

    #[test]
    fn no_mark_is_longer_than_the_seam() {
        assert!(MARKS.iter().all(|mark| mark.len() <= LONGEST_MARK));
    }
}
