//! Whether there is somebody to look and to type.

use std::io::{IsTerminal, stdin, stdout};

/// Somebody types.
pub(super) fn is_terminal() -> bool {
    stdin().is_terminal()
}

/// Text that stands out, where standard output is a terminal.
pub(super) fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Text that steps back.
pub(super) fn faint(text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}
