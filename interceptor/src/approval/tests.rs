//! Requests and what becomes of them, written as who does what in turn; and many at once.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Wake, Waker};

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Notes {
    texts: Mutex<Vec<String>>,
    fails: bool,
}

impl Recorder for Notes {
    fn record(&self, _event: Event, text: &str) -> Result<(), NotKept> {
        if self.fails {
            return Err("the disk is full".into());
        }
        self.texts.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

fn asked(needs: &[(&str, u32)]) -> Asked {
    Asked {
        agent: "agent:a".into(),
        issuer: "https://issuer".into(),
        cgroup: "/jobs/7".into(),
        on_behalf_of: Some("alice@corp".into()),
        statement: "delete from orders".into(),
        needs: needs.iter().map(|(group, voices)| ((*group).to_owned(), *voices)).collect(),
        ..Asked::default()
    }
}

fn person(subject: &str, groups: &[&str]) -> Approver {
    Approver::Person {
        subject: subject.into(),
        issuer: "https://issuer".into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        on_behalf_of: None,
    }
}

fn root(cgroup: &str) -> Approver {
    Approver::LocalRoot { cgroup: Some(cgroup.into()) }
}

fn statement(text: &str) -> Binding {
    Binding::of([text.as_bytes()])
}

/// A desk, the tickets and the approvals that are out, by name.
struct Room {
    desk: Arc<Desk>,
    notes: Arc<Notes>,
    needs: Vec<(&'static str, u32)>,
    tickets: BTreeMap<String, Ticket>,
    grants: BTreeMap<String, Grant>,
    now: u64,
}

impl Room {
    fn new(settings: Settings, needs: &[(&'static str, u32)]) -> Self {
        Self {
            desk: Arc::new(Desk::new(settings)),
            notes: Arc::default(),
            needs: needs.to_vec(),
            tickets: BTreeMap::new(),
            grants: BTreeMap::new(),
            now: 0,
        }
    }

    fn id(&self) -> String {
        self.desk.list(self.now).last().map(|request| request.id.clone()).unwrap_or_default()
    }

    /// One line: `ask NAME STATEMENT`, `look NAME`, `leave NAME`, `withdraw NAME`, `spend NAME`, `drop NAME` (of an approval),
    /// `approve WHO GROUPS`, `deny WHO GROUPS WORDS`, `root`, `glass REASON`, `at SECONDS`.
    fn act(&mut self, line: &str) -> String {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let (name, rest) = (words.get(1).copied().unwrap_or_default(), words.get(2).copied().unwrap_or_default());
        let groups = |rest: &str| rest.split(',').map(str::to_owned).collect::<Vec<_>>();
        let who = |rest: &str| person(name, &groups(rest).iter().map(String::as_str).collect::<Vec<_>>());
        let told = |decided: Result<Request, Unable>| {
            decided.map_or_else(|error| error.to_string(), |request| request.state.to_string())
        };
        match words[0] {
            "at" => {
                self.now = name.parse().unwrap();
                self.desk.settle(self.now);
                String::new()
            }
            "ask" => match self.desk.ask(asked(&self.needs), statement(rest), self.notes.clone(), self.now) {
                Ok(Answer::Granted(grant)) => {
                    self.grants.insert(name.into(), grant);
                    "granted".into()
                }
                Ok(Answer::Waits { ticket, new }) => {
                    self.tickets.insert(name.into(), ticket);
                    if new { "new" } else { "joined" }.into()
                }
                Err(NotAsked::TooMany(most)) => format!("too many: {most}"),
                Err(NotAsked::TooOften(most)) => format!("too often: {most}"),
                Err(NotAsked::Unrecorded(error)) => format!("unrecorded: {error}"),
            },
            "look" => match self.tickets[name].outlook(statement(if rest.is_empty() { "x" } else { rest }), self.now) {
                Outlook::Open => "open".into(),
                Outlook::Granted(grant) => {
                    self.grants.insert(name.into(), grant);
                    "granted".into()
                }
                Outlook::Denied { by, comment } => format!("denied by {by}: {}", comment.unwrap_or_default()),
                Outlook::Expired => "expired".into(),
                Outlook::Withdrawn => "withdrawn".into(),
                Outlook::Gone => "gone".into(),
            },
            "leave" => {
                self.tickets.remove(name);
                String::new()
            }
            "withdraw" => {
                self.tickets[name].withdraw(self.now);
                String::new()
            }
            "spend" => match self.grants.remove(name).unwrap().spend(&*self.notes) {
                Ok(()) => "spent".into(),
                Err(error) => error.to_string(),
            },
            "drop" => {
                self.grants.remove(name);
                String::new()
            }
            "approve" => told(self.desk.approve(&self.id(), &who(rest), Some("fine"), self.now)),
            "deny" => told(self.desk.deny(&self.id(), &who(rest), Some("no"), self.now)),
            "root" => told(self.desk.approve(&self.id(), &root("/admin"), None, self.now)),
            "agent" => told(self.desk.approve(&self.id(), &root(name), None, self.now)),
            "agent-glass" => told(self.desk.break_glass(&self.id(), &root(name), "fire", self.now)),
            "glass" => told(self.desk.break_glass(&self.id(), &root("/admin"), name, self.now)),
            other => panic!("{other}"),
        }
    }
}

/// `what is done -> what comes of it`, a line each; after the last line what was recorded, one word each.
#[track_caller]
fn check(settings: Settings, needs: &[(&'static str, u32)], script: &str, recorded: &str) {
    let mut room = Room::new(settings, needs);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (does, expected) = line.split_once(" -> ").unwrap_or((line, ""));
        assert_eq!(room.act(does), expected, "{line}");
    }
    let texts = room.notes.texts.lock().unwrap();
    let words: Vec<_> = texts.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(words.join(" "), recorded, "{texts:?}");
}

fn usual() -> Settings {
    Settings::default()
}

#[test]
fn a_yes_is_good_for_one_statement() {
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         look one -> open
         approve bob dba -> approved
         look one -> granted
         look one -> gone
         ask two x -> new
         spend one -> spent
         look one -> gone
         ask three x -> joined",
        "asked approved asked used",
    );
}

#[test]
fn an_approval_outlives_its_client_and_is_for_nothing_else() {
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         leave one
         approve bob dba -> approved
         ask two y -> new
         ask three x -> granted
         ask four x -> new
         spend three -> spent
         ask five x -> joined",
        "asked approved asked asked used",
    );
    // Not spent after all: it is there for the next.
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         approve bob dba -> approved
         look one -> granted
         drop one
         ask two x -> granted
         spend two -> spent",
        "asked approved used",
    );
    // What would run now is another statement.
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         look one y -> gone
         approve bob dba -> approved
         look one y -> gone
         look one x -> granted",
        "asked approved",
    );
    // It does not wait for ever.
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         approve bob dba -> approved
         leave one
         at 599
         at 600
         ask two x -> new",
        "asked approved expired asked",
    );
}

#[test]
fn a_no_and_no_answer() {
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         ask two x -> joined
         deny bob dba -> denied
         look one -> denied by bob: no
         look two -> denied by bob: no
         ask three x -> new",
        "asked denied asked",
    );
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         at 599
         look one -> open
         at 600
         look one -> expired
         ask two x -> new",
        "asked expired asked",
    );
}

