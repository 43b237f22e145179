//! What agents have had: budgets over many statements and sessions.
//!
//! Everything is counted when it leaves, not when it is asked for, so that neither portals nor pipelines nor a second
//! connection make it more. The counts live as long as the daemon.

use super::refusal::Refusal;
use crate::policy::{Budget, Counted, Per, Totals};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The time over which an agent's totals are counted for the context of policies, in seconds.
pub const TOTALS_OVER: u64 = 3600;
/// Parts of a window: what was counted leaves it in steps of that many.
const STEPS: u64 = 60;
/// Accounts that are kept before those that nobody uses any more are looked for.
const MANY: usize = 4096;

/// The accounts of all agents.
#[derive(Debug, Default)]
pub struct Budgets {
    now: Arc<AtomicU64>,
    accounts: Mutex<HashMap<Key, Arc<Account>>>,
}

/// Whose account: issuer and subject of the agent, and what for; `None` for its totals.
type Key = (Arc<str>, Arc<str>, Option<Budget>);

impl Budgets {
    /// What time it is, in seconds since 1970. Never goes back.
    pub fn tick(&self, unix: u64) {
        self.now.fetch_max(unix, Ordering::Relaxed);
    }

    /// What an agent has had in the last hour.
    pub fn totals(&self, issuer: &str, subject: &str) -> Totals {
        self.account(issuer, subject, None).totals()
    }

    /// The account of an agent for a budget.
    pub(super) fn account(&self, issuer: &str, subject: &str, budget: Option<&Budget>) -> Arc<Account> {
        let key = (issuer.into(), subject.into(), budget.cloned());
        let mut accounts = lock(&self.accounts);
        if accounts.len() >= MANY && !accounts.contains_key(&key) {
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_spent_nothing());
        }
        let over = match budget.map(|budget| budget.allowance.per) {
            Some(Per::Seconds(seconds)) => Some(seconds),
            None => Some(TOTALS_OVER),
            Some(Per::Session) => None,
        };
        accounts.entry(key).or_insert_with(|| Arc::new(Account::new(over, self.now.clone()))).clone()
    }

    /// An account that nobody else has.
    pub(super) fn own_account(&self) -> Arc<Account> {
        Arc::new(Account::new(None, self.now.clone()))
    }
}

/// What has been counted, in a window that moves with the time.
#[derive(Debug)]
pub(super) struct Account {
    /// The window's length in seconds; `None` for one that nothing leaves.
    over: Option<u64>,
    now: Arc<AtomicU64>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    sum: Totals,
    /// From when on, and how much since.
    steps: VecDeque<(u64, Totals)>,
}

impl Account {
    fn new(over: Option<u64>, now: Arc<AtomicU64>) -> Self {
        Self { over, now, window: Mutex::default() }
    }

    /// What counts now.
    pub(super) fn totals(&self) -> Totals {
        self.current().sum
    }

    fn is_spent_nothing(&self) -> bool {
        self.current().sum == Totals::default()
    }

    /// Counts this much.
    pub(super) fn add(&self, totals: Totals) {
        self.record(&mut self.current(), totals);
    }

    /// Counts so much of `wanted` as fits under `most`, and returns it.
    fn take(&self, counted: Counted, wanted: u64, most: u64) -> u64 {
        let mut window = self.current();
        let granted = wanted.min(most.saturating_sub(of(&window.sum, counted)));
        self.record(&mut window, totals(counted, granted));
        granted
    }

    /// Seconds until something leaves the window.
    fn frees_in(&self) -> Option<u64> {
        let window = self.current();
        let (from, _) = window.steps.front()?;
        Some((from + self.step()? + self.over?).saturating_sub(self.now.load(Ordering::Relaxed)))
    }

    fn step(&self) -> Option<u64> {
        self.over.map(|seconds| (seconds / STEPS).max(1))
    }

    /// The window without what is too old.
    fn current(&self) -> MutexGuard<'_, Window> {
        let mut window = lock(&self.window);
        if let (Some(over), Some(step)) = (self.over, self.step()) {
            let now = self.now.load(Ordering::Relaxed);
            while let Some((from, gone)) = window.steps.front().copied()
                && from + step + over <= now
            {
                window.steps.pop_front();
                window.sum = window.sum.without(gone);
            }
        }
        window
    }

    fn record(&self, window: &mut Window, totals: Totals) {
        window.sum = window.sum.and(totals);
        let Some(step) = self.step() else { return };
        let now = self.now.load(Ordering::Relaxed);
        match window.steps.back_mut() {
            Some((from, counted)) if *from + step > now => *counted = counted.and(totals),
            _ => window.steps.push_back((now, totals)),
        }
    }
}

