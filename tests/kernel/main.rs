//! Tests that attach to the running kernel: they need root, cgroup v2 and a BPF file system, and fail without them.
//!
//! They leave the rest of the host alone: every test captures a port and cgroups of its own, and takes its programs,
//! cgroups and processes away again, also when it fails.

mod accounts;
mod adversity;
mod evasion;
mod guards;
mod house;
mod namespaces;
mod redirect;
mod stage;
mod succession;
