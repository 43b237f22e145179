//! Where requests are made, decided and kept.

use super::Settings;
use super::approver::{Approver, Unable};
use super::binding::Binding;
use super::request::{Asked, Entry, Event, NotKept, Recorder, Request, Standing, said};
use super::ticket::{Grant, Ticket, in_words};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests that are over are kept for people to look at, so many of them.
const MOST_OVER: usize = 200;

/// In seconds.
const MINUTE: u64 = 60;

/// The requests of all sessions.
#[derive(Debug, Default)]
pub struct Desk {
    settings: Settings,
    book: Mutex<Book>,
    /// Grows whenever a request changes.
    changes: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// In the order in which they were made.
    pub(super) entries: BTreeMap<u64, Entry>,
    /// Where they are, by id, by what they are for, and by whose they are.
    ids: HashMap<String, u64>,
    bindings: HashMap<Binding, Vec<u64>>,
    agents: HashMap<(String, String), BTreeSet<u64>>,
    /// The second in which what is over was ended last.
    settled: Option<u64>,
    /// How many entries and tickets there have been.
    count: u64,
    /// When each agent has asked in the last minute, by issuer and name.
    recent: HashMap<(String, String), VecDeque<u64>>,
}

/// What comes of asking.
#[derive(Debug)]
pub enum Answer {
    /// It was approved before.
    Granted(Grant),
    /// Somebody has to decide.
    Waits {
        /// The place among those who wait.
        ticket: Ticket,
        /// Whether the request is a new one, which is on record.
        new: bool,
    },
}

/// Why nobody is asked.
#[derive(Debug)]
pub enum NotAsked {
    /// The agent has so many open requests already.
    TooMany(usize),
    /// It has made so many within a minute.
    TooOften(usize),
    /// It cannot be put on record.
    Unrecorded(NotKept),
}

impl Desk {
    /// An empty desk.
    pub fn new(settings: Settings) -> Self {
        Self { settings, book: Mutex::default(), changes: AtomicU64::new(0) }
    }

    /// How it goes about things.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Grows whenever a request may have changed: whoever watches looks again only then.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn touch(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Asks for a statement: takes the approval that is there, joins the request that is open, or makes one.
    ///
    /// # Errors
    /// Why nobody is asked.
    pub fn ask(
        self: &Arc<Self>,
        asked: Asked,
        binding: Binding,
        recorder: Arc<dyn Recorder>,
        now: u64,
    ) -> Result<Answer, NotAsked> {
        self.touch();
        let mut book = self.open_book(now);
        let mut open = None;
        for number in book.bindings.get(&binding).cloned().unwrap_or_default() {
            let Some(entry) = book.entries.get_mut(&number) else { continue };
            match entry.standing {
                Standing::Approved { until } => {
                    entry.standing = Standing::Taken { until };
                    return Ok(Answer::Granted(Grant { desk: self.clone(), entry: number, until, spent: false }));
                }
                Standing::Open => open = Some(number),
                Standing::Taken { .. }
                | Standing::Used
                | Standing::Denied { .. }
                | Standing::Expired
                | Standing::Withdrawn => {}
            }
        }
        if let Some(number) = open {
            return Ok(Answer::Waits { ticket: self.ticket(&mut book, number, binding, &asked), new: false });
        }
        let of_agent = book.of(&asked).filter(|entry| entry.standing == Standing::Open).count();
        if of_agent >= self.settings.open_per_agent {
            return Err(NotAsked::TooMany(self.settings.open_per_agent));
        }
        book.note(&asked, now, self.settings.requests_per_minute)?;
        let again = |entry: &&Entry| !entry.is_live() && entry.asked.is_same_text(&asked);
        let repeats = book.of(&asked).filter(again).count();
        let number = book.next();
        let entry = Entry {
            id: book.new_id(),
            asked: asked.clone(),
            binding,
            standing: Standing::Open,
            asked_at: now,
            expires_at: now.saturating_add(self.settings.timeout_seconds),
            repeats,
            voices: Vec::new(),
            recorder,
            tickets: BTreeMap::new(),
        };
        let preview = asked.preview.as_ref().map(|preview| format!("; {}", preview.summary())).unwrap_or_default();
        let words = format!(", of {}{preview}", in_words(&asked.needs));
        entry.record(Event::Asked, &words).map_err(NotAsked::Unrecorded)?;
        book.insert(number, entry);
        Ok(Answer::Waits { ticket: self.ticket(&mut book, number, binding, &asked), new: true })
    }

