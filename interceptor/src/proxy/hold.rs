//! A statement that waits for a human, on the open connection.
//!
//! The agent's driver waits as for any slow statement. It hears at once who is asked and how to follow it, and from time to
//! time that nothing is lost. Until the request is decided nothing else of the session is judged or sent; the client is read
//! only to notice that it goes away (the request stays open then: an approval is good for the same statement sent again).

use super::cancel::{Held, Key};
use super::relay::unix;
use crate::approval::{Desk, Ticket};
use crate::telemetry::metrics;
use crate::wire::Speaker;
use bytes::BytesMut;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often what is over is looked for.
const SETTLE: Duration = Duration::from_secs(1);

/// What a held message waits for.
pub(super) struct Hold {
    ticket: Arc<Ticket>,
    /// A cancel request reaches it by this.
    cancel: Held,
    since: Instant,
    every: Duration,
    remind: Instant,
    /// When the agent's identity ends, and the session with it.
    expires: Instant,
}

/// What has to be done next.
pub(super) enum Next {
    /// Tell the agent something.
    Say(String),
    /// Judge the message anew.
    Judge,
}

impl Hold {
    /// Begins to wait, and says so.
    pub(super) fn begin(ticket: &Arc<Ticket>, desk: &Desk, key: &Key, expires: u64, downstream: &mut BytesMut) -> Self {
        let every = Duration::from_secs(desk.settings().notice_seconds);
        let now = Instant::now();
        let (id, needs) = (ticket.id(), ticket.needs());
        let left = ticket.expires_at().saturating_sub(unix());
        downstream.notice(&format!(
            "held until {needs} approves: request {id}, open for {left} s (interceptor approvals show {id})"
        ));
        let expires = now + Duration::from_secs(expires.saturating_sub(unix()));
        Self { ticket: ticket.clone(), cancel: key.hold(), since: now, every, remind: now + every, expires }
    }

    /// Waits until something has to be done.
    pub(super) async fn next(hold: &mut Option<Self>) -> Next {
        let Some(hold) = hold else { return pending().await };
        tokio::select! {
            () = poll_fn(|context| hold.ticket.poll(context)) => Next::Judge,
            () = hold.cancel.cancelled() => {
                hold.ticket.withdraw(unix());
                Next::Judge
            }
            // Judging it anew finds that out.
            () = sleep_until(hold.expires) => Next::Judge,
            () = sleep_until(hold.remind) => {
                hold.remind += hold.every;
                let (id, needs) = (hold.ticket.id(), hold.ticket.needs());
                let left = hold.ticket.expires_at().saturating_sub(unix());
                Next::Say(format!("still held until {needs} approves: request {id}, open for another {left} s"))
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        metrics().held(self.since.elapsed());
    }
}

/// Ends requests and approvals whose time is over. Ends with the daemon.
pub async fn keep_desk(desk: &Desk, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SETTLE) => desk.settle(unix()),
            _ = stop.changed() => return desk.close(),
        }
    }
}
