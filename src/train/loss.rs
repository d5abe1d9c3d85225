//! The training loss of §2.1 on one example, and its gradient at the hidden states.
//!
//! `L = CE on the tokens of the fix + KL to the frozen model on the others`, each part a mean over its own tokens. With
//! 151,936 logits per prediction the full matrices of both models would take gigabytes, so the rows are taken in chunks,
//! and each chunk's logits become their own gradient at once; what is kept is the gradient at the hidden states.

use candle_core::{D, DType, IndexOp, Tensor};
use candle_nn::ops::log_softmax;
use rayon::prelude::*;

use super::examples::{Example, Role};
use crate::kernel::losses::{Divergence, cross_entropy, divergence};
use crate::model::gradient::{change, read};
use crate::model::{Error, Transformer};

/// Rows of logits that exist at the same time, per model and example: 78 MB for Qwen2.5's vocabulary. Each chunk reads all of the
/// head's weights three times, so few rows would wait for memory.
const CHUNK: usize = 128;

/// Sums of the losses, and how many tokens they are of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Σ cross-entropy over tokens of the fix, in nats.
    pub cross_entropy: f64,
    /// Tokens of the fix.
    pub n_fix: usize,
    /// Σ divergence over the other scored tokens, in nats.
    pub divergence: f64,
    /// Those tokens.
    pub n_keep: usize,
}

impl Losses {
    /// The mean cross-entropy; 0 without tokens.
    pub fn mean_cross_entropy(&self) -> f64 {
        self.cross_entropy / self.n_fix.max(1) as f64
    }

    /// The mean divergence; 0 without tokens.
    pub fn mean_divergence(&self) -> f64 {
        self.divergence / self.n_keep.max(1) as f64
    }

    /// The training loss: the sum of the two means.
    pub fn total(&self) -> f64 {
        self.mean_cross_entropy() + self.mean_divergence()
    }

    /// Adds another example's tokens.
    pub fn add(&mut self, other: &Self) {
        self.cross_entropy += other.cross_entropy;
        self.n_fix += other.n_fix;
        self.divergence += other.divergence;
        self.n_keep += other.n_keep;
    }
}

/// How the loss is taken.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// Which way the divergence is taken. By default, KL(S ‖ B), as the paper writes it.
    pub divergence: Divergence,
    /// The loss is multiplied by this before its gradient is taken: one over the accumulated examples. With 0, no
    /// gradient is computed.
    pub scale: f64,
}

/// The losses of one example, and the gradient of `scale · L` at the security model's hidden states, `[T, E]`.
///
/// `security` and `base` are hidden states of both roles, `[T, E]`, without a graph; `model` holds the head. Row `i`
/// predicts token `i + 1`.
///
/// # Errors
/// If the shapes do not fit, or the device fails.
pub fn losses(
    model: &Transformer,
    example: &Example,
    [security, base]: [&Tensor; 2],
    objective: Objective,
) -> Result<(Losses, Tensor), Error> {
    let rows = Rows::of(example);
    let mut losses = Losses { n_fix: rows.n_fix, n_keep: rows.n_keep, ..Losses::default() };
    let mut gradient = Tensor::zeros(security.shape(), DType::F32, security.device())?;
    for chunk in rows.rows.chunks(CHUNK) {
        let places: Vec<u32> = chunk.iter().map(|row| row.place).collect();
        let places = Tensor::new(places, security.device())?;
        let logits =
            |hidden: &Tensor| model.head().forward(&hidden.index_select(&places, 0)?, None);
        let security_logits = logits(security)?;
        // Fixed tokens need no reference, and often fill whole chunks of a fill-in-the-middle example.
        let base_logits = match chunk.iter().any(|row| row.target.is_none()) {
            true => Some(logits(base)?),
            false => None,
        };
        let scored = Chunk { rows: chunk, counts: &rows, objective };
        let values = match security.device().is_cpu() {
            true => scored.on_cpu(&security_logits, base_logits.as_ref())?,
            false => scored.on_device(&security_logits, base_logits.as_ref())?,
        };
        for (row, value) in chunk.iter().zip(&values.0) {
            match row.target {
                Some(_) => losses.cross_entropy += value,
                None => losses.divergence += value,
            }
        }
        if objective.scale != 0.0 {
            gradient = gradient.index_add(&places, &model.head().backward(&values.1)?, 0)?;
        }
    }
    Ok((losses, gradient))
}

