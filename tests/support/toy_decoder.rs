//! A decoder whose next-token logits are a known function of *all* tokens in its cache, so that a cache that holds the
//! wrong tokens gives the wrong answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use cosec_ls::model::{Cache, Decoder, Error, LogitRows, Logits};

/// Logits from a table or from a hash of the history.
pub struct ToyDecoder {
    pub vocab: usize,
    pub law: Law,
    /// A forward beyond it is an error.
    pub context: usize,
    /// Which forward fails, counted from 0.
    pub fails_at: Option<usize>,
    n_forwards: AtomicUsize,
}

pub enum Law {
    /// The same row at every position.
    Fixed(Vec<f32>),
    /// A row that depends on the whole history and on this number.
    Hashed(u64),
    /// A hashed row, and so much of another one: two decoders with the same first number agree as much as the part is
    /// small.
    Mixed { shared: u64, own: u64, part: f32 },
}

/// The tokens that were fed.
#[derive(Clone, Debug, Default)]
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

    fn try_clone(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn bytes_at(&self, len: usize) -> usize {
        self.0.len().max(len) * 4
    }
}

impl ToyDecoder {
    pub fn fixed(row: &[f32]) -> Self {
        Self::new(row.len(), Law::Fixed(row.to_vec()))
    }

    pub fn hashed(vocab: usize, salt: u64) -> Self {
        Self::new(vocab, Law::Hashed(salt))
    }

    pub fn new(vocab: usize, law: Law) -> Self {
        Self { vocab, law, context: 1 << 16, fails_at: None, n_forwards: AtomicUsize::new(0) }
    }

    /// How many forwards there were.
    pub fn n_forwards(&self) -> usize {
        self.n_forwards.load(Ordering::Relaxed)
    }

    fn row(&self, history: &[u32]) -> Vec<f32> {
        match &self.law {
            Law::Fixed(row) => row.clone(),
            Law::Hashed(salt) => self.hashed_row(*salt, history),
            Law::Mixed { shared, own, part } => {
                let own = self.hashed_row(*own, history);
                let shared = self.hashed_row(*shared, history);
                shared.iter().zip(own).map(|(shared, own)| shared + part * own).collect()
            }
        }
    }

    fn hashed_row(&self, salt: u64, history: &[u32]) -> Vec<f32> {
        let state = history.iter().fold(salt, |state, &token| mix(state ^ u64::from(token)));
        let logit = |id: u64| (mix(state.wrapping_add(id)) % 10_000) as f32 / 2500.0;
        (0..self.vocab as u64).map(logit).collect()
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
        self.context
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut ToyCache,
        rows: LogitRows,
    ) -> Result<Logits, Error> {
        assert!(!tokens.is_empty(), "a forward of no tokens is a bug of the caller");
        let needed = cache.0.len() + tokens.len();
        if needed > self.context {
            return Err(Error::ContextFull { needed, context: self.context });
        }
        if self.fails_at == Some(self.n_forwards.fetch_add(1, Ordering::Relaxed)) {
            return Err(Error::Unsupported("this forward".to_owned()));
        }
        assert!(rows.count() <= tokens.len(), "a row of a token that was not fed");
        let first_row = tokens.len() - rows.count();
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
