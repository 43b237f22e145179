//! Running a statement to see what it changes, before somebody is asked (`@preview`).
//!
//! While this is under way the session is at rest: what the server says is read here, and nothing of it goes to the client.
//! Around the statement stand words of our own: BEGIN, or SAVEPOINT in a block of the agent's, then a question for the rows
//! that it has made. Those that it has taken away are asked for on another connection, for which they are still there:
//! `xmax` says that our transaction is about to end them. In the extended protocol our words are messages of that
//! protocol, with names of our own, because a Query would end the batch.

use super::cancel::Held;
use super::relay::{Ends, Surroundings, lost};
use super::tls::Writer;
use super::upstream::{Server, row};
use crate::approval::{Effect, Preview, Seen};
use crate::session::{Ending, Sample, Session, Taken, Trial, Tried, Way};
use crate::sql::Relation;
use crate::wire::{
    Backend, Chunk, Described, Frame, Speaker, TransactionStatus, described, row_of_values, values_of_row,
};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest answer that is kept while somebody is asked, in bytes.
const MOST_ANSWER: usize = 2 << 20;
/// Rows of each kind that are looked at in a relation.
const MOST_ROWS: usize = 1000;
/// Bytes of them; a request keeps what was found for as long as it is open.
const MOST_FOUND: usize = 256 << 10;
/// Relations whose rows are looked at.
const MOST_RELATIONS: usize = 5;
/// Largest relation that is searched for them, in bytes: there is no index on who has changed a row.
const LARGEST: u64 = 512 << 20;
const TOO_LONG: &str = "its rows are too long to be kept; these are some of them";
/// How long one of our own questions may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a server may go on with a statement after it was told to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// After how long the agent hears what is going on.
const PATIENT: Duration = Duration::from_secs(1);

/// What our savepoint, statement and portal are called.
const NAME: &str = "interceptor trial";

/// A statement that has run and waits in its transaction for somebody's word.
pub(super) struct Alive {
    way: Way,
    /// What the server has said, for when it becomes the statement's own.
    answer: BytesMut,
    /// When its locks are given back.
    pub(super) ends: Instant,
}

/// What the server has said to something of ours.
#[derive(Default)]
struct Heard {
    /// All of it, as far as it is kept.
    bytes: BytesMut,
    too_long: bool,
    rows: Vec<Bytes>,
    /// How many rows there were, kept or not.
    count: u64,
    /// Bytes of all rows, kept or not.
    found: usize,
    shape: Vec<Described>,
    tag: Option<String>,
    /// SQLSTATE and message.
    error: Option<(String, String)>,
    /// Why it was told to stop.
    stopped: Option<Stopped>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    TooSlow,
    Cancelled,
    Killed,
}

/// A row that a transaction under way may be ending.
struct Passing {
    /// Where it stands.
    place: String,
    /// Which transaction.
    by: u64,
    row: Bytes,
}

/// With which message an answer ends, where it does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// ReadyForQuery.
    Ready,
    /// CommandComplete and its like.
    Complete,
    /// BindComplete.
    Bound,
    /// The second CloseComplete.
    Closed,
}

