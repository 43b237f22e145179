//! Snapshots of databases, shared by all sessions: fetched over a connection of the daemon's own, with the credential
//! that agents' sessions have, so that it sees what they see.

use super::login::LoginError;
use super::questions;
use super::route::Route;
use super::temporary;
use super::upstream::{Credential, Server, Upstreams};
use crate::identity::Identity;
use crate::sql::{Action, Catalog, CatalogBuilder, Function, RelationKind, TEMPORARY, Temporary};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, watch};

/// A snapshot older than this is fetched anew when a session begins.
const STALE: Duration = Duration::from_secs(10);
/// Unknown names cause no more fetches than one in this time; within it the snapshot counts as fresh.
const FRESH: Duration = Duration::from_millis(200);

/// Which database, as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) server: Route,
    pub(super) database: String,
    pub(super) user: String,
}

#[derive(Debug)]
struct Slot {
    snapshot: ArcSwapOption<Snapshot>,
    /// One fetch at a time.
    fetching: Arc<tokio::sync::Mutex<Fetched>>,
    /// What it was read with last: tokens end.
    credential: Mutex<Credential>,
    /// Whether a statement has been judged by it since it was last looked after.
    used: AtomicBool,
}

/// How often something else was found, and what was found last.
#[derive(Debug, Default)]
struct Fetched {
    epoch: u64,
    digest: u64,
}

#[derive(Debug)]
struct Snapshot {
    catalog: Arc<Catalog>,
    fetched: Instant,
}

/// The snapshots of all databases.
#[derive(Debug, Default)]
pub struct Catalogs {
    slots: Mutex<HashMap<Place, Arc<Slot>>>,
    /// What servers came with, by server and by what it hangs on.
    of_servers: Mutex<HashMap<(Route, String), Arc<OfServer>>>,
    hasher: RandomState,
}

/// Rows about what a server came with, each with the place of its question.
type OfServer = Vec<(usize, Vec<Option<Box<str>>>)>;

/// Of how many servers that is kept.
const SERVERS: usize = 16;

/// The snapshots of one database.
#[derive(Debug)]
pub(super) struct Watch(Arc<Slot>);

impl Watch {
    /// The latest snapshot, whatever its age.
    pub(super) fn latest(&self) -> Option<Arc<Catalog>> {
        let Self(slot) = self;
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        slot.snapshot.load().as_ref().map(|snapshot| snapshot.catalog.clone())
    }

    /// Whether the latest is so old that something may have changed meanwhile.
    pub(super) fn is_stale(&self) -> bool {
        let Self(slot) = self;
        slot.snapshot.load().as_ref().is_none_or(|snapshot| snapshot.fetched.elapsed() >= STALE)
    }
}

