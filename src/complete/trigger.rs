//! Whether to complete at a cursor, and how much: nothing, the line, or a block.
//!
//! Asks the settings and the text, never the models. An excluded file is refused here, before
//! anything of its text goes anywhere.

use super::file_names::FileNames;

use super::beside::{Around, Beside, beside};
use super::file_rules::FileRules;
use super::style::TAB_WIDTH;
use super::surroundings::Surroundings;
use super::{Reason, Trigger};
use crate::config::{MultiLine, Settings};
use crate::prompt::stop::StopRules;
use crate::text::Document;

/// Lines below the cursor that the stop rules know.
const N_LINES_BELOW: usize = 3;

/// How far a completion may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// To the end of the line.
    Line,
    /// To the end of the block.
    Block,
}

/// Whether anything may be completed in this document, which is known by `names`.
///
/// # Errors
///
/// With the first reason against it; an excluded file's is never hidden by another, but for `enabled`.
pub fn admit(
    document: &Document,
    names: &FileNames,
    trigger: Trigger,
    settings: &Settings,
    rules: &FileRules,
) -> Result<(), Reason> {
    if !settings.enabled {
        return Err(Reason::Disabled);
    }
    if let Some(pattern) = rules.excluding(names, document.language()) {
        return Err(Reason::Excluded(pattern.to_owned()));
    }
    if !settings.language_enabled(document.language()) {
        return Err(Reason::Language(document.language().to_owned()));
    }
    if trigger == Trigger::Automatic && !settings.automatic {
        return Err(Reason::ManualOnly);
    }
    if document.looks_binary() {
        return Err(Reason::Binary);
    }
    if document.holds_private_key() {
        return Err(Reason::PrivateKey);
    }
    Ok(())
}

/// How far a completion may go here. Beside anything but what editors close by themselves it is one line, however it is
/// set.
///
/// # Errors
///
/// [`Reason::MidLine`] if nobody asked and text of its own stands right of the cursor.
pub fn extent(
    near: &Surroundings,
    trigger: Trigger,
    multi_line: MultiLine,
) -> Result<Extent, Reason> {
    let beside = beside(&Around::new(near));
    if beside == Beside::Text && trigger == Trigger::Automatic {
        return Err(Reason::MidLine);
    }
    Ok(match multi_line {
        MultiLine::Auto if beside == Beside::Nothing => Extent::Block,
        MultiLine::Always if is_line_end(&near.right) => Extent::Block,
        MultiLine::Auto | MultiLine::Always | MultiLine::Never => Extent::Line,
    })
}

/// When a completion of this extent has said enough.
pub fn stop_rules(near: &Surroundings, extent: Extent, settings: &Settings) -> StopRules {
    StopRules {
        max_lines: match extent {
            Extent::Line => 1,
            Extent::Block => settings.max_lines.max(1),
        },
        left: near.left.clone(),
        lines_below: near
            .lines_below()
            .take(N_LINES_BELOW)
            .map(|line| line.trim_end().to_owned())
            .collect(),
        tab_width: TAB_WIDTH,
    }
}

