//! Known ways around us, one file each, with its story. Each was tried for real against other gateways or against a bare
//! server before it became a test here.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod attacks;
mod attribution;
mod control;
mod dial;
mod halves;
mod hidden_writes;
mod host;
mod names;
mod prepared;
mod routes;
mod settings;
mod temporary;
mod tokens;
mod wire;
