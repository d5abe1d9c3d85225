//! `textDocument/completion`: the same suggestion as an entry of the popup menu, for clients that
//! know no inline completion.

use std::ops::Range;

use tower_lsp::lsp_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionParams, CompletionTextEdit,
    Documentation, InsertTextFormat, InsertTextMode, MarkupContent, MarkupKind, TextEdit,
};

use super::capabilities::ClientCapabilities;
use super::from_proto;
use super::question::Question;
use super::server::Server;
use super::status;
use super::to_proto::{self, Failure};
use crate::complete::Suggestion;
use crate::config::Popup;
use crate::text::{ByteIdx, Document};

/// Longer labels crashed a client once (helix-editor/helix#9624).
const LABEL_CHARS: usize = 60;

/// After what other servers know for certain.
const SORT_TEXT: &str = "~";

impl Server {
    /// A list of one item or none, streamed on the way where the client gave a token.
    ///
    /// # Errors
    ///
    /// When the request was superseded.
    pub(super) async fn suggest_in_popup(
        &self,
        params: CompletionParams,
    ) -> Result<CompletionList, Failure> {
        if !self.answers_popup() {
            return Ok(CompletionList::default());
        }
        let place = params.text_document_position;
        let trigger = from_proto::completion_trigger(params.context.as_ref());
        let question = self.question(&place.text_document.uri, place.position, trigger, None);
        let Some(mut question) = question.map(Question::of_one) else {
            return Ok(CompletionList::default());
        };
        let token = params.partial_result_params.partial_result_token;
        if token.is_none() {
            question = question.without_streaming();
        }
        let entry = Entry {
            document: question.query.snapshot.clone(),
            cursor: question.query.cursor,
            client: self.session.client().clone(),
            detail: status::title(&self.backend.state().borrow(), &self.session.settings()),
        };
        let stream = |suggestions: &[Suggestion]| match &token {
            Some(token) if !self.client.is_behind() => {
                self.client.progress(token, entry.list(suggestions));
            }
            _ => {}
        };
        Ok(match self.ask(question, &mut { stream }).await? {
            Ok(suggestions) => entry.list(&suggestions),
            Err(reason) => CompletionList { is_incomplete: reason.may_pass(), items: vec![] },
        })
    }

    /// A client that asks both methods at every key would supersede one with the other.
    fn answers_popup(&self) -> bool {
        match self.session.settings().popup {
            Popup::Auto => !self.session.client().inline_completion,
            Popup::Always => true,
            Popup::Never => false,
        }
    }
}

/// What an entry needs to know besides the suggestion.
struct Entry {
    document: Document,
    cursor: ByteIdx,
    client: ClientCapabilities,
    detail: String,
}

impl Entry {
    /// Of several candidates the first one: a menu has the answers of other servers as well.
    fn list(&self, suggestions: &[Suggestion]) -> CompletionList {
        let first = suggestions.first();
        CompletionList {
            is_incomplete: first.is_some_and(|first| first.partial),
            items: first.map(|first| self.item(first)).into_iter().collect(),
        }
    }

    fn item(&self, suggestion: &Suggestion) -> CompletionItem {
        let range = self.range(suggestion);
        let text = self.document.slice(range.start..suggestion.replace.start) + &suggestion.insert;
        let first_line = text.lines().next().unwrap_or_default();
        let filter_text = (!first_line.is_empty()).then(|| first_line.to_owned());
        let (format, mode, new_text) = self.format(&text, range.start);
        CompletionItem {
            label: label(&text),
            kind: Some(CompletionItemKind::TEXT),
            detail: Some(self.detail.clone()),
            documentation: Some(documentation(self.document.language(), &text)),
            preselect: Some(false),
            sort_text: Some(SORT_TEXT.to_owned()),
            filter_text,
            insert_text_format: Some(format),
            insert_text_mode: mode,
            text_edit: Some(CompletionTextEdit::Edit(TextEdit {
                range: to_proto::range(&self.document, range, self.client.encoding),
                new_text,
            })),
            command: Some(to_proto::accept_command(suggestion.id)),
            ..Default::default()
        }
    }

