//! `adapter_config.json`: what of it counts here, and what must not be in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::modules::{Modules, Ordered, Patterns};
use super::{Error, Projection};

/// Fields that make a LoRA something else. They are absent, null, false or empty in a plain one.
const UNSUPPORTED: [&str; 14] = [
    "use_dora",
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

/// Fields that change how an adapter is trained or loaded, and not what it computes.
const HARMLESS: [&str; 28] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
    "velora_config",
];

/// Initialisations that leave the weights alone. Others that nobody knows yet are reported.
const LEAVES_THE_WEIGHTS: [&str; 5] = ["gaussian", "eva", "orthogonal", "mica", ""];

/// What of the configuration counts for reading.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    rank: usize,
    alpha: f64,
    /// Whether updates are scaled by α / √r.
    is_rank_stabilized: bool,
    ranks: Patterns<usize>,
    alphas: Patterns<f64>,
    targets: Targets,
    /// Fields that say something, and nobody here knows what.
    pub(super) unknown: Vec<String>,
}

/// Which layers the adapter is for.
#[derive(Debug)]
struct Targets {
    modules: Option<Modules>,
    excluded: Option<Modules>,
    /// Absent where all are meant.
    layers: Option<Vec<u64>>,
    /// Whether layers are looked for under another name than `layers`.
    has_other_pattern: bool,
}

/// Objects whose order counts.
#[derive(Default, Deserialize)]
struct OrderedFields {
    #[serde(default)]
    rank_pattern: Option<Ordered<Value>>,
    #[serde(default)]
    alpha_pattern: Option<Ordered<Value>>,
}

impl AdapterConfig {
    /// Reads `adapter_config.json` and refuses what cannot be computed here.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        // A byte order mark is what some editors on Windows leave.
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let fields: Map<String, Value> = serde_json::from_slice(text).map_err(wrong)?;
        let text_of = |field: &str| fields.get(field).and_then(Value::as_str);
        match text_of("peft_type") {
            Some("LORA") => {}
            Some(other) => return Err(Error::PeftType(other.to_owned())),
            None => return Err(Error::Config("missing field `peft_type`".to_owned())),
        }
        let unknown = check_variants(&fields)?;
        check_targets(fields.get("target_modules"))?;
        let ordered: OrderedFields = serde_json::from_slice(text).map_err(wrong)?;
        let [ranks, alphas] =
            [ordered.rank_pattern, ordered.alpha_pattern].map(Option::unwrap_or_default);
        Ok(Self {
            rank: rank_of(&fields)?,
            alpha: alpha_of(&fields)?,
            is_rank_stabilized: flag_of(&fields, "use_rslora")?,
            ranks: Patterns::new("rank_pattern", ranks, as_rank)?,
            alphas: Patterns::new("alpha_pattern", alphas, Value::as_f64)?,
            targets: Targets::read(&fields)?,
            unknown,
        })
    }

    /// The rank of a layer's update, and what the product of both matrices is multiplied with.
    ///
    /// # Errors
    /// If the configuration leaves the layer out (then PEFT ignores `tensor`), or its scale is no number.
    pub(super) fn update_of(&self, module: &str, tensor: &str) -> Result<(usize, f64), Error> {
        self.targets.check(module, tensor)?;
        let rank = self.ranks.get(module)?.unwrap_or(self.rank);
        let alpha = self.alphas.get(module)?.unwrap_or(self.alpha);
        let divisor = if self.is_rank_stabilized { (rank as f64).sqrt() } else { rank as f64 };
        let scale = alpha / divisor;
        match (scale as f32).is_finite() {
            true => Ok((rank, scale)),
            false => Err(Error::Config(format!("the scale of `{module}` is {scale}"))),
        }
    }
}

impl Targets {
    fn read(fields: &Map<String, Value>) -> Result<Self, Error> {
        let number = |value: &Value| {
            let wrong = || Error::Config(format!("`layers_to_transform` has {value}"));
            value.as_u64().ok_or_else(wrong)
        };
        let layers = match fields.get("layers_to_transform").filter(|value| !value.is_null()) {
            Some(Value::Array(layers)) => layers.iter().map(number).collect::<Result<_, _>>()?,
            Some(layer) => vec![number(layer)?],
            None => Vec::new(),
        };
        let has_other_pattern = match fields.get("layers_pattern") {
            Some(Value::Array(names)) => !names.is_empty() && !names.contains(&json!("layers")),
            Some(Value::String(name)) => !name.is_empty() && name != "layers",
            _ => false,
        };
        Ok(Self {
            modules: Modules::read("target_modules", fields.get("target_modules"))?,
            excluded: Modules::read("exclude_modules", fields.get("exclude_modules"))?,
            layers: (!layers.is_empty()).then_some(layers),
            has_other_pattern,
        })
    }