/// `^\s*[)>}\]"'`]*\s*[:{;,]?\s*$`: brackets and quotes, and what ends a statement. Several lines fit before them.
fn is_line_end(right: &str) -> bool {
    let rest = right.trim().trim_start_matches([')', '>', '}', ']', '"', '\'', '`']);
    matches!(rest.trim_start(), "" | ":" | "{" | ";" | ",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::path_globs::Roots;
    use crate::engine::DocumentId;
    use crate::text::ByteIdx;

    fn names(path: &str) -> FileNames {
        FileNames::new(&DocumentId(path.into()), None, &[])
    }

    fn admitted(
        change: impl FnOnce(&mut Settings),
        path: &str,
        trigger: Trigger,
    ) -> Result<(), Reason> {
        let mut settings = Settings::default();
        change(&mut settings);
        let rules = FileRules::new(&settings, &Roots::default());
        admit(&Document::new("x", 1, "python"), &names(path), trigger, &settings, &rules)
    }

    #[test]
    fn the_settings_decide() {
        use Trigger::{Automatic, Invoked};
        let off = |settings: &mut Settings| settings.enabled = false;
        assert_eq!(admitted(off, "a.py", Invoked), Err(Reason::Disabled));
        let python = |settings: &mut Settings| {
            settings.languages.insert("python".into(), false);
        };
        assert_eq!(admitted(python, "a.py", Invoked), Err(Reason::Language("python".into())));
        let manual = |settings: &mut Settings| settings.automatic = false;
        assert_eq!(admitted(manual, "a.py", Automatic), Err(Reason::ManualOnly));
        assert_eq!(admitted(manual, "a.py", Invoked), Ok(()));
        assert_eq!(admitted(|_| (), "/w/.env", Invoked), Err(Reason::Excluded("**/.env*".into())));
    }

    #[test]
    fn what_a_document_holds_may_speak_against_it() {
        let settings = Settings::default();
        let rules = FileRules::new(&settings, &Roots::default());
        let got = |text: &str, language: &str| {
            let document = Document::new(text, 1, language);
            admit(&document, &names("a"), Trigger::Invoked, &settings, &rules)
        };
        assert_eq!(got("a\0b", ""), Err(Reason::Binary));
        let body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
        let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n");
        assert_eq!(got(&key, "python"), Err(Reason::PrivateKey));
        assert_eq!(got("A=b", "dotenv"), Err(Reason::Excluded("language:dotenv".into())));
        assert_eq!(got("A=b", "properties"), Ok(()));
    }

    /// `text` has the cursor as `|`, unless it has `$0`.
    fn near(language: &str, text: &str) -> Surroundings {
        let mark = if text.contains("$0") { "$0" } else { "|" };
        let cursor = text.find(mark).expect("the text has a cursor");
        let document = Document::new(&text.replacen(mark, "", 1), 1, language);
        Surroundings::at(&document, ByteIdx(cursor))
    }

    #[test]
    fn text_to_the_right_is_left_alone_unless_asked() {
        for (language, text) in [
            ("c", "|x"),
            ("c", "x| = 1"),
            ("c", "f|("),
            ("c", "|// x"),
            ("c", "x = |y;"),
            ("c", "f(|a, b)"),
            ("c", "f(|\"a\")"),
            ("python", "x = |'a'"),
            ("c", "a| > b"),
            ("rust", "a $0| b"),
            ("php", "$a = $0$b;"),
            ("html", "<p>|text</p>"),
            ("markdown", "see |this"),
            ("lua", "|ending()"),
            ("css", "color: |#fff"),
        ] {
            let near = near(language, text);
            let automatic = extent(&near, Trigger::Automatic, MultiLine::Always);
            assert_eq!(automatic, Err(Reason::MidLine), "{text}");
            let invoked = extent(&near, Trigger::Invoked, MultiLine::Always);
            assert_eq!(invoked, Ok(Extent::Line), "{text}");
        }
    }

    #[test]
    fn several_lines_where_the_settings_say_so() {
        use MultiLine::{Always, Auto, Never};
        let check = |text: &str, expect: [Extent; 3]| {
            let near = near("c", text);
            let got = [Auto, Always, Never].map(|m| extent(&near, Trigger::Automatic, m).unwrap());
            assert_eq!(got, expect, "{text}");
        };
        check("f()|  ", [Extent::Block, Extent::Block, Extent::Line]);
        check("f(|)", [Extent::Line, Extent::Block, Extent::Line]);
        check("f(|) + 1", [Extent::Line, Extent::Line, Extent::Line]);
        check("f(|); // a", [Extent::Line, Extent::Line, Extent::Line]);
    }

    #[test]
    fn stop_rules_know_the_lines_below() {
        let document = Document::new("a\n  b\n\n  c\nd\n\ne\nf", 1, "");
        let near = Surroundings::at(&document, ByteIdx(5));
        let rules = stop_rules(&near, Extent::Block, &Settings::default());
        assert_eq!((rules.left.as_str(), rules.max_lines), ("  b", 12));
        assert_eq!(rules.lines_below, ["  c", "d", "e"]);
        assert_eq!(stop_rules(&near, Extent::Line, &Settings::default()).max_lines, 1);
    }
}
