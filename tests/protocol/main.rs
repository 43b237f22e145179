//! The real proxy between a scripted client and a scripted server, without any privilege: what opens a connection, what a
//! hostile server can say at log-in, and how both end.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod hostile;
mod opening;
mod scripted;
