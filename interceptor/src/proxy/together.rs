//! One write of the record for all the sessions of a thread that have something to send: a write costs as much as judging.
//!
//! A session that has put its statements on record lets those go first that are ready as well; whoever comes back first writes
//! what all of them have sealed. A session that is alone with its thread waits for nobody.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

/// Which of a thread's sessions had something to send last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender(u64);

impl Sender {
    /// Another one than all before it on this thread.
    pub(super) fn new() -> Self {
        thread_local! {
            static NEXT: Cell<u64> = const { Cell::new(0) };
        }
        Self(NEXT.replace(NEXT.get() + 1))
    }

    /// Lets others of this thread go first, if there are any that send.
    pub(super) async fn let_others_first(self) {
        thread_local! {
            static LAST: Cell<Option<Sender>> = const { Cell::new(None) };
        }
        if LAST.replace(Some(self)).is_none_or(|last| last == self) {
            return;
        }
        let mut waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            // Behind those that are ready now, before anybody asks the kernel for more.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::Sender;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::task::{LocalSet, yield_now};

    /// Sessions that send in turn, each so often; who sealed (`a`) and who wrote (`A`), in order.
    async fn said(sessions: usize, times: usize) -> String {
        let (log, local) = (Rc::new(RefCell::new(String::new())), LocalSet::new());
        for session in 0..sessions {
            let log = log.clone();
            local.spawn_local(async move {
                let (sender, letter) = (Sender::new(), char::from(b'a' + u8::try_from(session).unwrap()));
                for _ in 0..times {
                    log.borrow_mut().push(letter);
                    sender.let_others_first().await;
                    log.borrow_mut().push(letter.to_ascii_uppercase());
                    yield_now().await;
                }
            });
        }
        local.await;
        log.take()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_is_alone_does_not_wait_and_others_are_written_together() {
        assert_eq!(said(1, 2).await, "aAaA");
        // The thread has had another one before these.
        assert_eq!(said(3, 1).await, "abcABC");
    }
}
