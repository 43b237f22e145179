//! What programs have shown lately. They open many connections, and what they are asked for changes rarely; to read it takes
//! a thread that can wait, and more than all the rest of a log-in.

use super::{evidence::Evidence, process::Image};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One program in one process and cgroup: neither a number that is used again nor `execve(2)` makes another one look like it.
type Program = (u32, u64, Image, u64);

#[derive(Debug)]
pub(super) struct Recent<T> {
    /// For how long what was read is taken for what would be read.
    lately: Duration,
    shown: Mutex<Shown<T>>,
}

#[derive(Debug)]
struct Shown<T> {
    by: HashMap<Program, (Instant, T)>,
    /// When those were thrown out last that are too old.
    swept: Instant,
}

impl<T: Clone> Recent<T> {
    pub(super) fn of(lately: Duration) -> Self {
        Self { lately, shown: Mutex::new(Shown { by: HashMap::new(), swept: Instant::now() }) }
    }

    pub(super) fn get(&self, evidence: &Evidence) -> Option<T> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, what) = shown.by.get(&program(evidence)?)?;
        (at.elapsed() < self.lately).then(|| what.clone())
    }

    /// Nothing is kept of a process whose programs cannot be told apart.
    pub(super) fn keep(&self, evidence: &Evidence, what: T) {
        let Some(program) = program(evidence) else { return };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.swept.elapsed() >= self.lately {
            shown.by.retain(|_, (at, _)| at.elapsed() < self.lately);
            shown.swept = Instant::now();
        }
        shown.by.insert(program, (Instant::now(), what));
    }

    /// The next time it is read.
    pub(super) fn forget(&self, evidence: &Evidence) {
        if let Some(program) = program(evidence) {
            self.shown.lock().unwrap_or_else(PoisonError::into_inner).by.remove(&program);
        }
    }
}

fn program(evidence: &Evidence) -> Option<Program> {
    Some((evidence.pid, evidence.start, evidence.image?, *evidence.cgroup_ids.first()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_process_start_and_image() {
        let recent = Recent::of(Duration::from_secs(10));
        let one = Evidence { pid: 7, start: 8, image: Some([1, 2, 3]), cgroup_ids: vec![4, 1], ..Evidence::default() };
        recent.keep(&one, "token");
        assert_eq!(recent.get(&one), Some("token"));
        for other in [
            Evidence { pid: 6, ..one.clone() },
            Evidence { start: 9, ..one.clone() },
            Evidence { image: Some([1, 2, 4]), ..one.clone() },
            Evidence { image: None, ..one.clone() },
            Evidence { cgroup_ids: vec![5, 4, 1], ..one.clone() },
        ] {
            assert_eq!(recent.get(&other), None, "{other:?}");
        }
        recent.forget(&one);
        assert_eq!(recent.get(&one), None);
        let unseen = Evidence { image: None, ..one };
        recent.keep(&unseen, "other");
        assert_eq!(recent.get(&unseen), None);
    }
}
