//! The methods of the protocol, each a few lines: unpack, call, pack.
//!
//! No `did_*` handler awaits anything, and no request awaits before it has taken its snapshot: so
//! messages take effect in the order in which they came.

use std::sync::Arc;

use serde_json::Value;
use tower_lsp::jsonrpc::Result;
use tower_lsp::lsp_types::notification::{DidOpenTextDocument, Notification};
use tower_lsp::lsp_types::{
    CompletionParams, CompletionResponse, DidChangeConfigurationParams,
    DidChangeTextDocumentParams, DidChangeWatchedFilesParams, DidChangeWorkspaceFoldersParams,
    DidCloseTextDocumentParams, DidOpenTextDocumentParams, DidSaveTextDocumentParams,
    ExecuteCommandParams, InitializeParams, InitializeResult, InitializedParams, Url,
};
use tower_lsp::{LanguageServer, async_trait};

use super::ahead::LastSeen;
use super::capabilities::initialize_result;
use super::client::Client;
use super::configuration::PullWanted;
use super::documents::{DocumentError, Documents};
use super::download::AskAgain;
use super::ext::{
    DidFocusParams, DidPartiallyAcceptParams, DidShowParams, ExplainParams, Explained,
    InlineCompletionList, InlineCompletionParams, StatusParams,
};
use super::progress::Bars;
use super::session::Session;
use super::status::Status;
use super::status_updates::StatusUpdates;
use super::{from_proto, status, to_proto, uri};
use crate::complete::Completer;
use crate::config::Settings;
use crate::engine::Backend;
use crate::text::{Document, Encoding};

/// One connection's state, and who does the work.
pub(super) struct Server {
    /// The editor.
    pub(super) client: Client,
    /// The models, for their state and settings.
    pub(super) backend: Arc<dyn Backend>,
    /// Who answers questions.
    pub(super) completer: Completer,
    /// What the user has typed.
    pub(super) documents: Documents,
    /// What is agreed with the client.
    pub(super) session: Session,
    /// Where the cursor was seen last.
    pub(super) last_seen: LastSeen,
    /// Wakes [`Server::keep_telling_status`].
    pub(super) status_updates: StatusUpdates,
    /// Wakes [`Server::keep_pulling`].
    pub(super) pull_wanted: PullWanted,
    /// Wakes [`Server::keep_asking_to_download`].
    pub(super) ask_again: AskAgain,
    /// The bars that the client was shown.
    pub(super) progress_bars: Bars,
}

impl Server {
    /// A server that nobody has spoken to yet.
    pub(super) fn new(client: Client, backend: Arc<dyn Backend>, defaults: Settings) -> Self {
        Self {
            client,
            completer: Completer::new(backend.clone()),
            backend,
            documents: Documents::default(),
            session: Session::new(defaults),
            last_seen: LastSeen::default(),
            status_updates: StatusUpdates::default(),
            pull_wanted: PullWanted::default(),
            ask_again: AskAgain::default(),
            progress_bars: Bars::default(),
        }
    }

    /// Reads the parameters of `initialize` as they came, with what lsp-types has no field for.
    pub(super) fn meet(&self, params: Option<&Value>) {
        let params = params.unwrap_or(&Value::Null);
        self.session.meet(params);
        self.completer.set_folders(self.session.folders());
    }

    /// Whether columns are UTF-16 units.
    pub(super) fn counts_utf16(&self) -> bool {
        self.session.client().encoding == Encoding::Utf16
    }

    /// `method`, if that is known, has brought text of this document, or of an unknown one, that cannot be read.
    pub(super) fn lose(&self, method: Option<&str>, uri: Option<&Url>) {
        let Some(uri) = uri else { return self.documents.lose_all() };
        if method == Some(DidOpenTextDocument::METHOD) {
            let unknown = Document::new("", 0, &uri::language(uri, ""));
            self.documents.open(uri.clone(), unknown);
        }
        self.documents.lose(uri);
    }

    /// `textDocument/inlineCompletion`.
    pub(super) async fn inline_completion(
        &self,
        params: InlineCompletionParams,
    ) -> Result<InlineCompletionList> {
        Ok(self.suggest_inline(params).await?)
    }

    /// `cosec/explain`.
    pub(super) async fn explain(&self, params: ExplainParams) -> Result<Option<Explained>> {
        Ok(self.explained(params.id))
    }

    /// Why a suggestion is what it is; the last one where none is named.
    pub(super) fn explained(&self, id: Option<u64>) -> Option<Explained> {
        let id = id.or_else(|| self.completer.last_suggestion())?;
        let explanation = self.completer.explain(id)?;
        let language = self.language_of(&uri::canonical(&explanation.document.0));
        let models = self.backend.state();
        let models = models.borrow();
        Some(to_proto::explained(explanation, language, status::loaded(&models)))
    }

