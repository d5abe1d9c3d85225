//! `textDocument/inlineCompletion`: ghost text, with what its user may choose instead.

use super::ext::{InlineCompletionList, InlineCompletionParams};
use super::server::Server;
use super::to_proto::Failure;
use super::{from_proto, to_proto};
use crate::complete::Suggestion;

impl Server {
    /// The items that there are, the first one first; streamed on the way where the client gave a token.
    ///
    /// # Errors
    ///
    /// When the request was superseded.
    pub(super) async fn suggest_inline(
        &self,
        params: InlineCompletionParams,
    ) -> Result<InlineCompletionList, Failure> {
        let question = self.question(
            &params.text_document.uri,
            params.position,
            from_proto::inline_trigger(params.context.trigger_kind),
            params.context.selected_completion_info.as_ref(),
        );
        let Some(mut question) = question else {
            return Ok(InlineCompletionList::default());
        };
        if params.partial_result_token.is_none() {
            question = question.without_streaming();
        }
        let encoding = self.session.client().encoding;
        let document = question.query.snapshot.clone();
        let list =
            |suggestions: &[Suggestion]| to_proto::inline_list(&document, suggestions, encoding);
        let token = params.partial_result_token;
        let stream = |suggestions: &[Suggestion]| match &token {
            Some(token) if !self.client.is_behind() => {
                self.client.progress(token, list(suggestions));
            }
            _ => {}
        };
        let suggestions = self.ask(question, &mut { stream }).await?;
        Ok(list(suggestions.as_deref().unwrap_or_default()))
    }
}