    /// As PEFT's `check_target_module_exists`, which says for which layers there is an update at all.
    fn check(&self, module: &str, tensor: &str) -> Result<(), Error> {
        let left_out = |field| Err(Error::LeftOut { tensor: tensor.to_owned(), field });
        if let Some(excluded) = &self.excluded
            && excluded.contain("exclude_modules", module)?
        {
            return left_out("exclude_modules");
        }
        let Some(modules) = &self.modules else { return Ok(()) };
        if !modules.contain("target_modules", module)? {
            return left_out("target_modules");
        }
        match (&self.layers, modules) {
            (Some(_), Modules::Names(_)) if self.has_other_pattern => left_out("layers_pattern"),
            (Some(layers), Modules::Names(names)) if !names.iter().any(|name| name == module) => {
                let layer = module.split('.').find_map(|word| word.parse().ok());
                match layer.is_some_and(|layer| layers.contains(&layer)) {
                    true => Ok(()),
                    false => left_out("layers_to_transform"),
                }
            }
            _ => Ok(()),
        }
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
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    }
}

/// Refuses variants of LoRA that would have to be computed differently; returns the fields of which nobody here knows
/// whether they are one.
fn check_variants(fields: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let set = |field: &str| fields.get(field).is_some_and(is_set);
    let has_bias = fields.get("bias").is_some_and(|bias| is_set(bias) && bias != "none");
    let start =
        fields.get("init_lora_weights").and_then(Value::as_str).unwrap_or("").to_lowercase();
    let changes_weights = CHANGES_THE_WEIGHTS.iter().any(|name| start.starts_with(name));
    let variants = UNSUPPORTED.map(|field| (field, set(field)));
    let mut variants =
        variants.into_iter().chain([("bias", has_bias), ("init_lora_weights", changes_weights)]);
    if let Some((field, _)) = variants.find(|(_, is_set)| *is_set) {
        let value = fields[field].to_string();
        return Err(Error::Unsupported { field: field.to_owned(), value });
    }
    let is_known = |field: &str| HARMLESS.contains(&field) || UNSUPPORTED.contains(&field);
    let unknown = fields.keys().filter(|field| !is_known(field) && set(field)).cloned();
    let start =
        (!LEAVES_THE_WEIGHTS.contains(&start.as_str())).then(|| "init_lora_weights".to_owned());
    Ok(unknown.chain(start).collect())
}

fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Error> {
    fields.get(name).ok_or_else(|| Error::Config(format!("missing field `{name}`")))
}

fn rank_of(fields: &Map<String, Value>) -> Result<usize, Error> {
    let value = field(fields, "r")?;
    as_rank(value).ok_or_else(|| Error::Config(format!("`r` is {value}")))
}

fn as_rank(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0)
}

fn alpha_of(fields: &Map<String, Value>) -> Result<f64, Error> {
    let value = field(fields, "lora_alpha")?;
    value.as_f64().ok_or_else(|| Error::Config(format!("`lora_alpha` is {value}")))
}

fn flag_of(fields: &Map<String, Value>, name: &str) -> Result<bool, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(Error::Config(format!("`{name}` is {other}"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_nobody_knows_is_reported_if_it_says_something() {
        let parse = |field: &str, value: Value| {
            let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8});
            config[field] = value;
            AdapterConfig::parse(config.to_string().as_bytes()).unwrap().unknown
        };
        let future = "use_something_of_next_year";
        for value in [json!(true), json!(1), json!("yes"), json!({"a": 1}), json!([0])] {
            assert_eq!(parse(future, value), [future]);
        }
        for value in [json!(null), json!(false), json!(0), json!(""), json!({}), json!([])] {
            assert!(parse(future, value).is_empty());
        }
        for field in HARMLESS.into_iter().filter(|field| field.ends_with("_config")) {
            assert!(parse(field, json!({"a": 1})).is_empty(), "{field}");
        }
        for start in ["gaussian", "eva", "orthogonal"] {
            assert!(parse("init_lora_weights", json!(start)).is_empty(), "{start}");
        }
        assert_eq!(parse("init_lora_weights", json!("nova")), ["init_lora_weights"]);
    }
}
