//! Steps of several sequences at once against the steps of each alone.

use cosec_ls::config::{Decoding, Mode, Sampling};
use cosec_ls::decode::batch::{Member, step_batch};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Role, Sequence};
use cosec_ls::model::Decoder;

use crate::support::toy_decoder::{Law, ToyCache, ToyDecoder};

const VOCAB: usize = 24;

fn toys() -> [ToyDecoder; 2] {
    [(1, 0.3), (2, 0.5)]
        .map(|(own, part)| ToyDecoder::new(VOCAB, Law::Mixed { shared: 9, own, part }))
}

fn sequence([base, security]: &[ToyDecoder; 2], prompt: &[u32]) -> Sequence<ToyCache> {
    let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
    sequence.retarget(prompt.to_vec());
    sequence
}

/// A law per mode, each with temperatures of its own.
fn laws() -> [Decoding; 3] {
    [(Mode::Off, 0.8), (Mode::Cosec, 0.5), (Mode::Security, 1.0)].map(|(mode, temperature)| {
        let sampling = Sampling { temperature, top_p: 0.95, min_prob: 0.0 };
        Decoding { mode, base: sampling, security: sampling, ..Decoding::default() }
    })
}

/// Tokens that may follow so many others; all of them after a few.
fn allowed(n_decoded: usize, sample: u32) -> Option<Vec<u32>> {
    (n_decoded < sample as usize % 3).then(|| (sample..VOCAB as u32).step_by(3).collect())
}

#[test]
fn members_of_all_modes_get_the_tokens_that_they_get_alone() {
    const N: usize = 30;
    let toys = toys();
    let prompts: [&[u32]; 2] = [&[3, 1, 4, 1], &[5, 9]];
    let members: Vec<(Decoding, Draws, &[u32])> = (0..9)
        .map(|i| (laws()[i % 3], Draws { seed: 4, sample: i as u32 }, prompts[i % 2]))
        .collect();
    let mut sequences: Vec<_> =
        members.iter().map(|(_, _, prompt)| sequence(&toys, prompt)).collect();
    let mut together = vec![Vec::new(); members.len()];
    for n_decoded in 0..N {
        let batch = sequences.iter_mut().zip(&members);
        let mut batch: Vec<_> = batch
            .map(|(sequence, &(law, draws, _))| {
                let allowed = allowed(n_decoded, draws.sample);
                Member { sequence, law, draws, allowed }
            })
            .collect();
        let steps = step_batch([&toys[0], &toys[1]], &mut batch).unwrap();
        together.iter_mut().zip(steps).for_each(|(all, step)| all.push(step));
    }
    for (i, (law, draws, prompt)) in members.into_iter().enumerate() {
        let decoder = CoDecoder { base: &toys[0], security: &toys[1], law, draws };
        let mut alone = sequence(&toys, prompt);
        for (n_decoded, got) in together[i].iter().enumerate() {
            let allowed = allowed(n_decoded, draws.sample);
            let expected = decoder.step(&mut alone, allowed.as_deref()).unwrap();
            assert_eq!(*got, expected, "member {i}, token {n_decoded}");
        }
        assert_eq!(sequences[i].tokens(), alone.tokens());
    }
}

#[test]
fn a_role_that_no_member_asks_is_left_alone() {
    let toys = toys();
    let mut only = sequence(&toys, &[1, 2]);
    let draws = Draws { seed: 1, sample: 0 };
    let member = Member { sequence: &mut only, law: laws()[0], draws, allowed: None };
    step_batch([&toys[0], &toys[1]], &mut [member]).unwrap();
    assert_eq!((toys[0].n_forwards(), toys[1].n_forwards()), (1, 0));
}

#[test]
fn a_forward_that_fails_leaves_all_sequences_as_they_were() {
    for fails_at in 0..3 {
        let mut toys = toys();
        toys[0].fails_at = Some(fails_at);
        let mut sequences = [[1, 2], [3, 4], [5, 6]].map(|prompt| sequence(&toys, &prompt));
        let law = laws()[1];
        let members = sequences.iter_mut().zip(0..);
        let mut members: Vec<_> = members
            .map(|(sequence, sample)| {
                let draws = Draws { seed: 1, sample };
                Member { sequence, law, draws, allowed: None }
            })
            .collect();
        step_batch([&toys[0], &toys[1]], &mut members).unwrap_err();
        for sequence in &sequences {
            assert_eq!(sequence.len(), 2);
            for role in [Role::Base, Role::Security] {
                assert!(!sequence.pending(role).is_empty(), "something is left to feed");
            }
        }
    }
}
