//! `cosec-ls setup zed`: what there is to say. Zed runs only servers that an extension tells it of, and there is none of
//! ours, so nothing is written.

use std::path::PathBuf;

use super::places::Places;
use super::plan::Plan;

/// Zed under the names that it is installed with.
pub const PROGRAMS: [&str; 2] = ["zed", "zeditor"];

/// Zed's settings.
pub fn directory(places: &Places) -> PathBuf {
    places.config.join(if cfg!(windows) { "Zed" } else { "zed" })
}

/// The guide.
pub const GUIDE: &str = "Zed starts a language server only if an extension names it, and cosec-ls has none yet; a setting alone cannot do it. \
editors/zed/README.md says what an extension of your own needs.";

/// Nothing to write.
pub fn plan() -> Plan {
    Plan { by_hand: Some(GUIDE.to_owned()), ..Plan::default() }
}