#[test]
fn taking_it_back() {
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         withdraw one
         look one -> withdrawn",
        "asked withdrawn",
    );
    // Others still want it.
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         ask two x -> joined
         withdraw one
         look one -> withdrawn
         look two -> open
         approve bob dba -> approved
         look two -> granted",
        "asked approved",
    );
    // Too late.
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         approve bob dba -> approved
         withdraw one
         look one -> granted",
        "asked approved",
    );
}

#[test]
fn whose_yes_counts() {
    check(
        usual(),
        &[("dba", 1)],
        "ask one x -> new
         approve carol readers -> `carol` is not in `dba`, which has to approve it
         approve agent:a dba -> `agent:a` is who asks, or whom the agent acts for: somebody else has to approve it
         approve alice@corp dba -> `alice@corp` is who asks, or whom the agent acts for: somebody else has to approve it
         approve Alice@Corp dba -> `Alice@Corp` is who asks, or whom the agent acts for: somebody else has to approve it
         deny carol readers -> `carol` is not in `dba`, which has to approve it
         look one -> open
         approve bob dba -> approved",
        "asked approved",
    );
    check(
        Settings { self_approval: true, ..usual() },
        &[("dba", 1)],
        "ask one x -> new
         approve alice@corp dba -> approved",
        "asked approved",
    );
    check(
        usual(),
        &[("dba", 2)],
        "ask one x -> new
         approve bob dba -> open
         approve bob dba -> `bob` has approved it already; somebody else has to as well
         look one -> open
         approve dave dba,finance -> approved",
        "asked seconded approved",
    );
    check(
        usual(),
        &[("dba", 1), ("finance", 1)],
        "ask one x -> new
         approve bob dba -> open
         approve dave finance -> approved",
        "asked seconded approved",
    );
    // One who is in both groups is asked by both.
    check(
        usual(),
        &[("dba", 1), ("finance", 1)],
        "ask one x -> new
         approve dave dba,finance -> approved",
        "asked approved",
    );
}

