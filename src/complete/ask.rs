//! From a question and the settings to the engine's [`Request`].

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::Trigger;
use super::ahead::Prospect;
use super::file_names::FileNames;
use super::file_rules::FileRules;
use super::shown_path::header;
use super::surroundings::Surroundings;
use super::trigger::{Extent, extent, stop_rules};
use crate::config::{Decoding, MultiLine, Settings};
use crate::engine::{DocumentId, Hint, LoadedProfile, PromptBudget, Reach, Request, State};
use crate::prompt::window::{WindowBudget, prompt_at};
use crate::prompt::{Header, Layout, Prompt};
use crate::text::{ByteIdx, Document};

/// The settings that a suggestion was made under: under others it is not remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    decoding: Decoding,
    profile: String,
    multi_line: MultiLine,
    max_lines: usize,
    max_tokens: usize,
    header: Option<Header>,
}

/// What is known of a file beside its text.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// For path globs.
    pub names: &'a FileNames,
    /// For the models; absent for buffers without a name.
    pub name: Option<&'a str>,
    /// The editor's language id.
    pub language: &'a str,
}

/// A place where something is to be completed.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whose text it is.
    pub id: DocumentId,
    /// The text.
    pub document: Document,
    /// Where; exists in the text.
    pub cursor: ByteIdx,
    /// The text near it.
    pub near: Surroundings,
    /// How far to go.
    pub extent: Extent,
    /// Which of the suggestions that the text may get.
    pub sample: u32,
    /// When the time for an answer is up.
    pub deadline: Option<Instant>,
}

/// The terms for one file under the current settings and models.
pub fn terms(settings: &Settings, rules: &FileRules, file: File<'_>, state: &State) -> Terms {
    let File { names, name, language } = file;
    let mut decoding = loaded(state).map_or_else(Decoding::default, |loaded| loaded.decoding);
    decoding.mode = settings.mode.unwrap_or(decoding.mode);
    decoding.ratio = settings.ratio.unwrap_or(decoding.ratio);
    let by_language = || settings.alpha_by_language.get(language).copied();
    let alpha = rules.alpha(names).or_else(by_language).or(settings.alpha);
    decoding.alpha = alpha.unwrap_or(decoding.alpha);
    if let Some(temperature) = settings.temperature {
        decoding.base.temperature = temperature;
        decoding.security.temperature = temperature;
    }
    Terms {
        decoding,
        profile: settings.profile.clone(),
        multi_line: settings.multi_line,
        max_lines: settings.max_lines,
        max_tokens: settings.max_tokens,
        header: settings.path_in_prompt.then(|| header(name, language, rules)).flatten(),
    }
}

/// What to ask the engine.
pub fn request(place: &Place, terms: &Terms, settings: &Settings, state: &State) -> Request {
    let prompt = prompt(&place.document, place.cursor, terms, settings, state);
    Request {
        document: place.id.clone(),
        budget: budget(settings),
        decoding: terms.decoding,
        draft_tokens: settings.draft_tokens,
        seed: seed(&prompt, place.document.language()),
        sample: place.sample,
        stop: stop_rules(&place.near, place.extent, settings),
        max_tokens: settings.max_tokens,
        deadline: place.deadline,
        resume: Vec::new(),
        prompt,
    }
}

/// What the engine may evaluate before it is asked; `None` where too little is known of the prompt.
pub fn hint(
    prospect: &Prospect,
    terms: &Terms,
    settings: &Settings,
    state: &State,
) -> Option<Hint> {
    let document = &prospect.snapshot;
    let (cursor, reach) = match prospect.cursor.map(|cursor| document.char_start(cursor)) {
        Some(cursor) => (cursor, reach_at(document, cursor, settings)),
        None => (document.len(), Reach::Head),
    };
    // Of a longer text the models see a window, and where it begins depends on the cursor.
    let window = WindowBudget::from(budget(settings));
    if reach == Reach::Head && document.len().0 > window.prefix_bytes {
        return None;
    }
    Some(Hint {
        document: prospect.document.clone(),
        prompt: prompt(document, cursor, terms, settings, state),
        budget: budget(settings),
        reach,
        mode: terms.decoding.mode,
        max_tokens: settings.max_tokens,
    })
}

/// In the middle of a line nothing is suggested while typing, and where the next question comes something else will
/// follow the cursor.
fn reach_at(document: &Document, cursor: ByteIdx, settings: &Settings) -> Reach {
    match extent(&Surroundings::at(document, cursor), Trigger::Automatic, settings.multi_line) {
        Ok(_) => Reach::Cursor,
        Err(_) => Reach::Above,
    }
}

