//! Who is in and who waits at the door.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The sessions that are open, for people to look at and to end.
#[derive(Debug, Default)]
pub struct Live {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<String, Entry>,
    /// How many there are of each agent.
    of: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    info: SessionInfo,
    killed: Arc<Killed>,
}

/// Whether somebody has a session end; once it is so it stays so.
#[derive(Debug, Default)]
pub(super) struct Killed {
    is: AtomicBool,
    told: Notify,
}

impl Killed {
    /// Has it end: everybody hears it who waits for that, or will.
    pub(super) fn tell(&self) {
        self.is.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Waits until it is so.
    pub(super) async fn told(&self) {
        // Waits from here on, so that nothing is missed between the look and the wait.
        let told = self.told.notified();
        if !self.is.load(Ordering::Acquire) {
            told.await;
        }
    }
}

/// One open session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its id, as in the audit.
    pub session: String,
    /// The agent.
    pub agent: String,
    /// Who it acts for.
    pub on_behalf_of: Option<String>,
    /// The dialling process.
    pub pid: u32,
    /// Its program.
    pub exe: String,
    /// The database server.
    pub server: String,
    /// The database.
    pub database: String,
    /// The server's process.
    pub backend_pid: i32,
    /// Who the client said it was; decides nothing.
    pub claimed_role: String,
    /// When the identity ends that the session was opened by, in seconds since 1970.
    pub expires: u64,
    /// RFC 3339.
    pub since: String,
}

impl Live {
    /// All of them, oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        let mut list: Vec<_> = self.lock().by_id.values().map(|entry| entry.info.clone()).collect();
        list.sort_by(|a, b| (&a.since, &a.session).cmp(&(&b.since, &b.session)));
        list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// How many of them one agent has, by its subject.
    pub(super) fn of(&self, agent: &str) -> usize {
        self.lock().of.get(agent).copied().unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().by_id.is_empty()
    }

    /// Has those sessions end that `which` is about; gives them.
    pub fn kill(&self, which: impl Fn(&SessionInfo) -> bool) -> Vec<SessionInfo> {
        let sessions = self.lock();
        let killed: Vec<_> = sessions.by_id.values().filter(|entry| which(&entry.info)).collect();
        for entry in &killed {
            entry.killed.tell();
        }
        killed.into_iter().map(|entry| entry.info.clone()).collect()
    }

    pub(super) fn enter(&self, info: SessionInfo) -> Present<'_> {
        let session = info.session.clone();
        let killed = Arc::new(Killed::default());
        let mut sessions = self.lock();
        *sessions.of.entry(info.agent.clone()).or_default() += 1;
        sessions.by_id.insert(session.clone(), Entry { info, killed: killed.clone() });
        Present { live: self, session, killed }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's entry; gone with the session.
pub(super) struct Present<'a> {
    live: &'a Live,
    session: String,
    /// Told when somebody has the session end.
    pub(super) killed: Arc<Killed>,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let mut sessions = self.live.lock();
        let Some(Entry { info, .. }) = sessions.by_id.remove(&self.session) else { return };
        if let Some(count) = sessions.of.get_mut(&info.agent) {
            *count -= 1;
            if *count == 0 {
                sessions.of.remove(&info.agent);
            }
        }
    }
}

/// Connections that have not become sessions yet, by the cgroup that dialled: one that opens many and says nothing takes
/// its own places, not everybody's.
#[derive(Debug, Default)]
pub struct Waiting {
    places: Mutex<HashMap<u64, usize>>,
}

/// A place among those who wait; given up when dropped.
pub(super) struct Waiter<'a> {
    waiting: &'a Waiting,
    cgroup: u64,
}

impl Waiting {
    /// Connections of one cgroup that may wait at the same time.
    const MOST: usize = 128;

    pub(super) fn enter(&self, cgroup: u64) -> Option<Waiter<'_>> {
        let mut places = self.lock();
        let taken = places.entry(cgroup).or_default();
        (*taken < Self::MOST).then(|| {
            *taken += 1;
            Waiter { waiting: self, cgroup }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut places = self.waiting.lock();
        if let Some(taken) = places.get_mut(&self.cgroup) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&self.cgroup);
            }
        }
    }
}