    /// The language of an open document.
    pub(super) fn language_of(&self, uri: &Url) -> Option<String> {
        let snapshot = self.documents.snapshot(uri).ok()?;
        Some(snapshot.document.language().to_owned())
    }

    /// `cosec/status`.
    pub(super) async fn status(&self, params: StatusParams) -> Result<Status> {
        let document = params.text_document.map(|document| document.uri);
        let opened = document.as_ref().and_then(|uri| self.documents.snapshot(uri).ok());
        if let Some(opened) = opened {
            // A file that was opened just now counts as secret only until the file system has answered.
            opened.links.settle().await;
        }
        Ok(self.current_status(document.as_ref()))
    }

    /// `textDocument/didShowCompletion`.
    pub(super) async fn did_show_completion(&self, params: DidShowParams) {
        if let Some(id) = from_proto::suggestion_id_of_item(&params.item) {
            self.completer.shown(id);
        }
    }

    /// `textDocument/didPartiallyAcceptCompletion`. What was taken arrives as an edit too, and the
    /// completer follows that; this only says that the suggestion was seen.
    pub(super) async fn did_partially_accept_completion(&self, params: DidPartiallyAcceptParams) {
        if let Some(id) = from_proto::suggestion_id_of_item(&params.item) {
            self.completer.shown(id);
        }
    }

    /// `textDocument/didFocus`: accepted, and of no consequence yet.
    pub(super) async fn did_focus(&self, _: DidFocusParams) {}

    fn warn(&self, method: &str, uri: &Url, error: &DocumentError) {
        tracing::warn!(method, %uri, "{error}");
    }
}

#[async_trait]
impl LanguageServer for Server {
    async fn initialize(&self, _: InitializeParams) -> Result<InitializeResult> {
        self.backend.configure(&self.session.settings());
        Ok(initialize_result(self.session.client().encoding))
    }

    /// Ends with the connection: it goes on to follow the configuration, the models' state and the cursor.
    async fn initialized(&self, _: InitializedParams) {
        self.report_mistakes();
        self.pull_wanted.wish();
        tokio::join!(
            self.keep_pulling(),
            self.keep_showing_progress(),
            self.keep_telling_of_failures(),
            self.keep_asking_to_download(),
            self.keep_looking_ahead(),
            self.keep_telling_status(),
        );
    }

    async fn shutdown(&self) -> Result<()> {
        self.documents.close_all();
        Ok(())
    }

    async fn did_open(&self, params: DidOpenTextDocumentParams) {
        let mut opened = params.text_document;
        if opened.language_id.is_empty() {
            opened.language_id = uri::language(&opened.uri, &opened.text);
        }
        let document = Document::new(&opened.text, opened.version, &opened.language_id);
        self.documents.open(opened.uri.clone(), document);
        self.last_seen.opened(opened.uri);
    }

    async fn did_change(&self, params: DidChangeTextDocumentParams) {
        let changed = params.text_document;
        let edits: Vec<_> = params.content_changes.into_iter().map(from_proto::edit).collect();
        let encoding = self.session.client().encoding;
        match self.documents.change(&changed.uri, changed.version, &edits, encoding) {
            Ok(text) => {
                self.completer.edited(&from_proto::document_id(&changed.uri), &text);
                self.last_seen.edited(&changed.uri, &edits, &text, encoding);
            }
            Err(error) => self.warn("didChange", &changed.uri, &error),
        }
    }

    async fn did_save(&self, params: DidSaveTextDocumentParams) {
        self.documents.saved(&params.text_document.uri);
    }

    async fn did_close(&self, params: DidCloseTextDocumentParams) {
        let uri = params.text_document.uri;
        self.session.forget(&uri);
        match self.documents.close(&uri) {
            Ok(()) => self.completer.forget(&from_proto::document_id(&uri)),
            Err(error) => self.warn("didClose", &uri, &error),
        }
    }

    async fn did_change_configuration(&self, params: DidChangeConfigurationParams) {
        self.take_pushed(&params.settings);
    }

    async fn did_change_workspace_folders(&self, params: DidChangeWorkspaceFoldersParams) {
        self.completer.set_folders(self.session.change_folders(&params.event));
    }

    async fn did_change_watched_files(&self, _: DidChangeWatchedFilesParams) {}

    async fn completion(&self, params: CompletionParams) -> Result<Option<CompletionResponse>> {
        Ok(Some(CompletionResponse::List(self.suggest_in_popup(params).await?)))
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> Result<Option<Value>> {
        Ok(Some(self.run_command(&params.command, &params.arguments)?))
    }
}
