//! The product as its users meet it: `cargo xtask run` with psql and drivers as agents, through the real redirect.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod acceptance;
mod approvals;
mod attribution;
mod break_glass;
mod clients;
mod console;
mod crash;
mod credentials;
mod drivers;
mod exec;
mod faults;
mod first_start;
mod identity;
mod introspection;
mod limits;
mod masks;
mod package;
mod previews;
mod provider;
mod record;
mod regression;
mod relayed;
mod restart;
mod sinks;
mod soak;
mod tls;
mod transparency;
mod upstream;
mod warm;
mod webhooks;
mod witness;
mod workload;