impl Catalogs {
    /// A snapshot for a session that begins.
    pub(super) async fn get(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, STALE).await
    }

    /// A snapshot that is fresh enough to say that something does not exist.
    pub(super) async fn refresh(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, FRESH).await
    }

    /// The snapshots of one database, for a session that lasts.
    pub(super) fn watch(&self, place: &Place) -> Option<Watch> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned().map(Watch)
    }

    /// The databases that are known, by server and name, for explanations: one snapshot each.
    pub fn known(&self) -> Vec<(String, String, Arc<Catalog>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |(place, slot): (&Place, &Arc<Slot>)| {
            let catalog = slot.snapshot.load().as_ref()?.catalog.clone();
            Some((place.server.to_string(), place.database.clone(), catalog))
        };
        let mut known: Vec<_> = slots.iter().filter_map(known).collect();
        known.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        known.dedup_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1));
        known
    }

    /// Fetches anew, from time to time, what sessions judge by: somebody else may change a database under a session that
    /// lasts. Ends with the daemon.
    pub async fn keep_fresh(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(STALE) => {}
                _ = stop.changed() => return,
            }
            let slots: Vec<_> = {
                let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                slots.iter().map(|(place, slot)| (place.clone(), slot.clone())).collect()
            };
            for (place, slot) in slots {
                if !slot.used.swap(false, Ordering::Relaxed) {
                    continue;
                }
                let credential = slot.credential.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if credential.is_relayed() {
                    continue;
                }
                if let Err(error) = self.fetch(&place, &credential).await {
                    tracing::warn!(%error, database = %place.database, "the catalogue could not be fetched; the old one is judged by");
                }
            }
        }
    }

    /// Something has changed: the next session or unknown name fetches anew.
    pub(super) async fn fetch(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, Duration::ZERO).await
    }

    fn slot(&self, place: &Place, credential: &Credential) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Slot {
                snapshot: ArcSwapOption::empty(),
                fetching: Arc::default(),
                credential: Mutex::new(credential.clone()),
                used: AtomicBool::new(false),
            })
        };
        slots.entry(place.clone()).or_insert_with(new).clone()
    }

    async fn newer_than(
        &self,
        place: &Place,
        credential: &Credential,
        age: Duration,
    ) -> Result<Arc<Catalog>, LoginError> {
        let slot = self.slot(place, credential);
        let asked = Instant::now();
        let young = || {
            let snapshot = slot.snapshot.load();
            snapshot
                .as_ref()
                .filter(|snapshot| snapshot.fetched + age >= asked)
                .map(|snapshot| snapshot.catalog.clone())
        };
        if let Some(catalog) = young() {
            return Ok(catalog);
        }
        let mut last = slot.fetching.lock().await;
        if let Some(catalog) = young() {
            return Ok(catalog);
        }
        if credential.is_relayed() {
            // There is nothing to ask with: its sessions read it, see `Catalogs::begin`.
            return Err(LoginError::NotNow);
        }
        let fetched = Instant::now();
        slot.credential.lock().unwrap_or_else(PoisonError::into_inner).clone_from(credential);
        let (catalog, digest) = self.ask(place, credential, last.epoch + 1).await?;
        Ok(slot.keep(place, &mut last, (catalog, digest), fetched))
    }

    /// Asks and reads; with a number that is the same for the same answers.
    async fn ask(&self, place: &Place, credential: &Credential, epoch: u64) -> Result<(Catalog, u64), LoginError> {
        let parameters = [
            ("database", place.database.as_str()),
            ("application_name", "interceptor catalogue"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("statement_timeout", "30000"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut server = Server::connect(&place.server, None, credential, &parameters).await?;
        let mut reader = Reader::new(place, epoch);
        let mut digest = self.hasher.build_hasher();
        let mut fingerprint = None;
        let begin = |question: usize, row: &[Option<&str>]| {
            row.hash(&mut digest);
            match question {
                0 => reader.row(0, row),
                _ => {
                    fingerprint = row.first().copied().flatten().map(str::to_owned);
                    Some(())
                }
            }
        };
        server.ask(&questions::begin(), begin).await?;
        for (question, row) in self.of_server(&mut server, &place.server, fingerprint).await?.iter() {
            let row: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
            if !reader.is_of_none(*question, &row) {
                reader.row(*question, &row).ok_or_else(|| LoginError::Protocol("a row has an unknown shape".into()))?;
            }
        }
        let each = |question: usize, row: &[Option<&str>]| {
            let question = question + 1;
            if reader.is_of_none(question, row) {
                return Some(());
            }
            (question, row).hash(&mut digest);
            reader.row(question, row)
        };
        server.ask(&questions::of_others(), each).await?;
        if let Err(error) = server.bye().await {
            tracing::debug!(%error, "the server did not hear that the questions are over");
        }
        Ok((reader.finish(), digest.finish()))
    }

    /// What a server came with: as it is known, or asked in the transaction in which the fingerprint was taken. From a server that
    /// has none nothing is kept.
    async fn of_server(
        &self,
        server: &mut Server,
        route: &Route,
        fingerprint: Option<String>,
    ) -> Result<Arc<OfServer>, LoginError> {
        let key = fingerprint.map(|fingerprint| (route.clone(), fingerprint));
        let known = || self.of_servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = key.as_ref().and_then(|key| known().get(key).cloned()) {
            return Ok(rows);
        }
        let (text, places) = questions::of_server();
        let mut rows = OfServer::new();
        let each = |question: usize, row: &[Option<&str>]| {
            rows.push((*places.get(question)?, row.iter().map(|value| value.map(Into::into)).collect()));
            Some(())
        };
        server.ask(&text, each).await?;
        let rows = Arc::new(rows);
        if let Some(key) = key {
            let mut known = known();
            if known.len() >= SERVERS {
                known.clear();
            }
            known.insert(key, rows.clone());
        }
        Ok(rows)
    }

    /// A reading in a session of the agent's own.
    pub(super) async fn begin<'a>(&self, place: &'a Place, credential: &Credential) -> Reading<'a> {
        let slot = self.slot(place, credential);
        let last = slot.fetching.clone().lock_owned().await;
        let reader = Reader::new(place, last.epoch + 1);
        Reading { place, reader, digest: self.hasher.build_hasher(), last, fetched: Instant::now(), slot }
    }
}

