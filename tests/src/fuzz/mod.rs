//! Fuzz targets: each takes any bytes and panics where what has to hold does not.
//!
//! `tests/fuzz/libfuzzer` hands them to libFuzzer; `tests/fuzz/mutate.rs` mutates a corpus itself, on a stable compiler.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target that panics has found something, which is what it is for"
)]

mod frames;
mod messages;
mod opening;
mod postgres;
mod session;

/// A target: its name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("frames", frames::frames),
    ("opening", opening::opening),
    ("frontend", messages::frontend),
    ("backend", messages::backend),
    ("session", session::session),
];

pub use session::Summary;

/// One of them by its name.
///
/// # Panics
/// Where something does not hold, and for a name that none of them has.
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => target(data),
        None => panic!("there is no target `{name}`"),
    }
}

/// What became of the sessions of this process.
pub fn summary() -> Summary {
    session::summary()
}

/// Decisions, taken from the input byte by byte; zeros when it is used up.
struct Choices<'a> {
    bytes: &'a [u8],
}

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// A message: its type byte, its length, its body.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [[tag].as_slice(), &length.to_be_bytes(), body].concat()
}
