//! Names of an adapter's tensors: as PEFT writes them, and as other ways to save a model do.
//!
//! PEFT leaves out the adapter's own name when it saves, `model.state_dict()` does not. Wrappers of the model
//! (`PeftModel`, `DistributedDataParallel`, `torch.compile`, FSDP) put words in front, or between, or leave theirs out.

use super::{Error, Half, Projection, config};

/// What stands before `layers` in the names that PEFT writes.
const PREFIX: &str = "base_model.model.model.";

/// Words in front of `layers` that say nothing: modules that hold the model.
const HOLDERS: [&str; 2] = ["base_model", "model"];

/// Words anywhere that say nothing: wrappers of modules.
const WRAPPERS: [&str; 4] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Words in names that tell another method, and what to call it.
const OTHER_METHODS: [(&str, &str); 12] = [
    ("lora_magnitude_vector", "DoRA (`use_dora`)"),
    ("lora_embedding_A", "an update of embeddings"),
    ("lora_embedding_B", "an update of embeddings"),
    ("lora_diag", "KaSA (`kasa_config`)"),
    ("lora_E", "AdaLoRA"),
    ("lora_variant", "a variant of LoRA"),
    ("modules_to_save", "`modules_to_save`"),
    ("original_module", "`modules_to_save`"),
    ("trainable_tokens", "`trainable_token_indices`"),
    ("token_adapter", "`trainable_token_indices`"),
    ("base_layer", "the model itself"),
    ("bias", "trained biases (`bias` or `lora_bias`)"),
];

/// Where a tensor of the file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TensorName {
    pub(super) layer_idx: usize,
    pub(super) projection: Projection,
    pub(super) half: Half,
}

impl TensorName {
    /// Reads `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`, and the adapter's name where there is one
    /// (`….lora_A.default.weight`).
    ///
    /// # Errors
    /// If it names something else than an update of an attention projection.
    pub(super) fn parse(name: &str) -> Result<(Self, Option<String>), Error> {
        let words: Vec<&str> = name.split('.').filter(|word| !WRAPPERS.contains(word)).collect();
        let held = words.iter().position(|word| !HOLDERS.contains(word)).unwrap_or(0);
        let foreign = || {
            let method = OTHER_METHODS.iter().find(|(word, _)| words.contains(word));
            match method {
                Some((_, method)) => Error::Method { tensor: name.to_owned(), method },
                None => Error::TargetModules(vec![format!("`{name}`")]),
            }
        };
        let ["layers", layer, "self_attn", projection, half, adapter @ .., "weight"] =
            &words[held..]
        else {
            return Err(foreign());
        };
        let half = match *half {
            "lora_A" => Half::Down,
            "lora_B" => Half::Up,
            _ => return Err(foreign()),
        };
        let is_number = layer.bytes().all(|byte| byte.is_ascii_digit());
        let layer_idx = layer.parse().ok().filter(|_| is_number).ok_or_else(foreign)?;
        let projection = config::projection(projection).ok_or_else(foreign)?;
        let adapter = (!adapter.is_empty()).then(|| adapter.join("."));
        Ok((Self { layer_idx, projection, half }, adapter))
    }

    /// PEFT's name of the layer that is updated, as the options of its configuration know it.
    pub(super) fn module(&self) -> String {
        format!("model.layers.{}.self_attn.{}", self.layer_idx, config::name(self.projection))
    }
}

impl std::fmt::Display for TensorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layer_idx, projection, half } = *self;
        let projection = config::name(projection);
        write!(f, "{PREFIX}layers.{layer_idx}.self_attn.{projection}.{}.weight", half.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "base_model.model.model.layers.12.self_attn.o_proj.lora_B.weight";

    #[test]
    fn names_of_tensors_are_read_as_they_are_written() {
        let (parsed, adapter) = TensorName::parse(NAME).unwrap();
        let expected = TensorName { layer_idx: 12, projection: Projection::Output, half: Half::Up };
        assert_eq!((parsed, adapter), (expected, None));
        assert_eq!(parsed.to_string(), NAME);
        assert_eq!(parsed.module(), "model.layers.12.self_attn.o_proj");
    }

    #[test]
    fn every_way_to_save_names_the_same_tensor() {
        let (expected, _) = TensorName::parse(NAME).unwrap();
        for (name, adapter) in [
            ("base_model.model.model.layers.12.self_attn.o_proj.lora_B.default.weight", "default"),
            (
                "base_model.model.model.layers.12.self_attn.o_proj.lora_B.my-task_2.weight",
                "my-task_2",
            ),
            ("model.layers.12.self_attn.o_proj.lora_B.weight", ""),
            ("layers.12.self_attn.o_proj.lora_B.safe.weight", "safe"),
            ("base_model.model.layers.12.self_attn.o_proj.lora_B.weight", ""),
            (
                "base_model.model.base_model.model.model.layers.12.self_attn.o_proj.lora_B.weight",
                "",
            ),
            (
                "module.base_model.model.model.layers.12.self_attn.o_proj.lora_B.default.weight",
                "default",
            ),
            ("_orig_mod.model.layers.12.self_attn.o_proj.lora_B.weight", ""),
            ("model.layers.12._fsdp_wrapped_module.self_attn.o_proj.lora_B.weight", ""),
        ] {
            let (parsed, found) = TensorName::parse(name).unwrap();
            assert_eq!((parsed, found.unwrap_or_default().as_str()), (expected, adapter), "{name}");
        }
    }

    #[test]
    fn what_is_no_update_of_attention_is_named_with_its_method() {
        for (name, expected) in [
            ("lm_head.lora_A.weight", "the adapter changes `lm_head.lora_A.weight`, but"),
            ("model.layers.1.mlp.up_proj.lora_A.weight", "the adapter changes `model.layers.1.mlp"),
            (
                "model.layers.+1.self_attn.q_proj.lora_A.weight",
                "the adapter changes `model.layers.+1",
            ),
            ("model.layers.1.self_attn.q_proj.lora_C.weight", "the adapter changes `model"),
            (
                "model.layers.1.self_attn.q_proj.lora_magnitude_vector.default.weight",
                "DoRA (`use_dora`)",
            ),
            ("model.layers.1.self_attn.q_proj.lora_magnitude_vector", "DoRA (`use_dora`)"),
            ("model.layers.1.self_attn.q_proj.lora_B.bias", "trained biases"),
            ("model.layers.1.self_attn.q_proj.base_layer.weight", "the model itself"),
            ("model.embed_tokens.lora_embedding_A", "an update of embeddings"),
            ("lm_head.modules_to_save.default.weight", "`modules_to_save`"),
            ("", "the adapter changes ``"),
            ("...", "the adapter changes `...`"),
        ] {
            let error = TensorName::parse(name).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{error}");
        }
    }
}