/// A reading under way; while it is, no other of the same database begins.
pub(super) struct Reading<'a> {
    place: &'a Place,
    reader: Reader<'a>,
    digest: DefaultHasher,
    last: OwnedMutexGuard<Fetched>,
    fetched: Instant,
    slot: Arc<Slot>,
}

impl Reading<'_> {
    /// Takes a row of the answer to one of [`questions::all`]; `None` for one of an unknown shape.
    pub(super) fn row(&mut self, question: usize, row: &[Option<&str>]) -> Option<()> {
        if self.reader.is_of_none(question, row) {
            return Some(());
        }
        (question, row).hash(&mut self.digest);
        self.reader.row(question, row)
    }

    /// Everything has been answered.
    pub(super) fn end(self) {
        let Self { place, reader, digest, mut last, fetched, slot } = self;
        slot.keep(place, &mut last, (reader.finish(), digest.finish()), fetched);
    }
}

impl Slot {
    fn keep(
        &self,
        place: &Place,
        last: &mut Fetched,
        (catalog, digest): (Catalog, u64),
        fetched: Instant,
    ) -> Arc<Catalog> {
        let slot = self;
        // What is remembered about texts and decisions hangs on the snapshot: it stays while nothing has changed.
        if let Some(same) = slot.snapshot.load().as_ref().filter(|_| last.digest == digest) {
            let catalog = same.catalog.clone();
            slot.snapshot.store(Some(Arc::new(Snapshot { catalog: catalog.clone(), fetched })));
            return catalog;
        }
        let catalog = Arc::new(catalog);
        *last = Fetched { epoch: last.epoch + 1, digest };
        tracing::debug!(database = %place.database, relations = catalog.len(), took = ?fetched.elapsed(), "catalogue fetched");
        slot.snapshot.store(Some(Arc::new(Snapshot { catalog: catalog.clone(), fetched })));
        catalog
    }
}

/// A reading of a session's own relations, which nobody else sees.
pub(super) struct TemporaryReading<'a> {
    reader: Reader<'a>,
    oids: Vec<u32>,
}

