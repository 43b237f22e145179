//! interceptor: least privilege for the PostgreSQL connections of AI agents and CI jobs, on the host itself.
//!
//! The rooms of the house, from the cellar to the roof. A room imports only from floors below; the plan is a table in
//! `xtask/src/layers.rs` that CI checks. ARCHITECTURE.md walks through it along the path of one statement.

#[cfg(test)]
mod scratch;

// Floor 0: values and functions, nothing of ours below.
pub mod identity;
pub mod sql;
pub mod telemetry;
pub mod wire;

// Floor 1: the judge, and the user half of the kernel side.
pub mod policy;
pub mod redirect;

// Floor 2: what waits for a human, the record, and what may be seen.
pub mod approval;
pub mod audit;
pub mod mask;

// Floor 3: the conversation without sockets.
pub mod session;

// Floor 4: sockets.
pub mod proxy;

// Floor 5: how operators talk to the daemon.
pub mod admin;

// Floor 6: every room's own settings.
pub mod config;

// Floor 7: wiring.
pub mod app;

// Floor 8: what an operator types.
pub mod cli;
