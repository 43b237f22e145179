//! PostgreSQL's frontend/backend protocol, version 3, as bytes and their meaning.
//!
//! Strict in both directions: a decoder eats a whole message or refuses it, because leftovers are where two
//! parsers disagree. What is forwarded are always the original bytes; decoding only ever looks. Framing is ours
//! (pgwire's decoders see the whole connection buffer and would read past the end of a message); the messages
//! that the daemon itself says are pgwire's.
//!
//! Source: PostgreSQL 18 documentation, chapter 54 "Frontend/Backend Protocol".

mod backend;
mod bound;
mod cursor;
mod frame;
mod frontend;
mod rows;
mod say;
mod sqlstate;
mod startup;

pub use backend::{Backend, Described, ErrorFields, TransactionStatus, described};
pub use bound::{parameters, values};
pub use cursor::Malformed;
pub use frame::{Chunk, Frame, FrameError, HEADER, Header, Skipped, Splitter};
pub use frontend::{Frontend, Target, Unreadable};
pub use rows::{Rows, row_of_values, values_of_row};
pub use say::{Report, Severity, Speaker};
pub use sqlstate::SqlState;
pub use startup::{
    Opening, OpeningError, Startup, cancel_request, decode_opening, opening_length, ssl_request, startup_again,
    startup_message,
};