/// What a statement may still take of one budget.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) budget: Budget,
    pub(super) account: Arc<Account>,
}

impl Share {
    /// Whether this is what it counts.
    pub(super) fn counts(&self, what: Counted) -> bool {
        self.budget.allowance.counted == what
    }

    /// How much is left.
    pub(super) fn left(&self) -> u64 {
        self.budget.allowance.most.saturating_sub(of(&self.account.totals(), self.budget.allowance.counted))
    }

    /// Counts so much of `wanted` as is left, and returns it.
    pub(super) fn take(&self, wanted: u64) -> u64 {
        self.account.take(self.budget.allowance.counted, wanted, self.budget.allowance.most)
    }

    /// Counts it whatever is left: it has left already.
    pub(super) fn spend(&self, amount: u64) {
        self.account.add(totals(self.budget.allowance.counted, amount));
    }

    /// Gives back what was taken and has not left after all.
    pub(super) fn give_back(&self, amount: u64) {
        let mut window = self.account.current();
        let returned = totals(self.budget.allowance.counted, amount);
        window.sum = window.sum.without(returned);
        if let Some((_, counted)) = window.steps.back_mut() {
            *counted = counted.without(returned);
        }
    }

    /// The refusal when it is used up.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::BudgetSpent { budget: self.budget.clone(), frees_in: self.account.frees_in() }
    }
}

fn of(totals: &Totals, counted: Counted) -> u64 {
    match counted {
        Counted::Rows => totals.rows,
        Counted::Bytes => totals.bytes,
        Counted::Affected => totals.affected,
        Counted::Statements => totals.statements,
    }
}

fn totals(counted: Counted, amount: u64) -> Totals {
    let mut totals = Totals::default();
    match counted {
        Counted::Rows => totals.rows = amount,
        Counted::Bytes => totals.bytes = amount,
        Counted::Affected => totals.affected = amount,
        Counted::Statements => totals.statements = amount,
    }
    totals
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Allowance;

    fn share(budgets: &Budgets, subject: &str, per: Per) -> Share {
        let budget = Budget { policy: "p".into(), allowance: Allowance { counted: Counted::Rows, most: 100, per } };
        Share { account: budgets.account("https://issuer", subject, Some(&budget)), budget }
    }

    #[test]
    fn what_was_had_leaves_the_window_with_the_time() {
        let budgets = Budgets::default();
        budgets.tick(1_000_000);
        let hour = Per::Seconds(3600);
        assert_eq!(share(&budgets, "a", hour).take(60), 60);
        budgets.tick(1_001_800);
        assert_eq!(share(&budgets, "a", hour).take(60), 40, "another session of the same agent");
        assert_eq!(share(&budgets, "a", hour).take(60), 0);
        assert_eq!(share(&budgets, "b", hour).take(60), 60, "another agent");
        assert_eq!(share(&budgets, "a", hour).account.frees_in(), Some(1860));
        budgets.tick(1_000_000 + 3600);
        assert_eq!(share(&budgets, "a", hour).left(), 0, "a step counts until all of it is too old");
        budgets.tick(1_000_000 + 3660);
        assert_eq!(share(&budgets, "a", hour).left(), 60);
        budgets.tick(5);
        assert_eq!(share(&budgets, "a", hour).left(), 60, "time does not go back");
        budgets.tick(2_000_000);
        assert_eq!(share(&budgets, "a", hour).left(), 100);
    }

    #[test]
    fn what_was_not_used_can_be_given_back() {
        let budgets = Budgets::default();
        let share = share(&budgets, "a", Per::Seconds(60));
        assert_eq!(share.take(100), 100);
        share.give_back(30);
        assert_eq!(share.left(), 30);
        share.spend(50);
        assert_eq!(share.left(), 0);
    }

    #[test]
    fn accounts_that_nobody_uses_go() {
        let budgets = Budgets::default();
        budgets.tick(1000);
        for number in 0..MANY {
            share(&budgets, &number.to_string(), Per::Seconds(10)).take(1);
        }
        let held = share(&budgets, "0", Per::Seconds(10));
        budgets.tick(2000);
        share(&budgets, "one more", Per::Seconds(10));
        assert_eq!(lock(&budgets.accounts).len(), 2);
        assert_eq!(held.left(), 100);
    }
}
