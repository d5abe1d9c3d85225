//! The language server from the outside: an in-process server on a pipe, models from a script.

mod ahead;
mod cancel;
mod candidates;
mod completion;
mod configuration;
mod documentation;
mod download;
mod explain;
mod inline_completion;
mod lifecycle;
mod lines;
mod out_of_step;
mod paths;
mod progress;
mod rim;
mod scripted_backend;
mod secrets;
mod status;
mod streaming;
mod switches;
mod sync;
mod test_server;
