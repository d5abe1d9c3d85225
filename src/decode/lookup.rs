//! What may come next because it came before: text that repeats, as free guesses at drafts.
//!
//! Code repeats itself, names most of all. Where the last tokens stand in the sequence already, the tokens that followed
//! them there are a guess at what the security model will draw, and several guesses are checked by one of its forwards
//! for little more than one draft takes (prompt lookup decoding, <https://github.com/apoorvumang/prompt-lookup-decoding>).
//! A guess never changes what is drawn: it is either the draft that the model draws, or dropped.

/// Tokens that must agree before there is a guess: a single token, such as a bracket, is followed by anything.
const LEAST_MATCH: usize = 2;

/// What followed the last tokens where they stood before: of all such places the one with the longest match, and the
/// latest of those. At most `most` tokens, and no more than agree before them: a long match promises a long repetition.
pub(super) fn guesses(tokens: &[u32], most: usize) -> Vec<u32> {
    let enough = most.max(LEAST_MATCH);
    let (mut best, mut place) = (0, 0);
    for end in (1..tokens.len()).rev() {
        let agree = matching(&tokens[..end], tokens, enough);
        if agree > best {
            (best, place) = (agree, end);
        }
        if agree == enough {
            break;
        }
    }
    let n_guesses = if best < LEAST_MATCH { 0 } else { best.min(most) };
    let mut guesses = Vec::with_capacity(n_guesses);
    for at in place..place + n_guesses {
        // A repetition may run into itself.
        let beyond = at.checked_sub(tokens.len());
        guesses.push(beyond.map_or_else(|| tokens[at], |beyond| guesses[beyond]));
    }
    guesses
}

/// How many last tokens the two have in common; `enough` at most.
fn matching(a: &[u32], b: &[u32], enough: usize) -> usize {
    let pairs = a.iter().rev().zip(b.iter().rev()).take(enough);
    pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_what_followed_the_longest_and_latest_match() {
        let cases: [(&[u32], usize, &[u32]); 9] = [
            (&[], 4, &[]),
            (&[1, 2, 3, 4], 4, &[]),
            // One token that agrees is not enough.
            (&[1, 2, 3, 1], 4, &[]),
            (&[1, 2, 3, 4, 1, 2], 4, &[3, 4]),
            (&[1, 2, 3, 4, 1, 2], 1, &[3]),
            // The later of two equally long matches.
            (&[1, 2, 3, 1, 2, 4, 9, 1, 2], 1, &[4]),
            // A longer one goes before a later one.
            (&[5, 1, 2, 3, 8, 1, 2, 4, 5, 1, 2], 4, &[3, 8, 1]),
            (&[7, 7, 7, 7, 7], 4, &[7, 7, 7, 7]),
            (&[8, 9, 8, 9, 8], 3, &[9, 8, 9]),
        ];
        for (tokens, most, expected) in cases {
            assert_eq!(guesses(tokens, most), expected, "{tokens:?} {most}");
        }
    }

    #[test]
    fn nothing_is_guessed_where_nothing_may_be() {
        assert_eq!(guesses(&[1, 2, 3, 1, 2], 0), [0; 0]);
    }
}