#[test]
fn root_of_this_host() {
    let refused = "root of this host is nobody's approver here: show a token (--token-file), set `local_root = true` in \
                   [approval], or break the glass with a reason (--break-glass)";
    check(usual(), &[("dba", 1)], &format!("ask one x -> new\nroot -> {refused}\nlook one -> open"), "asked");
    let root = Settings { local_root: true, ..usual() };
    check(root.clone(), &[("dba", 1)], "ask one x -> new\nroot -> approved\nlook one -> granted", "asked approved");
    // It is one of two, and no more.
    let again = "`local:root` has approved it already; somebody else has to as well";
    check(root, &[("dba", 2)], &format!("ask one x -> new\nroot -> open\nroot -> {again}"), "asked seconded");
    // A process beside the agent is the agent, root or not.
    let local = Settings { local_root: true, ..usual() };
    for (place, counts) in
        [("/jobs/7", false), ("/jobs/7/step", false), ("/jobs", false), ("/jobs/77", true), ("/", true)]
    {
        let said = if counts {
            "approved"
        } else {
            "whoever asks cannot approve it: this process is in `/jobs/7` as the agent is"
        };
        let recorded = if counts { "asked approved" } else { "asked" };
        check(local.clone(), &[("dba", 1)], &format!("ask one x -> new\nagent {place} -> {said}"), recorded);
        check(usual(), &[("dba", 1)], &format!("ask one x -> new\nagent-glass {place} -> {said}"), recorded);
    }
    // The glass is broken with a reason, whatever is needed.
    check(usual(), &[("dba", 2)], "ask one x -> new\nglass fire -> approved\nlook one -> granted", "asked approved");
    check(usual(), &[("dba", 2)], "ask one x -> new\nglass -> breaking the glass needs a reason", "asked");
    let closed = Settings { break_glass: false, ..usual() };
    let refused =
        "only root of this host breaks the glass, without a token, and where `break_glass` in [approval] is not false";
    check(closed, &[("dba", 1)], &format!("ask one x -> new\nglass fire -> {refused}"), "asked");
}

#[test]
fn an_agent_that_acts_for_a_human_approves_nothing() {
    let mut room = Room::new(usual(), &[("dba", 1)]);
    room.act("ask one x");
    let agent = Approver::Person {
        subject: "agent:b".into(),
        issuer: "https://issuer".into(),
        groups: BTreeSet::from(["dba".into()]),
        on_behalf_of: Some("bob".into()),
    };
    let said = room.desk.approve(&room.id(), &agent, None, 0).unwrap_err().to_string();
    assert_eq!(said, "a token that says `agent:b` acts for `bob` approves nothing: people approve for themselves");
}

#[test]
fn agents_cannot_flood() {
    let settings = Settings { open_per_agent: 2, ..usual() };
    check(
        settings,
        &[("dba", 1)],
        "ask one x -> new
         ask again x -> joined
         ask two y -> new
         ask three z -> too many: 2
         leave one
         leave again
         ask three z -> too many: 2
         deny bob dba -> denied
         ask three z -> new",
        "asked asked denied asked",
    );
}

