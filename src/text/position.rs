//! Places in a document: bytes for us, lines and columns for editors.
//!
//! A column counts bytes, UTF-16 units or characters, as the editor and the server have agreed
//! ([`Encoding`]). A place that does not exist is moved to the nearest one before it that does:
//! a column beyond the end of its line to the end of the line, before its line break; a column
//! inside a character (or surrogate pair) to its start; a line beyond the last to the end of the
//! text. LSP demands the first; the others are what `vscode-languageserver-textdocument` does.

use super::Document;

/// A place in a text, in bytes of UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteIdx(pub usize);

/// A place in a text, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CharIdx(usize);

/// A place as editors name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 0.
    pub line: u32,
    /// Column, from 0, in units of the [`Encoding`].
    pub character: u32,
}

/// What a column counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Bytes.
    Utf8,
    /// UTF-16 units: what LSP falls back to where nothing is agreed.
    #[default]
    Utf16,
    /// Characters.
    Utf32,
}

impl Document {
    /// The place that `position` names, moved to an existing one where it names none.
    pub fn byte_of(&self, position: Position, encoding: Encoding) -> ByteIdx {
        let line_idx = position.line as usize;
        if line_idx >= self.line_count() {
            return self.len();
        }
        let start = self.rope.line_to_char(line_idx);
        let end = self.rope.byte_to_char(self.n_th_line_end(line_idx).0);
        let wanted = self.advance(CharIdx(start), position.character as usize, encoding);
        ByteIdx(self.rope.char_to_byte(wanted.0.min(end)))
    }

    /// The name of a place. A place between `\r` and `\n` or inside a character is named by the
    /// nearest one before it.
    ///
    /// # Panics
    ///
    /// When `at` lies beyond the text.
    pub fn position_of(&self, at: ByteIdx, encoding: Encoding) -> Position {
        let line_idx = self.line_of(at);
        let start = self.n_th_line_start(line_idx);
        let at = at.min(self.n_th_line_end(line_idx));
        let column = self.units_before(at, encoding) - self.units_before(start, encoding);
        Position { line: to_u32(line_idx), character: to_u32(column) }
    }

    /// The character `units` after `start`; the end of the text where there are fewer.
    fn advance(&self, start: CharIdx, units: usize, encoding: Encoding) -> CharIdx {
        let rope = &self.rope;
        CharIdx(match encoding {
            Encoding::Utf8 => {
                let byte = rope.char_to_byte(start.0) + units;
                rope.byte_to_char(byte.min(rope.len_bytes()))
            }
            Encoding::Utf16 => {
                let unit = rope.char_to_utf16_cu(start.0) + units;
                rope.utf16_cu_to_char(unit.min(rope.len_utf16_cu()))
            }
            Encoding::Utf32 => (start.0 + units).min(rope.len_chars()),
        })
    }

    /// Units from the start of the text to the character that holds `at`.
    fn units_before(&self, at: ByteIdx, encoding: Encoding) -> usize {
        let char_idx = self.rope.byte_to_char(at.0);
        match encoding {
            Encoding::Utf8 => self.rope.char_to_byte(char_idx),
            Encoding::Utf16 => self.rope.char_to_utf16_cu(char_idx),
            Encoding::Utf32 => char_idx,
        }
    }
}

/// LSP counts in `u32`; a text beyond it is pinned to the largest place there is.
fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32];

    fn byte_of(text: &str, line: u32, character: u32, encoding: Encoding) -> usize {
        Document::new(text, 1, "").byte_of(Position { line, character }, encoding).0
    }

    #[test]
    fn columns_count_the_agreed_units() {
        let text = "x\né𝒳\ty";
        assert_eq!(byte_of(text, 1, 7, Encoding::Utf8), 2 + 7);
        assert_eq!(byte_of(text, 1, 4, Encoding::Utf16), 2 + 7);
        assert_eq!(byte_of(text, 1, 3, Encoding::Utf32), 2 + 7);
    }

    #[test]
    fn inside_a_character_is_its_start() {
        assert_eq!(byte_of("a𝒳b", 0, 2, Encoding::Utf16), 1);
        assert_eq!(byte_of("a𝒳b", 0, 3, Encoding::Utf16), 5);
        assert_eq!(byte_of("a𝒳b", 0, 4, Encoding::Utf8), 1);
    }

    #[test]
    fn beyond_the_line_is_its_end_before_the_break() {
        for encoding in ENCODINGS {
            assert_eq!(byte_of("ab\r\ncd", 0, 3, encoding), 2);
            assert_eq!(byte_of("ab\r\ncd", 0, u32::MAX, encoding), 2);
            assert_eq!(byte_of("ab\r\ncd", 1, u32::MAX, encoding), 6);
        }
    }

    #[test]
    fn beyond_the_text_is_its_end() {
        for encoding in ENCODINGS {
            assert_eq!(byte_of("ab\n", 1, 0, encoding), 3);
            assert_eq!(byte_of("ab\n", u32::MAX, 3, encoding), 3);
            assert_eq!(byte_of("", 5, 5, encoding), 0);
        }
    }

    #[test]
    fn every_character_is_found_again() {
        let text = "let ü = \"𝒳🦀\";\r\n\tx\ry\n\nz";
        let document = Document::new(text, 1, "");
        let between = |byte| text[..byte].ends_with('\r') && text[byte..].starts_with('\n');
        for encoding in ENCODINGS {
            for (byte, _) in text.char_indices().filter(|&(byte, _)| !between(byte)) {
                let position = document.position_of(ByteIdx(byte), encoding);
                assert_eq!(document.byte_of(position, encoding), ByteIdx(byte), "{position:?}");
            }
        }
    }

    #[test]
    fn between_carriage_return_and_newline_is_named_by_the_line_end() {
        let document = Document::new("ab\r\ncd", 1, "");
        let position = document.position_of(ByteIdx(3), Encoding::Utf16);
        assert_eq!(position, Position { line: 0, character: 2 });
    }
}
