//! All integration tests in one binary, so that they link once. One module per topic.

#![expect(unreachable_pub, reason = "modules share helpers inside one binary")]

mod adapted_pair;
mod adapters;
mod ahead;
mod bad_models;
mod batch;
mod co_decoding;
mod command_output;
mod complete;
mod cpu_transformer;
mod downloads;
mod eval;
mod lsp;
mod prompt;
mod real_pair;
mod registry;
mod sequence;
mod setup;
mod speculate;
mod split_models;
mod supervision;
mod support;
mod tidy;
mod tokenizer;
mod train;
mod transformer;
