//! A decoder whose next-token logits are a known function of *all* tokens in its cache, so that a cache that holds the
//! wrong tokens gives the wrong answer.

use cosec_ls::model::{Cache, Decoder, Error, LogitRows, Logits};

/// Logits from a table or from a hash of the history.
pub struct ToyDecoder {
    pub vocab: usize,
    pub law: Law,
}

pub enum Law {
    /// The same row at every position.
    Fixed(Vec<f32>),
    /// A row that depends on the whole history and on this number.
    Hashed(u64),
}

/// The tokens that were fed.
#[derive(Debug, Default)]
pub struct ToyCache(pub Vec<u32>);

impl Cache for ToyCache {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.len() * 4
    }
}

impl ToyDecoder {
    pub fn fixed(row: &[f32]) -> Self {
        Self { vocab: row.len(), law: Law::Fixed(row.to_vec()) }
    }

    pub fn hashed(vocab: usize, salt: u64) -> Self {
        Self { vocab, law: Law::Hashed(salt) }
    }

    fn row(&self, history: &[u32]) -> Vec<f32> {
        match &self.law {
            Law::Fixed(row) => row.clone(),
            Law::Hashed(salt) => {
                let mut state = *salt;
                for &token in history {
                    state = mix(state ^ u64::from(token));
                }
                (0..self.vocab)
                    .map(|id| (mix(state.wrapping_add(id as u64)) % 10_000) as f32 / 2500.0)
                    .collect()
            }
        }
    }
}

/// SplitMix64's finalizer.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Decoder for ToyDecoder {
    type Cache = ToyCache;

    fn new_cache(&self) -> ToyCache {
        ToyCache::default()
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn context(&self) -> usize {
        1 << 16
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut ToyCache,
        rows: LogitRows,
    ) -> Result<Logits, Error> {
        assert!(!tokens.is_empty(), "a forward of no tokens is a bug of the caller");
        let first_row = tokens.len() - rows.count().min(tokens.len());
        let mut data = Vec::new();
        for (i, &token) in tokens.iter().enumerate() {
            cache.0.push(token);
            if i >= first_row {
                data.extend(self.row(&cache.0));
            }
        }
        Ok(Logits { vocab: self.vocab, data })
    }
}