impl Ends<'_> {
    /// Tries what the session has to be tried, and tells it what came of it.
    pub(super) async fn try_out(
        &mut self,
        session: &mut Session,
        writer: &mut Writer<'_>,
        client: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let Some(trial) = session.trial() else { return Ok(()) };
        let held = around.key.hold();
        let seconds = around.proxy.shared.desk.settings().preview_lock_timeout;
        let ends = Instant::now() + Duration::from_secs(seconds);
        self.catch_up(writer, around).await?;

        let before = match &trial.way {
            Way::Text { in_block: false } => {
                self.word(&trial.way, "BEGIN", session, writer, around).await?;
                Vec::new()
            }
            Way::Portal { in_block: false, .. } => Vec::new(),
            Way::Text { in_block: true } | Way::Portal { in_block: true, .. } => {
                self.word(&trial.way, &format!("SAVEPOINT \"{NAME}\""), session, writer, around).await?;
                self.transactions(&trial.way, session, writer, around).await?
            }
        };
        let mut bytes = BytesMut::from(&trial.bytes[..]);
        self.tell(writer, &mut bytes).await?;
        let last = if trial.way.is_text() { Last::Ready } else { Last::Complete };
        // Where it takes its time, for locks or by itself, the agent hears why nothing happens.
        let mut notice = BytesMut::new();
        if self.out.downstream.is_empty() {
            notice.notice("what this statement changes is looked at before somebody is asked to approve it");
        }
        let soon = Instant::now() + PATIENT;
        let heard = {
            let hearing = self.hear(last, Some(MOST_ANSWER), session, around, ends, Some(&held));
            tokio::pin!(hearing);
            let mut told = false;
            loop {
                tokio::select! {
                    biased;
                    heard = &mut hearing => break heard?,
                    () = sleep_until(soon), if !told => told = true,
                    // A client that is gone is noticed by the relay.
                    sent = client.send(&mut notice), if told && client.owes(&notice) => {
                        if sent.is_err() {
                            notice.clear();
                            break hearing.await?;
                        }
                    }
                }
            }
        };
        // What of it is on its way has to be whole before anything else is said; what is not need not be said any more.
        if Instant::now() >= soon && !notice.is_empty() {
            let rest = self.out.downstream.split();
            self.out.downstream.extend_from_slice(&notice);
            self.out.downstream.extend_from_slice(&rest);
        }

        let mut preview = Preview::default();
        let why = match (&heard.error, heard.stopped) {
            (_, Some(Stopped::Cancelled)) => {
                self.undo(&trial.way, heard.error.is_some(), session, writer, around).await?;
                session.note_trial(Tried { cancelled: true, ..Tried::default() });
                return Ok(());
            }
            (_, Some(Stopped::Killed)) => Some("the session is being ended".to_owned()),
            (_, Some(Stopped::TooSlow)) => {
                Some(format!("it took longer than {seconds} s, or waited that long for locks (`preview_lock_timeout`)"))
            }
            (Some((code, _)), None) => {
                // Its text may quote values that whoever reads it must not see, whatever the agent may.
                let error = format!("{code} (its text is for the agent)");
                let digest = digest(&[error.as_bytes()]);
                preview.effect = Some(Effect { affected: None, error: Some(error), digest, whole: true });
                None
            }
            (None, None) if heard.too_long => {
                Some(format!("its result has more than {MOST_ANSWER} bytes, which are not kept"))
            }
            (None, None) => None,
        };
        if let Some(why) = why {
            self.undo(&trial.way, heard.error.is_some(), session, writer, around).await?;
            session.note_trial(Tried { preview: Preview::none(why), ..Tried::default() });
            return Ok(());
        }
        if preview.effect.is_some() {
            self.undo(&trial.way, true, session, writer, around).await?;
            session.note_trial(Tried { preview, ..Tried::default() });
            return Ok(());
        }
        let Some(affected) = heard.tag.as_deref().and_then(affected) else {
            self.undo(&trial.way, false, session, writer, around).await?;
            let preview = Preview::none("it does not say how many rows it changes");
            session.note_trial(Tried { preview, ..Tried::default() });
            return Ok(());
        };
        let looked = self.look(&trial, &before, session, writer, around).await?;
        let (taken, notes) = match looked {
            Ok(found) => found,
            Err(error) => {
                // Our question has failed, and the transaction with it.
                self.undo(&trial.way, true, session, writer, around).await?;
                let preview = Preview::none(format!("its rows could not be looked at: {error}"));
                session.note_trial(Tried { preview, ..Tried::default() });
                return Ok(());
            }
        };
        let verb = heard.tag.as_deref().and_then(|tag| tag.split(' ').next()).unwrap_or_default();
        let found_all = finds_all(verb, affected, &taken);
        let (mut digest, mut whole) = digest_of(affected, &taken);
        let mut notes = notes;
        if !found_all {
            // Which rows they are is not known, so no other run can be seen to change the same.
            notes.push(
                "not all rows that it changes were found: it is good only while its transaction is open".to_owned(),
            );
            digest = format!("{digest}-{:016x}", rand::random::<u64>());
            whole = false;
        }
        preview.effect = Some(Effect { affected: Some(affected), error: None, digest, whole });
        if let Some(most) = trial.max_affected.filter(|most| affected > *most) {
            notes.push(format!("it will fail all the same: the policies let it change {most} rows"));
        }
        if let Some(most) = trial.max_rows.filter(|most| heard.count > *most) {
            notes.push(format!(
                "it will fail all the same: it returns {} rows, the policies let it return {most}",
                heard.count
            ));
        }
        preview.notes = notes;
        let seen = match around.catalog.latest() {
            Some(catalog) => {
                let policies = around.proxy.policies.load_full();
                let sample = Sample { policies, catalog, key: trial.key, around: trial.around, taken };
                let sight: Arc<dyn crate::approval::Sight> = Arc::new(sample);
                preview.tables = sight.tables(None);
                Seen(Some(sight))
            }
            None => Seen::default(),
        };
        session.note_trial(Tried { preview, seen, lives: true, cancelled: false });
        self.alive = Some(Alive { way: trial.way, answer: heard.bytes, ends });
        Ok(())
    }

    /// The message has been done: what was tried becomes its own, or is taken back.
    pub(super) async fn settle_trial(
        &mut self,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let Some(alive) = self.alive.take() else { return Ok(()) };
        if !session.has_taken_trial() {
            return match &alive.way {
                Way::Text { .. } => self.undo(&alive.way, false, session, writer, around).await,
                // What the session puts in its place fails the batch, and takes it back with everything else.
                Way::Portal { .. } => Ok(()),
            };
        }
        if alive.way.is_in_block() {
            self.word(&alive.way, &format!("RELEASE SAVEPOINT \"{NAME}\""), session, writer, around).await?;
        }
        let rest = self.server_inbox.buffer.split();
        self.server_inbox.buffer.extend_from_slice(&alive.answer);
        self.server_inbox.buffer.extend_from_slice(&rest);
        Ok(())
    }

    /// Somebody takes too long: others get the locks.
    pub(super) async fn let_go(
        &mut self,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let Some(alive) = self.alive.take() else { return Ok(()) };
        self.undo(&alive.way, false, session, writer, around).await?;
        session.trial_undone();
        Ok(())
    }

    /// Takes back what was tried; `failed` if the server has failed in it.
    async fn undo(
        &mut self,
        way: &Way,
        failed: bool,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        match way {
            Way::Text { in_block: false } => self.word(way, "ROLLBACK", session, writer, around).await,
            Way::Text { in_block: true } => {
                let words = format!("ROLLBACK TO SAVEPOINT \"{NAME}\"; RELEASE SAVEPOINT \"{NAME}\"");
                self.word(way, &words, session, writer, around).await
            }
            Way::Portal { in_block, rebind } => {
                if failed || !in_block {
                    let mut sync = BytesMut::new();
                    if !failed {
                        // An error is what takes the batch back.
                        sync.extend_from_slice(Frame::parse(NAME, "<taken back by interceptor>").bytes());
                    }
                    sync.extend_from_slice(&message(b'S', &[]));
                    self.tell(writer, &mut sync).await?;
                    let ends = Instant::now() + QUESTION;
                    self.hear(Last::Ready, None, session, around, ends, None).await?;
                }
                if *in_block {
                    self.word(way, &format!("ROLLBACK TO SAVEPOINT \"{NAME}\""), session, writer, around).await?;
                    self.word(way, &format!("RELEASE SAVEPOINT \"{NAME}\""), session, writer, around).await?;
                }
                let portal = rebind.get(5..).and_then(|body| body.split(|byte| *byte == 0).next()).unwrap_or_default();
                let mut again = BytesMut::from(message(b'C', &[b"P", portal, b"\0"]).as_slice());
                again.extend_from_slice(rebind);
                again.extend_from_slice(&message(b'H', &[]));
                self.tell(writer, &mut again).await?;
                let ends = Instant::now() + QUESTION;
                let heard = self.hear(Last::Bound, None, session, around, ends, None).await?;
                match heard.error {
                    None => Ok(()),
                    Some((code, message)) => {
                        Err(Ending::Server(format!("a portal could not be bound again: {code} {message}")))
                    }
                }
            }
        }
    }

    /// The rows, and what is to be said about those that were not looked at; our question may fail.
    async fn look(
        &mut self,
        trial: &Trial,
        before: &[String],
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Result<(Vec<Taken>, Vec<String>), String>, Ending> {
        let mut ids = self.transactions(&trial.way, session, writer, around).await?;
        ids.retain(|id| !before.contains(id));
        let Some(first) = ids.iter().filter_map(|id| id.parse().ok()).reduce(older) else {
            return Ok(Ok((Vec::new(), Vec::new())));
        };
        let whole = match self.question(&trial.way, "SELECT pg_catalog.txid_current()", session, writer, around).await?
        {
            Ok(heard) => number(&heard),
            Err(error) => return Ok(Err(error)),
        };
        let Some(whole) = whole else { return Ok(Err("it does not say its transaction".to_owned())) };
        let (mut taken, mut notes) = (Vec::new(), Vec::new());
        if trial.relations.len() > MOST_RELATIONS {
            notes.push(format!("rows of {MOST_RELATIONS} of {} tables are shown", trial.relations.len()));
        }
        let mut place = String::new();
        for relation in trial.relations.iter().take(MOST_RELATIONS) {
            place = Taken::place(relation);
            let columns = Taken::columns(relation);
            let mut table = Taken {
                relation: relation.clone(),
                shape: Vec::new(),
                before: Vec::new(),
                after: Vec::new(),
                counts: (0, 0),
                missing: None,
            };
            if relation.is_guarded() {
                table.missing = Some("functions of its row security policies are not run for a look".to_owned());
                taken.push(table);
                continue;
            }
            let size = format!("SELECT pg_catalog.pg_relation_size({}::pg_catalog.oid)", relation.oid);
            let size = match self.question(&trial.way, &size, session, writer, around).await? {
                Ok(heard) => number(&heard).unwrap_or(u64::MAX),
                Err(error) => return Ok(Err(error)),
            };
            if size > LARGEST || columns.is_empty() {
                let what = format!("it has {size} bytes; tables above {LARGEST} are not searched for the rows");
                table.missing = Some(what);
                taken.push(table);
                continue;
            }
            let made = format!(
                "SELECT {columns} FROM {place} WHERE {} LIMIT {}",
                is_under_way("t.xmin", first, whole, None),
                MOST_ROWS + 1
            );
            match self.question(&trial.way, &made, session, writer, around).await? {
                Ok(heard) => {
                    (table.after, table.shape) = (heard.rows, heard.shape);
                    if heard.too_long {
                        table.missing = Some(TOO_LONG.to_owned());
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
            taken.push(table);
        }
        tracing::trace!(%place, "looked at what a statement changes");
        match self.ending(&mut taken, first, whole, around).await {
            Ok(ending) => {
                for (table, ending) in taken.iter_mut().zip(ending) {
                    match self.gone(&trial.way, table, ending, session, writer, around).await? {
                        Ok(gone) => table.before = gone,
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
            Err(why) => notes.push(format!("rows as they were are not shown: {why}")),
        }
        if taken.iter().filter(|table| !table.before.is_empty() || !table.after.is_empty()).count() > 1 {
            notes.push("the count leaves out rows that WITH, triggers and foreign keys change".to_owned());
        }
        for table in &mut taken {
            table.counts = (table.before.len() as u64, table.after.len() as u64);
            if table.before.len() > MOST_ROWS || table.after.len() > MOST_ROWS {
                table.missing.get_or_insert_with(too_many);
            }
        }
        Ok(Ok((taken, notes)))
    }

    /// Rows that a transaction under way may be ending, as others still see them, each with its place; of each table.
    async fn ending(
        &self,
        taken: &mut [Taken],
        first: u32,
        whole: u64,
        around: &Surroundings<'_>,
    ) -> Result<Vec<Vec<Passing>>, String> {
        if around.credential.is_relayed() {
            return Err("the daemon has no credential of its own for this database".to_owned());
        }
        let asking = async {
            let parameters = [
                ("database", around.place.database.as_str()),
                ("application_name", "interceptor preview"),
                ("client_encoding", "UTF8"),
                ("standard_conforming_strings", "on"),
                ("statement_timeout", "4000"),
                ("lock_timeout", "1000"),
                ("default_transaction_read_only", "on"),
            ];
            let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let server = Server::connect(&around.place.server, None, &around.credential, &parameters);
            let mut server = server.await.map_err(|error| error.to_string())?;
            let mut next = None;
            let keep = |_: usize, values: &[Option<&str>]| {
                next = Some((*values.first()?)?.parse().ok()?);
                Some(())
            };
            server.ask("SELECT pg_catalog.txid_current()", keep).await.map_err(|error| error.to_string())?;
            let under_way = is_under_way("t.xmax", first, whole, Some(next.unwrap_or(whole)));
            let mut all = Vec::new();
            for table in taken.iter_mut() {
                let (mut found, mut size, mut count) = (Vec::new(), 0, 0);
                if table.missing.is_none() {
                    let (columns, place) = (Taken::columns(&table.relation), Taken::place(&table.relation));
                    let by = whole_number("t.xmax", whole);
                    let most = MOST_ROWS + 1;
                    let text = format!("SELECT t.ctid, {by}, {columns} FROM {place} WHERE {under_way} LIMIT {most}");
                    let keep = |_: usize, values: &[Option<&str>]| {
                        let [place, by, values @ ..] = values else { return None };
                        let row = row_of_values(values)?;
                        size += row.len();
                        count += 1;
                        if size <= MOST_FOUND {
                            found.push(Passing { place: (*place)?.to_owned(), by: (*by)?.parse().ok()?, row });
                        }
                        Some(())
                    };
                    server.ask(&text, keep).await.map_err(|error| error.to_string())?;
                }
                if size > MOST_FOUND {
                    table.missing = Some(TOO_LONG.to_owned());
                } else if count > MOST_ROWS {
                    table.missing = Some(too_many());
                }
                all.push(found);
            }
            server.bye().await.map_err(|error| error.to_string())?;
            Ok(all)
        };
        timeout(QUESTION, asking).await.map_err(|_| "the server takes too long".to_owned())?
    }

    /// Those of them that our transaction has ended: it does not see them any more, and what has ended them is still under way. (What others
    /// are about to end is still there for it, and so is what it has only locked.)
    async fn gone(
        &mut self,
        way: &Way,
        table: &Taken,
        mut ending: Vec<Passing>,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Result<Vec<Bytes>, String>, Ending> {
        // As the server has written them; nothing else can stand in a literal of ours.
        let is_place = |place: &str| place.bytes().all(|byte| byte.is_ascii_digit() || b"(),".contains(&byte));
        if !ending.iter().all(|row| is_place(&row.place)) {
            return Ok(Err("it gives a row a place that is none".to_owned()));
        }
        if ending.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let places: Vec<_> = ending.iter().map(|row| format!("\"{}\"", row.place)).collect();
        let text = format!(
            "SELECT t.ctid FROM {} WHERE t.ctid OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.tid[])",
            Taken::place(&table.relation),
            places.join(",")
        );
        let there = match self.answers(way, &text, session, writer, around).await? {
            Ok(there) => there,
            Err(error) => return Ok(Err(error)),
        };
        ending.retain(|row| !there.contains(&row.place));
        // Afterwards: others may have come to their end meanwhile.
        let by: BTreeSet<_> = ending.iter().map(|row| row.by.to_string()).collect();
        let by = by.into_iter().collect::<Vec<_>>().join(",");
        let text = format!(
            "SELECT n FROM pg_catalog.unnest('{{{by}}}'::pg_catalog.int8[]) AS n \
             WHERE pg_catalog.txid_status(n) OPERATOR(pg_catalog.=) 'in progress'::pg_catalog.text"
        );
        let under_way = match self.answers(way, &text, session, writer, around).await? {
            Ok(under_way) => under_way,
            Err(error) => return Ok(Err(error)),
        };
        ending.retain(|row| under_way.contains(&row.by.to_string()));
        Ok(Ok(ending.into_iter().map(|row| row.row).collect()))
    }

    /// The first values of the rows that answer a question of ours.
    async fn answers(
        &mut self,
        way: &Way,
        text: &str,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Result<BTreeSet<String>, String>, Ending> {
        let first = |body: &Bytes| Some(row(body)?.into_iter().next()??.to_owned());
        let heard = self.question(way, text, session, writer, around).await?;
        Ok(heard.map(|heard| heard.rows.iter().filter_map(first).collect()))
    }

    /// The transaction and its parts that have changed something, by their numbers; without those that have ended well (a block
    /// with an exception handler is one), which hold no lock any more. Those are younger than what they were begun in.
    async fn transactions(
        &mut self,
        way: &Way,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Vec<String>, Ending> {
        // Each holds a lock on its own number (`AssignTransactionId`).
        let text = "SELECT l.transactionid::pg_catalog.text FROM pg_catalog.pg_locks l \
             WHERE l.locktype OPERATOR(pg_catalog.=) 'transactionid'::pg_catalog.text AND l.granted \
             AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock'::pg_catalog.text \
             AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";
        let heard = self.question(way, text, session, writer, around).await?;
        let heard = heard.map_err(|error| Ending::Server(format!("it does not say its transactions: {error}")))?;
        let id = |body: &Bytes| {
            let id = row(body)?.into_iter().next()??.to_owned();
            id.bytes().all(|byte| byte.is_ascii_digit()).then_some(id)
        };
        Ok(heard.rows.iter().filter_map(id).collect())
    }

    /// Something of ours that has to go well.
    async fn word(
        &mut self,
        way: &Way,
        text: &str,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Ending> {
        let heard = self.question(way, text, session, writer, around).await?;
        heard.map(drop).map_err(|error| Ending::Server(format!("it refuses to {text}: {error}")))
    }

    /// A statement of ours.
    async fn question(
        &mut self,
        way: &Way,
        text: &str,
        session: &mut Session,
        writer: &mut Writer<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Result<Heard, String>, Ending> {
        let (mut bytes, last) = if way.is_text() {
            (BytesMut::from(Frame::query(text).bytes()), Last::Ready)
        } else {
            let name = [NAME.as_bytes(), b"\0"].concat();
            let mut bytes = BytesMut::from(Frame::parse(NAME, text).bytes());
            bytes.extend_from_slice(&message(b'B', &[&name, &name, &[0; 6]]));
            bytes.extend_from_slice(&message(b'D', &[b"P", &name]));
            bytes.extend_from_slice(&message(b'E', &[&name, &[0; 4]]));
            bytes.extend_from_slice(&message(b'C', &[b"P", &name]));
            bytes.extend_from_slice(&message(b'C', &[b"S", &name]));
            bytes.extend_from_slice(&message(b'H', &[]));
            (bytes, Last::Closed)
        };
        self.tell(writer, &mut bytes).await?;
        let heard = self.hear(last, None, session, around, Instant::now() + QUESTION, None).await?;
        Ok(match heard.error {
            None => Ok(heard),
            Some((code, message)) => Err(format!("{code} {message}")),
        })
    }

    pub(super) async fn tell(&mut self, writer: &mut Writer<'_>, bytes: &mut BytesMut) -> Result<(), Ending> {
        while writer.owes(bytes) {
            writer.send(bytes).await.map_err(|error| lost(&error))?;
        }
        Ok(())
    }

    /// Reads an answer to its end; an error is the end in the extended protocol. What takes too long is stopped.
    async fn hear(
        &mut self,
        last: Last,
        keep: Option<usize>,
        session: &mut Session,
        around: &Surroundings<'_>,
        ends: Instant,
        held: Option<&Held>,
    ) -> Result<Heard, Ending> {
        let (mut heard, mut closed, mut ends) = (Heard::default(), 0, ends);
        loop {
            let next = self.server_splitter.next(&mut self.server_inbox.buffer, |_| Some(64 << 20));
            let frame = match next.map_err(|error| Ending::Server(error.to_string()))? {
                Some(Chunk::Whole(frame)) => frame,
                Some(Chunk::Passing { .. } | Chunk::Beginning(_) | Chunk::Skipped(_)) => {
                    return Err(Ending::Server("a message passed unseen".to_owned()));
                }
                None => {
                    let cancelled = async {
                        match held {
                            Some(held) => held.cancelled().await,
                            None => std::future::pending().await,
                        }
                    };
                    let stop = tokio::select! {
                        read = self.server_inbox.fill(&mut self.server) => {
                            if read.map_err(|error| lost(&error))? == 0 {
                                return Err(Ending::Server("it closed the connection".to_owned()));
                            }
                            continue;
                        }
                        () = sleep_until(ends) => Stopped::TooSlow,
                        () = cancelled, if heard.stopped.is_none() => Stopped::Cancelled,
                        () = around.killed.told(), if heard.stopped.is_none() => Stopped::Killed,
                    };
                    if heard.stopped.is_some() && stop == Stopped::TooSlow {
                        return Err(Ending::Server("it does not stop".to_owned()));
                    }
                    if heard.stopped.is_none() {
                        around.stop_server().await;
                    }
                    heard.stopped.get_or_insert(stop);
                    ends = Instant::now() + PATIENCE;
                    continue;
                }
            };
            let tag = frame.tag();
            match keep {
                _ if matches!(tag, b'S' | b'A') => {}
                Some(most) if heard.bytes.len() + frame.bytes().len() <= most => {
                    heard.bytes.extend_from_slice(frame.bytes());
                }
                Some(_) => heard.too_long = true,
                None => {}
            }
            if tag == b'D' {
                heard.count += 1;
                if keep.is_none() {
                    heard.found += frame.body().len();
                    if heard.found <= MOST_FOUND {
                        heard.rows.push(Bytes::copy_from_slice(frame.body()));
                    } else {
                        heard.too_long = true;
                    }
                }
                continue;
            }
            match Backend::decode(&frame).map_err(|error| Ending::Server(error.to_string()))? {
                Backend::ParameterStatus { .. } | Backend::NotificationResponse => {
                    session.backend(&frame, &mut self.out)?;
                }
                Backend::NoticeResponse(_) => {}
                Backend::RowDescription { .. } => {
                    heard.shape = described(&frame).map_err(|error| Ending::Server(error.to_string()))?;
                }
                Backend::CommandComplete { tag } => {
                    heard.tag = Some(tag.to_owned());
                    if last == Last::Complete {
                        return Ok(heard);
                    }
                }
                Backend::EmptyQueryResponse | Backend::PortalSuspended => {
                    if last == Last::Complete {
                        return Ok(heard);
                    }
                }
                Backend::ErrorResponse(fields) if fields.is_fatal() => {
                    session.backend(&frame, &mut self.out)?;
                    return Err(Ending::ServerEnded);
                }
                Backend::ErrorResponse(fields) => {
                    let message = fields.get(b'M').unwrap_or_default().to_owned();
                    heard.error = Some((fields.sqlstate().to_owned(), message));
                    if last != Last::Ready {
                        return Ok(heard);
                    }
                }
                Backend::ReadyForQuery(status) if last == Last::Ready => {
                    // Where it fails in a transaction, nothing is kept of it.
                    if status == TransactionStatus::Failed && heard.error.is_none() {
                        return Err(Ending::Server("a transaction has failed unsaid".to_owned()));
                    }
                    return Ok(heard);
                }
                Backend::BindComplete if last == Last::Bound => return Ok(heard),
                Backend::CloseComplete if last == Last::Closed => {
                    closed += 1;
                    if closed == 2 {
                        return Ok(heard);
                    }
                }
                Backend::ParseComplete | Backend::BindComplete | Backend::CloseComplete | Backend::NoData => {}
                Backend::ReadyForQuery(_)
                | Backend::ParameterDescription
                | Backend::CopyInResponse
                | Backend::CopyOutResponse
                | Backend::CopyDone
                | Backend::Authentication { .. }
                | Backend::BackendKeyData { .. }
                | Backend::NegotiateProtocolVersion => {
                    return Err(Ending::Server(format!("message `{}` that nobody asked for", tag.escape_ascii())));
                }
            }
        }
    }
}

impl Way {
    fn is_text(&self) -> bool {
        match self {
            Self::Text { .. } => true,
            Self::Portal { .. } => false,
        }
    }

    fn is_in_block(&self) -> bool {
        match self {
            Self::Text { in_block } | Self::Portal { in_block, .. } => *in_block,
        }
    }
}

/// A message of ours.
fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    [[tag].as_slice(), &length.to_be_bytes(), &body].concat()
}

/// The rows that a command tag counts.
fn affected(tag: &str) -> Option<u64> {
    let mut words = tag.split(' ');
    match words.next()? {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" => words.next_back()?.parse().ok(),
        _ => None,
    }
}

fn number(heard: &Heard) -> Option<u64> {
    let values = values_of_row(heard.rows.first()?)?;
    std::str::from_utf8(values.first().copied()??).ok()?.parse().ok()
}

/// SHA-256 over parts, in hexadecimal; lengths first, so that they do not run together.
fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether as many rows were found as the server says it has changed; those that were too many to be kept count as found.
fn finds_all(verb: &str, affected: u64, taken: &[Taken]) -> bool {
    if taken.iter().any(|table| table.missing.is_some()) {
        return true;
    }
    let sum = |count: fn(&Taken) -> usize| taken.iter().map(|table| count(table) as u64).sum::<u64>();
    let (before, after) = (sum(|table| table.before.len()), sum(|table| table.after.len()));
    match verb {
        "INSERT" => after >= affected,
        "DELETE" => before >= affected,
        "UPDATE" => before >= affected && after >= affected,
        _ => before + after >= affected,
    }
}

/// The effect as a number: the count and the rows, in an order of their own. `true` if those are all rows that it changes.
fn digest_of(affected: u64, taken: &[Taken]) -> (String, bool) {
    let mut parts = vec![affected.to_string().into_bytes()];
    let mut whole = true;
    for table in taken {
        parts.push(relation_name(&table.relation).into_bytes());
        if table.missing.is_some() {
            // Which of them were found is chance.
            whole = false;
            continue;
        }
        for rows in [&table.before, &table.after] {
            let mut rows: Vec<_> = rows.iter().map(|row| row.to_vec()).collect();
            rows.sort();
            parts.push(rows.len().to_string().into_bytes());
            parts.extend(rows);
        }
    }
    let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
    (digest(&parts), whole)
}

fn too_many() -> String {
    format!("more than {MOST_ROWS} rows are changed; these are some of them")
}

/// The one that was begun first: numbers of transactions come back after 2^32.
fn older(one: u32, other: u32) -> u32 {
    if one.wrapping_sub(other).cast_signed() < 0 { one } else { other }
}

/// What is true, in SQL, of a column with a transaction's number where that is under way and no older than `first`. `whole` is the number
/// of our transaction, which is older than any of its parts, with the epoch in its upper half.
///
/// A row that we see and that such a transaction has made is ours. Where other numbers may stand in the column too (of several who have
/// locked a row together), `next` is one that no transaction under way has: asking for what is to come is an error.
fn is_under_way(column: &str, first: u32, whole: u64, next: Option<u64>) -> String {
    let number = whole_number(column, whole);
    let asked = format!("pg_catalog.txid_status({number}) OPERATOR(pg_catalog.=) 'in progress'::pg_catalog.text");
    let asked = match next {
        Some(next) => {
            format!("CASE WHEN {number} OPERATOR(pg_catalog.<) {next}::pg_catalog.int8 THEN {asked} ELSE false END")
        }
        None => asked,
    };
    format!(
        "CASE WHEN pg_catalog.age({column}) OPERATOR(pg_catalog.<=) pg_catalog.age('{first}'::pg_catalog.xid) THEN {asked} \
         ELSE false END"
    )
}

/// The number of a transaction that is younger than ours, with its epoch, in SQL.
fn whole_number(column: &str, whole: u64) -> String {
    const CATALOG: &str = "OPERATOR(pg_catalog.";
    let ours = whole & u64::from(u32::MAX);
    format!(
        "({whole}::pg_catalog.int8 {CATALOG}+) (({column}::pg_catalog.text::pg_catalog.int8 {CATALOG}-) {ours}::pg_catalog.int8 \
         {CATALOG}+) 4294967296::pg_catalog.int8) {CATALOG}%) 4294967296::pg_catalog.int8))"
    )
}

fn relation_name(relation: &Relation) -> String {
    format!("{}.{}", relation.id.schema, relation.id.name)
}

#[cfg(test)]
mod tests {
    use super::older;

    #[test]
    fn numbers_of_transactions_come_back() {
        for (numbers, first) in
            [(&[7, 5, 6][..], 5), (&[u32::MAX - 1, 3, 4], u32::MAX - 1), (&[4, u32::MAX], u32::MAX), (&[9], 9)]
        {
            assert_eq!(numbers.iter().copied().reduce(older), Some(first), "{numbers:?}");
        }
    }
}