#[test]
fn agents_cannot_wear_people_out() {
    // Whatever comes of them: those that are withdrawn at once count too.
    let settings = Settings { requests_per_minute: 2, ..usual() };
    check(
        settings,
        &[("dba", 1)],
        "ask one x -> new
         withdraw one
         ask two x -> new
         deny bob dba -> denied
         ask three x -> too often: 2
         at 59
         ask three y -> too often: 2
         at 60
         ask three x -> new",
        "asked withdrawn asked denied asked",
    );
    let mut room = Room::new(usual(), &[("dba", 1)]);
    for line in ["ask one x", "deny bob dba", "ask two x", "deny bob dba", "ask three x"] {
        room.act(line);
    }
    assert_eq!(room.desk.list(0).iter().map(|request| request.repeats).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_policy_may_let_agents_approve_for_themselves() {
    let desk = Arc::new(Desk::new(usual()));
    let asked = Asked { self_approval: true, ..asked(&[("dba", 1)]) };
    let Ok(Answer::Waits { ticket, .. }) = desk.ask(asked, statement("x"), Arc::new(Notes::default()), 0) else {
        panic!()
    };
    desk.approve(ticket.id(), &person("alice@corp", &["dba"]), None, 0).unwrap();
}

#[test]
fn what_cannot_be_recorded_does_not_happen() {
    let desk = Arc::new(Desk::new(Settings { local_root: true, ..usual() }));
    let broken = Arc::new(Notes { fails: true, ..Notes::default() });
    let sound = Arc::new(Notes::default());
    assert!(matches!(desk.ask(asked(&[("dba", 1)]), statement("x"), broken.clone(), 0), Err(NotAsked::Unrecorded(_))));
    assert_eq!(desk.list(0), []);
    let Ok(Answer::Waits { ticket, .. }) = desk.ask(asked(&[("dba", 1)]), statement("x"), sound, 0) else { panic!() };
    desk.approve(ticket.id(), &person("bob", &["dba"]), None, 0).unwrap();
    let Outlook::Granted(grant) = ticket.outlook(statement("x"), 0) else { panic!() };
    assert!(grant.spend(&*broken).is_err());
    // It has not been used.
    assert!(matches!(ticket.outlook(statement("x"), 0), Outlook::Granted(_)));
}

#[test]
fn whoever_waits_is_woken() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut room = Room::new(usual(), &[("dba", 1)]);
    room.act("ask one x");
    room.act("ask two x");
    assert!(room.tickets["one"].poll(&Context::from_waker(&waker)).is_pending());
    assert!(room.tickets["two"].poll(&Context::from_waker(&waker)).is_pending());
    room.act("leave two");
    room.act("approve bob dba");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(room.tickets["one"].poll(&Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_daemon_that_stops_leaves_nothing_open() {
    let mut room = Room::new(usual(), &[("dba", 1)]);
    room.act("ask one x");
    room.desk.close();
    assert_eq!(room.act("look one"), "expired");
    assert!(room.act("approve bob dba").ends_with("is expired already"));
}

/// So many that nobody could read them: the desk stays quick, and each gets its own word.
#[test]
fn ten_thousand_wait() {
    const MANY: usize = 10_000;
    let settings = Settings { open_per_agent: MANY, requests_per_minute: MANY, ..usual() };
    let desk = Arc::new(Desk::new(settings));
    let notes = Arc::new(Notes::default());
    let since = std::time::Instant::now();
    let tickets: Vec<_> = (0..MANY)
        .map(|at| {
            let asked = Asked { agent: format!("agent:{}", at % 100), digest: at.to_string(), ..asked(&[("dba", 1)]) };
            match desk.ask(asked, statement(&at.to_string()), notes.clone(), 0) {
                Ok(Answer::Waits { ticket, new: true }) => ticket,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(desk.list(0).len(), MANY);
    // Two approvers at once, each from an end of their own; a third says no to some.
    std::thread::scope(|scope| {
        let (bob, dave, erin) = (person("bob", &["dba"]), person("dave", &["dba"]), person("erin", &["dba"]));
        let (desk, tickets) = (&desk, &tickets);
        scope.spawn(move || tickets.iter().for_each(|ticket| drop(desk.approve(ticket.id(), &bob, None, 1))));
        scope.spawn(move || tickets.iter().rev().for_each(|ticket| drop(desk.approve(ticket.id(), &dave, None, 1))));
        scope.spawn(move || tickets.iter().step_by(7).for_each(|ticket| drop(desk.deny(ticket.id(), &erin, None, 1))));
    });
    let (mut granted, mut denied) = (0, 0);
    for (at, ticket) in tickets.iter().enumerate() {
        match ticket.outlook(statement(&at.to_string()), 1) {
            Outlook::Granted(grant) => {
                grant.spend(&*notes).unwrap();
                granted += 1;
            }
            Outlook::Denied { by, .. } => {
                assert_eq!(by, "erin");
                denied += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted + denied, MANY);
    let texts = notes.texts.lock().unwrap();
    let count = |word: &str| texts.iter().filter(|text| text.starts_with(word)).count();
    assert_eq!((count("approved"), count("used"), count("denied")), (granted, granted, denied));
    // Each look at so many takes its time; seconds would keep sessions waiting. (A debug build on a busy machine.)
    assert!(since.elapsed().as_secs() < 120, "{:?}", since.elapsed());
    println!("{MANY} requests asked for, decided and used in {:?}", since.elapsed());
}

/// Approvals, a denial, a cancellation and the end of the time, all at once: one of them happens, and what is approved runs
/// once, however many connections wait for it.
#[test]
fn one_outcome_whoever_is_first() {
    let mut seen = BTreeSet::new();
    for round in 0..400_u64 {
        let desk = Arc::new(Desk::new(usual()));
        let notes = Arc::new(Notes::default());
        let ask = || match desk.ask(asked(&[("dba", 1)]), statement("x"), notes.clone(), 0) {
            Ok(Answer::Waits { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        };
        let mine = ask();
        let id = mine.id().to_owned();
        let start = Barrier::new(6);
        let spent = AtomicUsize::new(0);
        let run = |outlook: Outlook| {
            if let Outlook::Granted(grant) = outlook
                && grant.spend(&*notes).is_ok()
            {
                spent.fetch_add(1, Ordering::SeqCst);
            }
        };
        let go = |work: &dyn Fn()| {
            start.wait();
            work();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| go(&|| drop(desk.approve(&id, &person("bob", &["dba"]), None, 0))));
            scope.spawn(|| go(&|| drop(desk.approve(&id, &person("dave", &["dba"]), None, 0))));
            scope.spawn(|| go(&|| drop(desk.deny(&id, &person("erin", &["dba"]), None, 0))));
            scope.spawn(|| {
                go(&|| {
                    mine.withdraw(0);
                    run(mine.outlook(statement("x"), 0));
                });
            });
            scope.spawn(|| go(&|| desk.settle(if round % 2 == 0 { 600 } else { 0 })));
            // The same agent once more, while that goes on.
            scope.spawn(|| {
                go(&|| match desk.ask(asked(&[("dba", 1)]), statement("x"), notes.clone(), 0) {
                    Ok(Answer::Granted(grant)) => run(Outlook::Granted(grant)),
                    Ok(Answer::Waits { ticket, .. }) => run(ticket.outlook(statement("x"), 0)),
                    Err(error) => panic!("{error:?}"),
                });
            });
        });
        let texts = notes.texts.lock().unwrap();
        let about = |word: &str| texts.iter().filter(|text| text.starts_with(&format!("{word}: request {id}"))).count();
        let ends = [about("approved"), about("denied"), about("withdrawn")];
        // An approval that nobody has used may expire as well.
        let expired = about("expired");
        assert!(ends.iter().sum::<usize>() + usize::from(ends[0] == 0) * expired == 1, "{texts:?}");
        assert!(spent.load(Ordering::SeqCst) <= 1, "{texts:?}");
        assert_eq!(about("used"), spent.load(Ordering::SeqCst), "{texts:?}");
        assert!(ends[0] == 1 || about("used") == 0, "{texts:?}");
        seen.insert(ends);
    }
    assert!(!seen.is_empty());
}