    fn ticket(self: &Arc<Self>, book: &mut Book, entry: u64, binding: Binding, asked: &Asked) -> Ticket {
        let number = book.next();
        let (mut id, mut expires_at) = (String::new(), 0);
        if let Some(entry) = book.entries.get_mut(&entry) {
            entry.tickets.insert(number, None);
            id.clone_from(&entry.id);
            expires_at = entry.expires_at;
        }
        Ticket {
            desk: self.clone(),
            entry,
            number,
            id,
            binding,
            needs: asked.needs.clone(),
            expires_at,
            given_up: AtomicBool::new(false),
        }
    }

    /// Whether an agent may ask at all, before anything is found out for its request. Whoever has an approval may use it.
    ///
    /// # Errors
    /// Which limit it has reached.
    pub fn may_ask(&self, issuer: &str, agent: &str, now: u64) -> Result<(), NotAsked> {
        let book = self.open_book(now);
        let owner = (issuer.to_owned(), agent.to_owned());
        let numbers = book.agents.get(&owner).into_iter().flatten();
        let mut open = 0;
        for entry in numbers.filter_map(|number| book.entries.get(number)) {
            match entry.standing {
                Standing::Approved { .. } => return Ok(()),
                Standing::Open => open += 1,
                Standing::Taken { .. }
                | Standing::Used
                | Standing::Denied { .. }
                | Standing::Expired
                | Standing::Withdrawn => {}
            }
        }
        if open >= self.settings.open_per_agent {
            return Err(NotAsked::TooMany(open));
        }
        let lately = book.recent.get(&owner).into_iter().flatten();
        let lately = lately.filter(|time| time.saturating_add(MINUTE) > now).count();
        if lately >= self.settings.requests_per_minute {
            return Err(NotAsked::TooOften(lately));
        }
        Ok(())
    }

    /// Says yes; approved is what enough have said yes to.
    ///
    /// # Errors
    /// Why that does not count.
    pub fn approve(&self, id: &str, by: &Approver, comment: Option<&str>, now: u64) -> Result<Request, Unable> {
        let mut book = self.open_book(now);
        let entry = book.undecided(id)?;
        let voice = by.voice(&entry.asked, &self.settings, comment)?;
        if entry.voices.iter().any(|known| known.by == voice.by) {
            return Err(Unable::Again(voice.by));
        }
        let groups: Vec<_> = voice.groups.iter().map(String::as_str).collect();
        let issuer = voice.issuer.as_deref().unwrap_or("this host");
        let words = format!(" {} ({issuer}, for {})", said(&voice.by, comment), groups.join(", "));
        entry.voices.push(voice);
        let met = entry.is_met();
        let event = if met { Event::Approved } else { Event::Seconded };
        if let Err(error) = entry.record(event, &words) {
            entry.voices.pop();
            return Err(Unable::Unrecorded(error));
        }
        if met {
            entry.turn(Standing::Approved { until: now.saturating_add(self.settings.grant_seconds) });
        }
        self.touch();
        Ok(entry.show())
    }

    /// Lets a statement through that nobody has approved.
    ///
    /// # Errors
    /// Where that is not for whoever wants it.
    pub fn break_glass(&self, id: &str, by: &Approver, reason: &str, now: u64) -> Result<Request, Unable> {
        if !matches!(by, Approver::LocalRoot { .. }) || !self.settings.break_glass {
            return Err(Unable::NoGlass);
        }
        if reason.trim().is_empty() {
            return Err(Unable::NoReason);
        }
        let mut book = self.open_book(now);
        let entry = book.undecided(id)?;
        if by.is_with(&entry.asked) {
            return Err(Unable::SameCgroup(entry.asked.cgroup.clone()));
        }
        let words = format!(" {}, BREAKING THE GLASS", said(by.name(), Some(reason)));
        entry.record(Event::Approved, &words).map_err(Unable::Unrecorded)?;
        tracing::warn!(
            id,
            reason,
            agent = entry.asked.agent,
            "the glass was broken: a statement runs that nobody has approved"
        );
        entry.voices.push(super::Voice {
            by: by.name().to_owned(),
            issuer: None,
            groups: entry.asked.needs.keys().cloned().collect(),
            comment: Some(format!("BREAKING THE GLASS: {reason}")),
        });
        entry.turn(Standing::Approved { until: now.saturating_add(self.settings.grant_seconds) });
        self.touch();
        Ok(entry.show())
    }

    /// Says no.
    ///
    /// # Errors
    /// Why that does not count.
    pub fn deny(&self, id: &str, by: &Approver, comment: Option<&str>, now: u64) -> Result<Request, Unable> {
        let mut book = self.open_book(now);
        let entry = book.undecided(id)?;
        // Root may take away what it may not give.
        if !matches!(by, Approver::LocalRoot { .. }) {
            by.voice(&entry.asked, &self.settings, comment)?;
        }
        entry.record(Event::Denied, &format!(" {}", said(by.name(), comment))).map_err(Unable::Unrecorded)?;
        entry.turn(Standing::Denied { by: by.name().to_owned(), comment: comment.map(str::to_owned) });
        self.touch();
        Ok(entry.show())
    }

