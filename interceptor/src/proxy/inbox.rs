//! What has come in and has not been looked at, and where the memory for it comes from.
//!
//! A session that waits holds no memory for reading: it takes a buffer from its thread's store when its socket has
//! something, and puts it back when all of it has been looked at. So does what is to be sent.

use super::tls::Reader;
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::ready;
use tokio::io::AsyncReadExt;

/// How much is read at once.
const READ: usize = 256 << 10;
/// What is left of a read, up to this many bytes, is kept in a buffer of its own size.
const REST: usize = 16 << 10;
/// Buffers that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static STORE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A large empty buffer.
pub(super) fn take_buffer() -> BytesMut {
    let mut buffer = STORE.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(READ);
    buffer
}

/// Puts a buffer back that nobody needs any more.
pub(super) fn give_back(mut buffer: BytesMut) {
    // What has grown for a single large message is not kept.
    if (REST..=4 * READ).contains(&buffer.capacity()) {
        buffer.clear();
        STORE.with_borrow_mut(|store| {
            if store.len() < KEPT {
                store.push(buffer);
            }
        });
    }
}

/// One side's bytes.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) buffer: BytesMut,
}

impl Inbox {
    /// Begins with what has been read already.
    pub(super) fn new(buffer: BytesMut) -> Self {
        Self { buffer }
    }

    /// Waits until something has come and reads it; how much it was, zero at the end. May be dropped while it waits.
    pub(super) async fn fill(&mut self, reader: &mut Reader<'_>) -> io::Result<usize> {
        poll_fn(|context| {
            if let Reader::Plain(half) = reader {
                // TCP says that there is something before it has to be given a place.
                ready!(half.as_ref().poll_read_ready(context))?;
            }
            self.make_room();
            let read = pin!(reader.read_buf(&mut self.buffer)).poll(context);
            if read.is_pending() && matches!(reader, Reader::Plain(_)) {
                self.rest();
            }
            read
        })
        .await
    }

    /// Whether so much has come that what is made of it needs a large buffer too.
    pub(super) fn is_large(&self) -> bool {
        self.buffer.len() > REST
    }

    fn make_room(&mut self) {
        if self.buffer.is_empty() {
            if self.buffer.capacity() < READ {
                self.buffer = take_buffer();
            }
        } else if self.buffer.capacity() - self.buffer.len() < REST {
            // A message that has come in part: what it needs has been reserved when its head was read.
            self.buffer.reserve(READ);
        }
    }

    /// Everything that could be looked at has been: gives the memory back but for what is left.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() {
            give_back(std::mem::take(&mut self.buffer));
        } else if self.buffer.capacity() > REST && self.buffer.len() <= REST {
            let left = BytesMut::from(self.buffer.as_ref());
            give_back(std::mem::replace(&mut self.buffer, left));
        }
    }
}