/// The predictions that count, fixed ones first, so that chunks are rarely mixed.
struct Rows {
    rows: Vec<Row>,
    n_fix: usize,
    n_keep: usize,
}

/// One prediction.
#[derive(Clone, Copy)]
struct Row {
    /// Row of the hidden states.
    place: u32,
    /// The token that the fix has there; absent where the prediction shall stay as it is.
    target: Option<u32>,
}

impl Rows {
    fn of(example: &Example) -> Self {
        let predicted = example.tokens.iter().zip(&example.roles).skip(1).zip(0..);
        let pick = |role: Role| {
            let wanted = predicted.clone().filter(move |((_, r), _)| **r == role);
            let row = move |((token, _), place): ((&u32, &Role), u32)| Row {
                place,
                target: (role == Role::Fix).then_some(*token),
            };
            wanted.map(row).collect::<Vec<_>>()
        };
        let (fix, keep) = (pick(Role::Fix), pick(Role::Keep));
        Self { n_fix: fix.len(), n_keep: keep.len(), rows: [fix, keep].concat() }
    }
}

/// Some rows of an example, whose logits exist.
struct Chunk<'a> {
    rows: &'a [Row],
    counts: &'a Rows,
    objective: Objective,
}

/// A loss per row, and the gradient at the logits, `[rows, V]`.
type Scored = (Vec<f64>, Tensor);