impl<'a> TemporaryReading<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { reader: Reader::new(place, 0), oids: Vec::new() }
    }

    /// Takes a row of the answer to [`temporary::WHICH`].
    pub(super) fn which(&mut self, question: usize, row: &[Option<&str>]) -> Option<()> {
        if question > 0 {
            self.reader.builder().odd("there are types, or other objects than relations, in the session's own schema");
            return Some(());
        }
        let value = |at: usize| row.get(at).copied().flatten();
        let oid: u32 = value(0)?.parse().ok()?;
        if self.oids.len() >= temporary::MOST {
            self.reader.builder().odd("there are too many temporary relations");
            return Some(());
        }
        let Some(kind) = value(2)?.chars().next().and_then(RelationKind::from_relkind) else {
            self.reader.builder().odd("there is a temporary relation of an unknown kind");
            return Some(());
        };
        self.reader.builder().relation(oid, TEMPORARY, value(1)?, kind, value(3)? == "t");
        if let Some(comment) = value(4) {
            self.reader.builder().comment(oid, "", comment);
        }
        self.oids.push(oid);
        Some(())
    }

    /// What there is to ask about those that there are, in a block or outside; nothing where there are none.
    pub(super) fn questions(&self, in_block: bool) -> Option<String> {
        (!self.oids.is_empty()).then(|| temporary::questions(&self.oids, in_block))
    }

    /// Takes a row of the answer to that.
    pub(super) fn row(&mut self, question: usize, row: &[Option<&str>]) -> Option<()> {
        let value = |at: usize| row.get(at).copied().flatten();
        match temporary::ORDER.get(question)? {
            temporary::Asked::Elsewhere => {
                self.reader.builder().elsewhere(value(0)?.parse().ok()?, value(1)?, value(2)?);
                Some(())
            }
            temporary::Asked::AsOfAll(question) => self.reader.row(*question, row),
        }
    }

    /// Everything has been answered.
    pub(super) fn end(mut self, catalog: &Catalog) -> Temporary {
        self.reader.builder();
        catalog.temporary_of(self.reader.builder.unwrap_or_default())
    }
}

/// A reading of the schema as a transaction has made it, which nobody else sees.
pub(super) struct SurveyReading<'a> {
    reader: Reader<'a>,
    /// Whether what it sees is what names mean.
    is_reliable: bool,
}

impl<'a> SurveyReading<'a> {
    /// The number of the question behind those that are asked of all databases.
    const ISOLATION: usize = 19;

    pub(super) fn new(place: &'a Place, shared: &Catalog) -> Self {
        Self { reader: Reader::new(place, shared.epoch), is_reliable: false }
    }

    /// What has to be asked, within a transaction, of which nothing stays behind.
    pub(super) fn questions() -> String {
        questions::within(
            "savepoint \"interceptor\"; set local statement_timeout to '30s'",
            "select pg_catalog.current_setting('transaction_isolation');\n\
             rollback to savepoint \"interceptor\"; release savepoint \"interceptor\"",
        )
    }

    /// Takes a row of the answer to a question.
    pub(super) fn row(&mut self, question: usize, row: &[Option<&str>]) -> Option<()> {
        if question == Self::ISOLATION {
            self.is_reliable = row.first().copied().flatten() == Some("read committed");
            return Some(());
        }
        if self.reader.is_of_none(question, row) {
            return Some(());
        }
        self.reader.row(question, row)
    }

    /// Everything has been answered.
    pub(super) fn end(self) -> Option<Catalog> {
        self.is_reliable.then(|| self.reader.finish())
    }
}

/// The catalogue of a database that no session is on: for tools and tests beside the daemon.
///
/// # Errors
/// If there is no credential, or the server does not let us in or cannot be read.
pub async fn fetch_catalog(
    server: SocketAddr,
    database: &str,
    upstreams: &Upstreams,
) -> Result<Arc<Catalog>, Box<dyn std::error::Error + Send + Sync>> {
    let Some(credential) = upstreams.credential(&server, database, &Identity::default()) else {
        return Err(format!("no credential is configured for database \"{database}\" on {server}").into());
    };
    let place = Place { server: server.into(), database: database.to_owned(), user: credential.user.clone() };
    let (catalog, _) = Catalogs::default().ask(&place, credential, 1).await?;
    Ok(Arc::new(catalog))
}

/// Makes a catalogue of the answers, row by row.
struct Reader<'a> {
    place: &'a Place,
    epoch: u64,
    /// The answer to the first question: the search path that sessions begin with.
    path: Vec<String>,
    builder: Option<CatalogBuilder>,
}

