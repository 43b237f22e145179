//! Room for deep trees.
//!
//! Reading, walking and dropping a tree takes stack in proportion to its depth, and who sends the text chooses the depth:
//! up to 90 kB a level in a build without optimisation. Short texts cannot be deep enough for the stack of an ordinary
//! worker; all others are read on a thread that lives just as long and takes its memory with it.

use super::guard::Rejection;
use std::cell::Cell;

/// Stack of a thread that reads statements, in bytes. Pages are only taken when they are touched.
pub const ORDINARY: usize = 64 << 20;

/// Texts up to this many bytes are read on it: 500 sub-selects, 2,000 operators.
const SHORT: usize = 4096;

/// Stack for everything else. libpg_query gives up at trees a few thousand levels deep; ten times what those take.
const DEEP: usize = 2 << 30;

thread_local! {
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's stack is enough for a text.
pub(super) fn holds(text: &str) -> bool {
    text.len() <= SHORT || IS_DEEP.get()
}

/// Runs something on a deep stack.
///
/// # Errors
/// [`Rejection::TooComplex`] if there is no room for one.
pub(super) fn deep<T: Send>(read: impl FnOnce() -> T + Send) -> Result<T, Rejection> {
    let no_room = || Rejection::TooComplex("there is no room to read it".to_owned());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP).spawn_scoped(scope, || {
            IS_DEEP.set(true);
            read()
        });
        thread.map_err(|_| no_room())?.join().map_err(|_| no_room())
    })
}