    /// All requests that are known, the latest last.
    pub fn list(&self, now: u64) -> Vec<Request> {
        self.open_book(now).entries.values().map(Entry::show).collect()
    }

    /// One of them.
    pub fn show(&self, id: &str, now: u64) -> Option<Request> {
        let book = self.open_book(now);
        book.entries.get(book.ids.get(id)?).map(Entry::show)
    }

    /// Ends what is open: the daemon stops.
    pub fn close(&self) {
        for entry in self.lock().entries.values_mut().filter(|entry| entry.is_live()) {
            if !matches!(entry.standing, Standing::Taken { .. }) {
                entry.expire(": the daemon stops");
            }
        }
    }

    /// Ends what is over.
    pub fn settle(&self, now: u64) {
        drop(self.open_book(now));
    }

    /// The book as it stands at a time: whoever looks at it sees nothing that is over.
    pub(super) fn open_book(&self, now: u64) -> MutexGuard<'_, Book> {
        let mut book = self.lock();
        // Nothing that begins in a second ends in it.
        if book.settled == Some(now) {
            return book;
        }
        book.settled = Some(now);
        for entry in book.entries.values_mut() {
            let (end, how) = match entry.standing {
                Standing::Open => (entry.expires_at, ": nobody has decided"),
                Standing::Approved { until } => (until, ": approved, and nobody has used it"),
                Standing::Taken { .. }
                | Standing::Used
                | Standing::Denied { .. }
                | Standing::Expired
                | Standing::Withdrawn => continue,
            };
            if end > now {
                continue;
            }
            entry.expire(how);
            self.touch();
        }
        book.forget();
        book
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose requests count together: the issuer and its name for the agent.
fn owner(asked: &Asked) -> (String, String) {
    (asked.issuer.clone(), asked.agent.clone())
}

impl Book {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn insert(&mut self, number: u64, entry: Entry) {
        self.ids.insert(entry.id.clone(), number);
        self.bindings.entry(entry.binding).or_default().push(number);
        self.agents.entry(owner(&entry.asked)).or_default().insert(number);
        self.entries.insert(number, entry);
    }

    /// The requests of whoever asks for this.
    fn of<'a>(&'a self, asked: &Asked) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let numbers = self.agents.get(&owner(asked)).into_iter().flatten();
        numbers.filter_map(|number| self.entries.get(number))
    }

    /// Counts an agent's request, unless there have been too many. People who are asked without end stop reading.
    fn note(&mut self, asked: &Asked, now: u64, most: usize) -> Result<(), NotAsked> {
        self.recent.retain(|_, times| {
            times.retain(|time| time.saturating_add(MINUTE) > now);
            !times.is_empty()
        });
        let times = self.recent.entry((asked.issuer.clone(), asked.agent.clone())).or_default();
        if times.len() >= most {
            tracing::warn!(agent = asked.agent, most, "an agent asks for approvals without end; it is refused for now");
            return Err(NotAsked::TooOften(most));
        }
        times.push_back(now);
        Ok(())
    }

    /// Short enough to be typed; nobody gains anything by guessing it.
    fn new_id(&self) -> String {
        loop {
            let id = format!("{:08x}", rand::random::<u32>());
            if !self.ids.contains_key(&id) {
                return id;
            }
        }
    }

    fn undecided(&mut self, id: &str) -> Result<&mut Entry, Unable> {
        let number = self.ids.get(id).copied().unwrap_or_default();
        let entry = self.entries.get_mut(&number).ok_or_else(|| Unable::NoSuch(id.to_owned()))?;
        match entry.standing {
            Standing::Open => Ok(entry),
            _ => Err(Unable::Decided { id: id.to_owned(), state: entry.state() }),
        }
    }

    /// Drops the oldest of those that are over and that nobody waits for.
    fn forget(&mut self) {
        let is_over = |entry: &Entry| !entry.is_live() && entry.tickets.is_empty();
        let over = self.entries.values().filter(|entry| is_over(entry)).count();
        let mut excess = over.saturating_sub(MOST_OVER);
        let Self { entries, ids, bindings, agents, .. } = self;
        entries.retain(|number, entry| {
            let goes = excess > 0 && is_over(entry);
            if goes {
                excess -= 1;
                ids.remove(&entry.id);
                if let Some(numbers) = bindings.get_mut(&entry.binding) {
                    numbers.retain(|known| known != number);
                }
                if let Some(numbers) = agents.get_mut(&owner(&entry.asked)) {
                    numbers.remove(number);
                }
            }
            !goes
        });
        bindings.retain(|_, numbers| !numbers.is_empty());
        agents.retain(|_, numbers| !numbers.is_empty());
    }
}
