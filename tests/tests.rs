//! All integration tests in one binary, so that they link once. One module per topic.

mod registry;