impl<'a> Reader<'a> {
    fn new(place: &'a Place, epoch: u64) -> Self {
        Self { place, epoch, path: Vec::new(), builder: None }
    }

    fn builder(&mut self) -> &mut CatalogBuilder {
        let Self { place, epoch, path, builder } = self;
        builder.get_or_insert_with(|| CatalogBuilder::new(&place.database, *epoch, &place.user, path))
    }

    fn finish(mut self) -> Catalog {
        self.builder();
        self.builder.map(CatalogBuilder::build).unwrap_or_default()
    }

    /// Whether a row is about a relation that is not there for us: temporary ones of other sessions come and go, and what is
    /// remembered hangs on there being nothing new.
    fn is_of_none(&mut self, question: usize, row: &[Option<&str>]) -> bool {
        let oid = row.first().copied().flatten().and_then(|oid| oid.parse().ok());
        matches!(question, 3..=8 | 14 | 15 | 17 | 18) && oid.is_some_and(|oid| !self.builder().knows(oid))
    }

    /// Takes a row of the answer to one of [`questions::all`].
    fn row(&mut self, question: usize, row: &[Option<&str>]) -> Option<()> {
        let value = |at: usize| row.get(at).copied().flatten();
        let oid = |at: usize| value(at)?.parse::<u32>().ok();
        if question == 0 {
            self.path.push(value(0)?.to_owned());
            return Some(());
        }
        let builder = self.builder();
        match question {
            1 if value(1)? == "t" => builder.schema(value(0)?),
            1 => builder.closed_schema(value(0)?),
            2 => {
                // A kind of relation that newer servers have is not known to us, and so is not there.
                if let Some(kind) = value(3)?.chars().next().and_then(RelationKind::from_relkind) {
                    builder.relation(oid(0)?, value(1)?, value(2)?, kind, value(4)? == "t");
                }
                if let Some(comment) = value(5) {
                    builder.comment(oid(0)?, "", comment);
                }
            }
            3 => {
                builder.column(oid(0)?, value(1)?.parse().ok()?, value(2)?, (value(3)?, oid(5)?));
                if let Some(comment) = value(4) {
                    builder.comment(oid(0)?, value(2)?, comment);
                }
            }
            4 => builder.view_rests_on(oid(0)?, oid(1)?),
            5 => builder.view(oid(0)?, value(1)?),
            6 => builder.inherits(oid(0)?, oid(1)?),
            7 if value(3)? == "t" => builder.stored_call(oid(0)?, value(1)?, value(2)?),
            7 => builder.trigger(oid(0)?, value(1)?, value(2)?),
            8 => builder.generated(oid(0)?, value(1)?, value(2)?),
            9 => builder.function(Function {
                schema: value(0)?.into(),
                name: value(1)?.into(),
                volatility: value(2)?.into(),
                security_definer: value(3)? == "t",
                language: value(4)?.into(),
                width: value(5).map(str::parse).transpose().ok()?,
                output: value(6).map(Into::into),
            }),
            10 => builder.body(value(0)?, value(1)?, value(2)?, value(3)?, value(4)),
            11 => builder.type_name(value(0)?, value(1)?),
            12 => {
                let function = (value(4)? == "t").then(|| Some((value(2)?, value(3)?)));
                builder.operator(value(0)?, value(1)?, function.flatten());
            }
            13 => builder.coded_type(value(0)?, value(1)?, value(2)?),
            14 => {
                let action = |at: usize| Action::from_letter(value(at)?);
                builder.refers((oid(0)?, value(1)?), (oid(2)?, value(3)?), (action(4)?, action(5)?));
            }
            15 => builder.guard(oid(0)?, value(1)?, value(2)?),
            16 => builder.event_trigger(value(0)?, value(1)?),
            17 => builder.belongs(oid(0)?, oid(1)?),
            18 => builder.primary_key(oid(0)?, value(1)?),
            _ => return None,
        }
        Some(())
    }
}
