//! `adapter_config.json`: what of it counts here, and what must not be in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, Projection};

/// Fields that make a LoRA something else. They are absent, null, false or empty in a plain one.
const UNSUPPORTED: [&str; 16] = [
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "megatron_config",
];

/// Initialisations that change the weights beside the adapter too, so that it is no use beside the original ones.
const CHANGES_THE_WEIGHTS: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What of the configuration counts for reading.
#[derive(Debug, Deserialize)]
pub(super) struct AdapterConfig {
    pub(super) r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
}

impl AdapterConfig {
    /// Reads `adapter_config.json` and refuses what cannot be computed here.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let fields: Map<String, Value> = serde_json::from_slice(text).map_err(wrong)?;
        let text_of = |field: &str| fields.get(field).and_then(Value::as_str);
        match text_of("peft_type") {
            Some("LORA") => {}
            Some(other) => return Err(Error::PeftType(other.to_owned())),
            None => return Err(Error::Config("missing field `peft_type`".to_owned())),
        }
        let bias = ("bias", text_of("bias").is_some_and(|bias| bias != "none"));
        let start = text_of("init_lora_weights").unwrap_or("");
        let changes_weights = CHANGES_THE_WEIGHTS.iter().any(|name| start.starts_with(name));
        let set = UNSUPPORTED.map(|field| (field, fields.get(field).is_some_and(is_set)));
        let mut set = set.into_iter().chain([bias, ("init_lora_weights", changes_weights)]);
        if let Some((field, _)) = set.find(|(_, is_set)| *is_set) {
            let value = fields[field].to_string();
            return Err(Error::Unsupported { field: field.to_owned(), value });
        }
        check_targets(fields.get("target_modules"))?;
        let config: Self = serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
        match config.r {
            0 => Err(Error::Config("`r` is 0".to_owned())),
            _ => Ok(config),
        }
    }

    /// What the product of both matrices is multiplied with.
    pub(super) fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

fn wrong(error: serde_json::Error) -> Error {
    Error::Config(error.to_string())
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// A list must name attention projections only. Where PEFT has a pattern instead, the tensors say what it matched.
fn check_targets(targets: Option<&Value>) -> Result<(), Error> {
    let Some(Value::Array(targets)) = targets else { return Ok(()) };
    let is_foreign = |target: &&str| projection(target.rsplit('.').next().unwrap_or("")).is_none();
    let foreign = targets.iter().filter_map(Value::as_str).filter(is_foreign);
    let mut foreign: Vec<String> = foreign.map(|target| format!("`{target}`")).collect();
    foreign.sort();
    match foreign.is_empty() {
        true => Ok(()),
        false => Err(Error::TargetModules(foreign)),
    }
}

/// The projection of this Hugging Face name.
pub(super) fn projection(wanted: &str) -> Option<Projection> {
    Projection::ALL.into_iter().find(|&projection| name(projection) == wanted)
}

/// Hugging Face's name of a projection.
pub(super) fn name(projection: Projection) -> &'static str {
    match projection {
        Projection::Query => "q_proj",
        Projection::Key => "k_proj",
        Projection::Value => "v_proj",
        Projection::Output => "o_proj",
    }
}

/// The configuration as it is written; the fields and defaults of PEFT's `LoraConfig`.
#[derive(Serialize)]
pub(super) struct WrittenConfig<'a> {
    pub(super) alpha_pattern: Map<String, Value>,
    pub(super) base_model_name_or_path: &'a str,
    pub(super) bias: &'static str,
    pub(super) fan_in_fan_out: bool,
    pub(super) inference_mode: bool,
    pub(super) init_lora_weights: bool,
    /// Absent where all layers are meant.
    pub(super) layers_to_transform: Option<Vec<usize>>,
    pub(super) lora_alpha: Value,
    pub(super) lora_dropout: f64,
    pub(super) modules_to_save: Option<Vec<String>>,
    pub(super) peft_type: &'static str,
    pub(super) r: usize,
    pub(super) rank_pattern: Map<String, Value>,
    pub(super) target_modules: Vec<&'static str>,
    pub(super) task_type: &'static str,
    pub(super) use_dora: bool,
    pub(super) use_rslora: bool,
}
