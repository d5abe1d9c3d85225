//! What every transformer keeps of its cache, whoever computes it.

use cosec_ls::model::{Cache, Decoder, LogitRows, Logits};

use super::tiny_gguf::Random;

/// Appends to a cache and truncates it at random, and calls `same` with the last row of each forward and with that of one
/// fresh prefill of the same tokens.
pub fn append_and_truncate<D: Decoder>(model: &D, same: impl Fn(&Logits, &Logits)) {
    let mut random = Random(9);
    let (mut cache, mut tokens) = (model.new_cache(), Vec::new());
    for _ in 0..40 {
        if random.below(3) == 0 {
            let len = random.below(tokens.len() + 1);
            tokens.truncate(len);
            cache.truncate(len);
            assert_eq!(cache.len(), len);
        }
        let more: Vec<u32> = (0..1 + random.below(20)).map(|_| random.below(256) as u32).collect();
        tokens.extend(&more);
        let got = model.forward(&more, &mut cache, LogitRows::Last(1)).unwrap();
        let fresh = model.forward(&tokens, &mut model.new_cache(), LogitRows::Last(1)).unwrap();
        same(&got, &fresh);
    }
}

/// A model with a context of 512 refuses more and leaves the cache alone.
pub fn refuse_a_full_context<D: Decoder>(model: &D) {
    let mut cache = model.new_cache();
    model.forward(&[1; 500], &mut cache, LogitRows::None).unwrap();
    let error = model.forward(&[1; 20], &mut cache, LogitRows::Last(1)).unwrap_err();
    assert_eq!(error.to_string(), "520 tokens do not fit the context of 512");
    assert_eq!(cache.len(), 500);
}
