//! Connections that are logged in before anybody asks: each is made for one agent and the settings that it last came with,
//! waits for at most a minute, is given to one session, and never comes back.
//!
//! The database knows a session by a number of its own (`interceptor.session`), so a connection that waits already has the
//! number of the session that it will be. A pool belongs to the thread whose reactor its sockets are registered with.

use super::route::Route;
use super::upstream::{Credential, Server};
use crate::identity::Identity;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// How long one waits. What a password, a role or a setting of the server was a minute ago is what it counts as.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many wait on one thread, whoever they are for.
const MOST: usize = 256;

/// Whom connections are made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Whose {
    issuer: String,
    subject: String,
    on_behalf_of: Option<String>,
    server: Route,
    database: String,
    role: String,
}

impl Whose {
    pub(super) fn new(identity: &Identity, server: Route, database: &str, role: &str) -> Self {
        Self {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            server,
            database: database.to_owned(),
            role: role.to_owned(),
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Warm {
    /// The number of the session that it will be.
    pub(super) session: String,
    pub(super) server: Server,
    settings: Vec<(String, String)>,
}

/// Those of one agent.
#[derive(Debug, Default)]
struct Kept {
    waiting: Vec<Warm>,
    /// How many are being made.
    making: usize,
}

/// Those of this thread.
#[derive(Debug, Default)]
struct Pool {
    kept: HashMap<Whose, Kept>,
    /// How many wait or are being made.
    count: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

impl Pool {
    fn remove(&mut self, whose: &Whose, which: impl Fn(&Warm) -> bool) -> Option<Warm> {
        let kept = self.kept.get_mut(whose)?;
        let at = kept.waiting.iter().position(which)?;
        let warm = kept.waiting.swap_remove(at);
        self.count -= 1;
        self.tidy(whose);
        Some(warm)
    }

    fn tidy(&mut self, whose: &Whose) {
        if self.kept.get(whose).is_some_and(|kept| kept.waiting.is_empty() && kept.making == 0) {
            self.kept.remove(whose);
        }
    }

    /// Whether one more may be made.
    fn begin(&mut self, whose: &Whose, most: usize) -> bool {
        if self.count >= MOST {
            return false;
        }
        let kept = self.kept.entry(whose.clone()).or_default();
        let wanted = kept.waiting.len() + kept.making < most;
        kept.making += usize::from(wanted);
        self.count += usize::from(wanted);
        self.tidy(whose);
        wanted
    }

    /// One has been made, or not.
    fn end(&mut self, whose: &Whose, made: Option<Warm>) {
        let Some(kept) = self.kept.get_mut(whose) else { return };
        kept.making -= 1;
        self.count -= usize::from(made.is_none());
        kept.waiting.extend(made);
        self.tidy(whose);
    }
}

/// One that waits for this agent with these settings and has heard nothing from the server since it was ready.
pub(super) fn take(whose: &Whose, settings: &[(String, String)]) -> Option<Warm> {
    while let Some(warm) = POOL.with_borrow_mut(|pool| pool.remove(whose, |warm| warm.settings == settings)) {
        if warm.server.is_quiet() {
            return Some(warm);
        }
        tracing::debug!(session = warm.session, "a connection that waited has been closed by the server");
    }
    None
}

/// Has as many waiting as the entry asks for, in the background; those made for other settings make room.
pub(super) fn prepare(
    whose: &Whose,
    credential: &Credential,
    settings: &[(String, String)],
    parameters: impl Fn(&str) -> Vec<(String, String)>,
) {
    while POOL.with_borrow_mut(|pool| pool.remove(whose, |warm| warm.settings != settings)).is_some() {}
    while POOL.with_borrow_mut(|pool| pool.begin(whose, credential.warm())) {
        let session = super::arrival::new_session();
        let parameters = parameters(&session);
        let (whose, credential, settings) = (whose.clone(), credential.clone(), settings.to_vec());
        tokio::task::spawn_local(async move {
            let made = Server::connect(&whose.server, None, &credential, &parameters).await;
            if let Err(error) = &made {
                tracing::debug!(%error, server = %whose.server, "no connection could be made beforehand");
            }
            let made = made.ok().map(|server| Warm { session: session.clone(), server, settings });
            POOL.with_borrow_mut(|pool| pool.end(&whose, made));
            tokio::time::sleep(PATIENCE).await;
            let unused = POOL.with_borrow_mut(|pool| pool.remove(&whose, |warm| warm.session == session));
            if let Some(warm) = unused
                && let Err(error) = warm.server.bye().await
            {
                tracing::debug!(%error, "a connection that nobody wanted was gone");
            }
        });
    }
}