impl Chunk<'_> {
    /// What a row's gradient is multiplied by: its part's mean is over its own tokens.
    fn weight(&self, row: &Row) -> f64 {
        let n = if row.target.is_some() { self.counts.n_fix } else { self.counts.n_keep };
        self.objective.scale / n as f64
    }

    /// One loop per row, which turns the logits into their gradient in place.
    fn on_cpu(&self, security: &Tensor, base: Option<&Tensor>) -> Result<Scored, Error> {
        let vocab = security.dim(D::Minus1)?;
        let values = std::sync::Mutex::new(Vec::new());
        let score = |security: &mut [f32], base: &[f32]| {
            let rows = self.rows.par_iter().zip(security.par_chunks_mut(vocab)).enumerate();
            let scored = rows.map(|(i, (row, security))| {
                let weight = self.weight(row) as f32;
                match row.target {
                    Some(target) => cross_entropy(security, target as usize, weight),
                    None => {
                        let base = &base[i * vocab..][..vocab];
                        divergence(security, base, self.objective.divergence, weight)
                    }
                }
            });
            *values.lock().expect("no thread panics while it holds the lock") = scored.collect();
        };
        match base {
            Some(base) => {
                read([base], |[base]| change(security, |security| score(security, base)))??
            }
            None => change(security, |security| score(security, &[]))?,
        }
        let values = values.into_inner().expect("no thread panics while it holds the lock");
        Ok((values, security.clone()))
    }

    /// The same with candle's operations, for devices without our loops.
    fn on_device(&self, security: &Tensor, base: Option<&Tensor>) -> Result<Scored, Error> {
        let log_s = log_softmax(security, D::Minus1)?;
        let s = log_s.exp()?;
        let mut values = Vec::with_capacity(self.rows.len());
        let mut gradients = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let (log_s, s) = (log_s.i(i)?, s.i(i)?);
            let (value, gradient) = match (row.target, base) {
                (Some(target), _) => {
                    let hit = Tensor::arange(0, s.dim(0)? as u32, s.device())?.eq(target)?;
                    (log_s.i(target as usize)?.neg()?, (s - hit.to_dtype(DType::F32)?)?)
                }
                (None, Some(base)) => {
                    let log_b = log_softmax(&base.i(i)?, D::Minus1)?;
                    self.divergence_on_device(&log_s, &s, &log_b)?
                }
                (None, None) => {
                    return Err(candle_core::Error::msg("a kept row has no reference").into());
                }
            };
            values.push(f64::from(value.to_scalar::<f32>()?));
            gradients.push((gradient * self.weight(row))?);
        }
        Ok((values, Tensor::stack(&gradients, 0)?))
    }

    /// A divergence and its gradient at the security model's logits.
    fn divergence_on_device(
        &self,
        log_s: &Tensor,
        s: &Tensor,
        log_b: &Tensor,
    ) -> Result<(Tensor, Tensor), candle_core::Error> {
        match self.objective.divergence {
            Divergence::SecurityFromBase => {
                let difference = (log_s - log_b)?;
                let value = (s * &difference)?.sum_all()?;
                let gradient = (s * difference.broadcast_sub(&value)?)?;
                Ok((value, gradient))
            }
            Divergence::BaseFromSecurity => {
                let b = log_b.exp()?;
                let value = (&b * (log_b - log_s)?)?.sum_all()?;
                Ok((value, (s - b)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_loops_of_the_cpu_compute_what_candle_does() {
        let vocab = 37;
        let logits = || Tensor::randn(0f32, 2f32, (5, vocab), &Device::Cpu).unwrap();
        let (security, base) = (logits(), logits());
        let targets = [Some(3), Some(36), None, None, None];
        let rows: Vec<Row> =
            targets.into_iter().zip(0..).map(|(target, place)| Row { place, target }).collect();
        let counts = Rows { rows: rows.clone(), n_fix: 2, n_keep: 3 };
        for divergence in [Divergence::SecurityFromBase, Divergence::BaseFromSecurity] {
            let objective = Objective { divergence, scale: 0.5 };
            let chunk = Chunk { rows: &rows, counts: &counts, objective };
            let on_device = chunk.on_device(&security, Some(&base)).unwrap();
            // The loops change what they are given.
            let on_cpu = chunk.on_cpu(&security.copy().unwrap(), Some(&base)).unwrap();
            for (cpu, device) in on_cpu.0.iter().zip(&on_device.0) {
                assert!((cpu - device).abs() < 1e-4, "{divergence:?}: {cpu} {device}");
            }
            let difference = (on_cpu.1 - on_device.1).unwrap().abs().unwrap();
            let largest = difference.flatten_all().unwrap().max(0).unwrap();
            assert!(largest.to_scalar::<f32>().unwrap() < 1e-6, "{divergence:?}");
        }
    }

    #[test]
    fn fixed_tokens_need_no_reference_on_a_device() {
        let security = Tensor::randn(0f32, 1f32, (1, 9), &Device::Cpu).unwrap();
        let rows = [Row { place: 0, target: Some(4) }];
        let counts = Rows { rows: rows.to_vec(), n_fix: 1, n_keep: 0 };
        let objective = Objective { divergence: Divergence::SecurityFromBase, scale: 1.0 };
        let chunk = Chunk { rows: &rows, counts: &counts, objective };
        let (values, gradient) = chunk.on_device(&security, None).unwrap();
        let expected = security.exp().unwrap().sum_all().unwrap().log().unwrap();
        let expected = expected.to_scalar::<f32>().unwrap();
        let at_target = security.i((0, 4)).unwrap().to_scalar::<f32>().unwrap();
        assert!((values[0] - f64::from(expected - at_target)).abs() < 1e-5);
        let sum = gradient.sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(sum.abs() < 1e-6, "a gradient at logits adds up to nothing: {sum}");
    }
}