    /// From the start of the word before the cursor, since clients filter and replace whole words.
    fn range(&self, suggestion: &Suggestion) -> Range<ByteIdx> {
        let left = self.document.slice(self.document.line_start(self.cursor)..self.cursor);
        let word = left.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        let word_start = ByteIdx(self.cursor.0 - (left.len() - word.len()));
        word_start.min(suggestion.replace.start)..suggestion.replace.end
    }

    /// Several lines go as a snippet to clients that can be told to insert it as it is, and to
    /// Neovim, which indents its lines as the cursor's line is, so that much is taken off them.
    fn format(
        &self,
        text: &str,
        at: ByteIdx,
    ) -> (InsertTextFormat, Option<InsertTextMode>, String) {
        let as_is = self.client.insert_as_is.then_some(InsertTextMode::AS_IS);
        if !text.contains('\n') || !self.client.snippets {
            return (InsertTextFormat::PLAIN_TEXT, as_is, text.to_owned());
        }
        let text = if as_is.is_some() { text.to_owned() } else { self.unindented(text, at) };
        (InsertTextFormat::SNIPPET, as_is, escape_snippet(&text))
    }

    /// A line that is indented less keeps nothing, and so comes as near as such a client allows.
    fn unindented(&self, text: &str, at: ByteIdx) -> String {
        let left = self.document.slice(self.document.line_start(at)..at);
        let indent = &left[..left.len() - left.trim_start().len()];
        let mut lines = text.split('\n');
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| text + "\n" + &line[common_bytes(line, indent)..])
    }
}

fn common_bytes(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn label(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.chars().count() <= LABEL_CHARS {
        return line.to_owned();
    }
    line.chars().take(LABEL_CHARS - 1).chain(['…']).collect()
}

fn documentation(language: &str, text: &str) -> Documentation {
    // One backtick more than the longest run in the text.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    Documentation::MarkupContent(MarkupContent {
        kind: MarkupKind::Markdown,
        value: format!("{fence}{language}\n{text}\n{fence}"),
    })
}

fn escape_snippet(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '$' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `$0` is the cursor; `insert` goes there. Returns range start, format and new text.
    fn check(text: &str, insert: &str, client: ClientCapabilities, expect: (u32, i32, &str)) {
        let cursor = text.find("$0").unwrap();
        let document = Document::new(&text.replacen("$0", "", 1), 1, "python");
        let cursor = ByteIdx(cursor);
        let suggestion = Suggestion {
            id: 1,
            insert: insert.to_owned(),
            replace: cursor..cursor,
            partial: false,
        };
        let entry = Entry { document, cursor, client, detail: String::new() };
        let item = entry.item(&suggestion);
        let Some(CompletionTextEdit::Edit(edit)) = item.text_edit else { panic!() };
        let snippet = item.insert_text_format == Some(InsertTextFormat::SNIPPET);
        assert_eq!((edit.range.start.character, 1 + i32::from(snippet), &*edit.new_text), expect);
    }

    fn client(snippets: bool, insert_as_is: bool) -> ClientCapabilities {
        ClientCapabilities { snippets, insert_as_is, ..Default::default() }
    }

    #[test]
    fn the_word_before_the_cursor_is_replaced() {
        check("x = wért$0", "_of(y)", client(true, true), (4, 1, "wért_of(y)"));
        check("x = $0", "1", client(true, true), (4, 1, "1"));
    }

    #[test]
    fn several_lines_are_a_snippet_where_there_are_snippets() {
        let text = "if a:\n    f\"{b}$0";
        let insert = "\\n${c}\"\n    d()";
        check(text, insert, client(false, false), (9, 1, insert));
        check(text, insert, client(true, true), (9, 2, "\\\\n\\${c\\}\"\n    d()"));
        check(text, insert, client(true, false), (9, 2, "\\\\n\\${c\\}\"\nd()"));
        let dedented = "\"\n  x\n\n        y";
        check(text, dedented, client(true, false), (9, 2, "\"\nx\n\n    y"));
    }

    #[test]
    fn labels_are_short_and_on_one_line() {
        assert_eq!(label("\n    return x\n"), "return x");
        assert_eq!(label(&"ü".repeat(100)).chars().count(), LABEL_CHARS);
    }

    #[test]
    fn the_fence_is_longer_than_any_in_the_text() {
        let Documentation::MarkupContent(content) = documentation("md", "````x") else { panic!() };
        assert_eq!(content.value, "`````md\n````x\n`````");
    }
}