fn prompt(
    document: &Document,
    cursor: ByteIdx,
    terms: &Terms,
    settings: &Settings,
    state: &State,
) -> Prompt {
    let mut prompt = prompt_at(document, cursor, budget(settings).into());
    prompt.header.clone_from(&terms.header);
    prompt.layout = match loaded(state) {
        Some(loaded) if !loaded.fill_in_middle => Layout::LeftToRight,
        _ => Layout::FillInMiddle,
    };
    prompt
}

fn budget(settings: &Settings) -> PromptBudget {
    PromptBudget { prefix_tokens: settings.prefix_tokens, suffix_tokens: settings.suffix_tokens }
}

fn loaded(state: &State) -> Option<&LoadedProfile> {
    match state {
        State::Ready(loaded) => Some(loaded),
        _ => None,
    }
}

/// Equal text in a file of the same name gives an equal seed, and so an equal suggestion, today and in the next version.
fn seed(prompt: &Prompt, language: &str) -> u64 {
    let mut hash = Sha256::new();
    let path = prompt.header.as_ref().map(|header| header.path.as_str());
    for part in [&prompt.above, &prompt.left, &prompt.suffix, language].into_iter().chain(path) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut seed = [0; 8];
    seed.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::path_globs::Roots;
    use crate::config::{Mode, Ratio};

    fn names(path: &str) -> FileNames {
        FileNames::new(&DocumentId(path.into()), None, &[])
    }

    fn terms_of(settings: &Settings, path: &str, state: &State) -> Decoding {
        let rules = FileRules::new(settings, &Roots::default());
        terms(settings, &rules, file(&names(path)), state).decoding
    }

    fn file(names: &FileNames) -> File<'_> {
        File { names, name: Some("a.py"), language: "python" }
    }

    fn ready(fill_in_middle: bool, decoding: Decoding) -> State {
        State::Ready(Box::new(LoadedProfile {
            profile: "default".to_owned(),
            base: "base".to_owned(),
            security: "security".to_owned(),
            adapter: None,
            adapter_strength: 1.0,
            device: "cpu".to_owned(),
            decoding,
            fill_in_middle,
            load_seconds: 0.0,
        }))
    }

    fn place(text: &str) -> Place {
        let document = Document::new(text, 1, "python");
        let cursor = document.len();
        Place {
            id: DocumentId("a".into()),
            near: Surroundings::at(&document, cursor),
            extent: Extent::Block,
            sample: 0,
            deadline: None,
            document,
            cursor,
        }
    }

    #[test]
    fn the_profile_s_decoding_is_kept_where_the_settings_say_nothing() {
        let decoding = Decoding { alpha: 0.7, mode: Mode::Security, ..Decoding::default() };
        let got = terms_of(&Settings::default(), "a.py", &ready(true, decoding));
        assert_eq!(got, decoding);
        assert_eq!(terms_of(&Settings::default(), "a.py", &State::Unloaded), Decoding::default());
    }

    #[test]
    fn alpha_is_taken_from_the_path_then_the_language_then_the_settings() {
        let mut settings = Settings { alpha: Some(0.1), ..Settings::default() };
        let alpha = |settings: &Settings| terms_of(settings, "/w/a.py", &State::Unloaded).alpha;
        assert_eq!(alpha(&settings), 0.1);
        settings.alpha_by_language.insert("python".to_owned(), 0.2);
        assert_eq!(alpha(&settings), 0.2);
        settings.alpha_by_path.push(("*.py".to_owned(), 0.4));
        assert_eq!(alpha(&settings), 0.4);
    }

    #[test]
    fn the_settings_override_mode_ratio_and_temperature() {
        let settings = Settings {
            mode: Some(Mode::Off),
            ratio: Some(Ratio::Warped),
            temperature: Some(0.0),
            ..Settings::default()
        };
        let got = terms_of(&settings, "a.py", &ready(true, Decoding::default()));
        assert_eq!((got.mode, got.ratio), (Mode::Off, Ratio::Warped));
        assert_eq!((got.base.temperature, got.security.temperature), (0.0, 0.0));
    }

    #[test]
    fn a_request_holds_the_prompt_and_its_own_seed() {
        let settings = Settings::default();
        let ask = |text: &str, state: &State| {
            let rules = FileRules::new(&settings, &Roots::default());
            let terms = terms(&settings, &rules, file(&names("a.py")), state);
            request(&place(text), &terms, &settings, state)
        };
        let one = ask("a\r\nb", &ready(true, Decoding::default()));
        assert_eq!((one.prompt.above.as_str(), one.prompt.left.as_str()), ("a\n", "b"));
        assert_eq!(one.prompt.layout, Layout::FillInMiddle);
        assert_eq!(ask("a\r\nb", &State::Unloaded).seed, one.seed);
        assert_ne!(ask("a\r\nbc", &State::Unloaded).seed, one.seed);
        let paper = ask("a", &ready(false, Decoding::default()));
        assert_eq!(paper.prompt.layout, Layout::LeftToRight);
    }
}
