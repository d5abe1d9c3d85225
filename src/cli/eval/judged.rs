//! Drawing and judging at once: while the next samples are decoded, those that are there are judged.

use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};

use crate::eval::sample::{Order, Sampled, Sampler};

/// Samples that may wait to be judged; a run that is stopped loses these.
const MOST_WAITING: usize = 32;

/// Draws what `orders` asks for, `width` at a time, and hands each sample to `keep`, which judges and keeps it on a thread
/// of its own.
///
/// # Errors
/// If a model or `keep` fails. What was kept before stays.
pub fn draw_and_keep<'a: 'o, 'o, K: Send>(
    sampler: &mut Sampler<'a>,
    orders: &mut dyn Iterator<Item = Order<'o, K>>,
    width: usize,
    mut keep: impl FnMut(K, Sampled) -> Result<()> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let (drawn, waiting) = mpsc::sync_channel(MOST_WAITING);
        let keeper = scope
            .spawn(move || waiting.into_iter().try_for_each(|(key, sampled)| keep(key, sampled)));
        let drawing = sampler.sample_batch(orders, width, &mut |key, sampled| {
            // Nobody listens any more where keeping failed; its own error says why.
            drawn.send((key, sampled)).ok().context("samples cannot be kept")
        });
        drop(drawn);
        keeper.join().expect("keeping does not panic")?;
        drawing
    })
}
