//! What a keystroke costs: the medians of a typing replay.

use std::fmt::Write as _;

use super::statistics::median;

/// A completion that was asked for after a keystroke.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keystroke {
    /// Whether the models were asked; otherwise the suggestion was typed through, and the answer came from memory.
    pub asked: bool,
    /// Tokens that the base evaluated before the first new token.
    pub n_base_tokens: usize,
    /// Tokens that the security model evaluated before the first new token.
    pub n_security_tokens: usize,
    /// Decoded tokens.
    pub n_decoded_tokens: usize,
    /// To the first streamed text; to the answer where nothing was streamed.
    pub first_ms: f64,
    /// To the answer.
    pub answer_ms: f64,
}

/// The medians in Markdown: of the cold prompt, of keystrokes with and without a question to the models, and of all.
pub fn table(cold: &Keystroke, keystrokes: &[Keystroke]) -> String {
    let mut text = format!(
        "| | keystrokes | tokens evaluated, base + security (median) | first streamed text (median) | answer (median) |\n|{}\n",
        "---|".repeat(5)
    );
    row(&mut text, "cold prompt", &[*cold]);
    let (asked, known): (Vec<Keystroke>, _) = keystrokes.iter().partition(|key| key.asked);
    row(&mut text, "asked of the models", &asked);
    row(&mut text, "typed through, from memory", &known);
    row(&mut text, "all keystrokes", keystrokes);
    text
}

fn row(text: &mut String, name: &str, keystrokes: &[Keystroke]) {
    let middle =
        |value: fn(&Keystroke) -> f64| median(&keystrokes.iter().map(value).collect::<Vec<_>>());
    let (Some(base), Some(security), Some(first), Some(answer)) = (
        middle(|key| key.n_base_tokens as f64),
        middle(|key| key.n_security_tokens as f64),
        middle(|key| key.first_ms),
        middle(|key| key.answer_ms),
    ) else {
        return;
    };
    let _ = writeln!(
        text,
        "| {name} | {} | {base:.0} + {security:.0} | {first:.1} ms | {answer:.1} ms |",
        keystrokes.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n_tokens: usize, first_ms: f64) -> Keystroke {
        Keystroke {
            asked: n_tokens > 0,
            n_base_tokens: n_tokens,
            n_security_tokens: n_tokens + 1,
            n_decoded_tokens: 16,
            first_ms,
            answer_ms: 2.0 * first_ms,
        }
    }

    #[test]
    fn asked_and_known_keystrokes_have_rows_of_their_own() {
        let keys = [key(1, 300.0), key(0, 0.2), key(3, 100.0), key(2, 200.0)];
        let text = table(&key(1276, 5000.0), &keys);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| cold prompt | 1 | 1276 + 1277 | 5000.0 ms | 10000.0 ms |",
                "| asked of the models | 3 | 2 + 3 | 200.0 ms | 400.0 ms |",
                "| typed through, from memory | 1 | 0 + 1 | 0.2 ms | 0.4 ms |",
                "| all keystrokes | 4 | 2 + 2 | 150.0 ms | 300.0 ms |",
            ]
        );
    }

    #[test]
    fn a_kind_without_keystrokes_has_no_row() {
        let text = table(&key(9, 1.0), &[key(1, 1.0)]);
        assert!(!text.contains("from memory"), "{text}");
    }
}
