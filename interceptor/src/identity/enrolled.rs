//! Tokens that somebody with the right to do so has registered for a cgroup or a process, over the control socket: what a
//! runner's prologue does for the job that it is about to start.
//!
//! An enrollment is bound to the number of a cgroup or to one very process, and is gone with it. It holds for what is below
//! the cgroup, and for what the process has started within its cgroup; the closest one decides.

use super::{cgroup::Cgroup, evidence::Evidence, process::Process};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

/// More than these are taken for a mistake.
const MOST: usize = 65_536;

/// What an enrollment is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrollee {
    /// Whatever runs in a cgroup, by its path below the mount or by that of its folder.
    Cgroup(String),
    /// A process, by its number in the daemon's pid namespace, and what it has started.
    Pid(u32),
}

/// An enrollment, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The cgroup that it is bound to, or that its process is in.
    pub cgroup: String,
    /// The process that it is bound to, if it is bound to one.
    pub pid: Option<u32>,
    /// Whose token it is.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// When the token ends, in seconds since 1970.
    pub expires: u64,
}

/// Why nothing was enrolled, or revoked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnrollError {
    /// It is not there.
    #[error("cannot look at {what}: {}", .errno.desc())]
    NotThere {
        /// The cgroup or the process.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The whole host is nobody's job.
    #[error("the root of the hierarchy is the whole host: enroll a cgroup of the job's own")]
    Root,
    /// Nobody would look there.
    #[error("identity.sources does not have `enrolled`, so that nobody would look for it")]
    NotASource,
    /// Too many.
    #[error("there are {MOST} enrollments already")]
    TooMany,
    /// Nothing is bound to it.
    #[error("nothing is enrolled for that")]
    Nothing,
    /// The token is not to be trusted, or belongs to another job.
    #[error(transparent)]
    Token(#[from] super::Unidentified),
}

/// One token and what it is bound to.
#[derive(Debug)]
pub(super) struct Enrollment {
    bound: Bound,
    pub(super) token: String,
    pub(super) info: Enrolled,
    state: AtomicU8,
}

#[derive(Debug)]
enum Bound {
    Cgroup(Cgroup),
    Process { process: Process, start: u64 },
}

/// What has become of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Holds,
    /// Another token has been enrolled in its place.
    Replaced,
    Revoked,
    /// What it was bound to is not there any more.
    Gone,
}

impl Enrollment {
    pub(super) fn standing(&self) -> Standing {
        match self.state.load(Ordering::Acquire) {
            0 if self.is_there() => Standing::Holds,
            0 => Standing::Gone,
            1 => Standing::Replaced,
            _ => Standing::Revoked,
        }
    }

    fn is_there(&self) -> bool {
        match &self.bound {
            Bound::Cgroup(cgroup) => cgroup.is_there(),
            Bound::Process { process, start } => process.stat().is_ok_and(|stat| stat.start == *start),
        }
    }

    fn is_bound_as(&self, other: &Bound) -> bool {
        match (&self.bound, other) {
            (Bound::Cgroup(one), Bound::Cgroup(other)) => one.id == other.id,
            (Bound::Process { process, start }, Bound::Process { process: other, start: others }) => {
                process.pid == other.pid && start == others
            }
            (Bound::Cgroup(_) | Bound::Process { .. }, _) => false,
        }
    }

    /// How close it is to a process: 0 is the process itself; `None` if it is for others.
    fn distance(&self, mut line: impl Iterator<Item = (u32, u64)>, cgroup_ids: &[u64]) -> Option<usize> {
        match &self.bound {
            Bound::Process { process, start } => line.position(|one| one == (process.pid, *start)),
            Bound::Cgroup(cgroup) => {
                let above = cgroup_ids.iter().position(|id| *id == cgroup.id)?;
                Some(1 << 16 | above)
            }
        }
    }
}

/// What an enrollment is bound to, looked at.
#[derive(Debug)]
pub(super) struct Place {
    bound: Bound,
    pub(super) cgroup: String,
    pub(super) cgroup_ids: Vec<u64>,
}

impl Place {
    pub(super) fn find(enrollee: &Enrollee) -> Result<Self, EnrollError> {
        match enrollee {
            Enrollee::Cgroup(path) => {
                let not_there = |errno| EnrollError::NotThere { what: format!("cgroup `{path}`"), errno };
                let cgroup = Cgroup::open(path).map_err(not_there)?;
                if cgroup.path == "/" {
                    return Err(EnrollError::Root);
                }
                let cgroup_ids = super::cgroup::lineage(&cgroup.path).map_err(not_there)?;
                Ok(Self { cgroup: cgroup.path.clone(), bound: Bound::Cgroup(cgroup), cgroup_ids })
            }
            Enrollee::Pid(pid) => {
                let not_there = |errno| EnrollError::NotThere { what: format!("process {pid}"), errno };
                let process = Process::open(*pid).map_err(not_there)?;
                let start = process.stat().map_err(not_there)?.start;
                let cgroup = process.cgroup().map_err(not_there)?;
                let cgroup_ids = super::cgroup::lineage(&cgroup).map_err(not_there)?;
                Ok(Self { cgroup, bound: Bound::Process { process, start }, cgroup_ids })
            }
        }
    }

    fn pid(&self) -> Option<u32> {
        match &self.bound {
            Bound::Cgroup(_) => None,
            Bound::Process { process, .. } => Some(process.pid),
        }
    }
}

/// All enrollments.
#[derive(Debug, Default)]
pub(super) struct Enrollments {
    list: Mutex<Vec<Arc<Enrollment>>>,
}

impl Enrollments {
    /// Takes the place of what was enrolled there before.
    pub(super) fn put(
        &self,
        place: Place,
        token: &str,
        subject: &str,
        issuer: &str,
        expires: u64,
    ) -> Result<Enrolled, EnrollError> {
        let info = Enrolled {
            pid: place.pid(),
            cgroup: place.cgroup,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            expires,
        };
        let mut list = self.lock();
        list.retain(|enrollment| enrollment.is_there());
        list.retain(|enrollment| {
            let same = enrollment.is_bound_as(&place.bound);
            if same {
                enrollment.state.store(1, Ordering::Release);
            }
            !same
        });
        if list.len() >= MOST {
            return Err(EnrollError::TooMany);
        }
        let enrollment =
            Enrollment { bound: place.bound, token: token.to_owned(), info: info.clone(), state: AtomicU8::new(0) };
        list.push(Arc::new(enrollment));
        Ok(info)
    }

    /// Takes out what is bound to just that.
    pub(super) fn take(&self, enrollee: &Enrollee) -> Vec<Arc<Enrollment>> {
        let bound = Place::find(enrollee).ok().map(|place| place.bound);
        let mut list = self.lock();
        let (gone, kept) = list.drain(..).partition(|enrollment: &Arc<Enrollment>| match &bound {
            Some(bound) => enrollment.is_bound_as(bound),
            // It is not there any more.
            None => match enrollee {
                Enrollee::Cgroup(path) => enrollment.info.pid.is_none() && enrollment.info.cgroup == *path,
                Enrollee::Pid(pid) => enrollment.info.pid == Some(*pid),
            },
        });
        *list = kept;
        for enrollment in &gone {
            enrollment.state.store(2, Ordering::Release);
        }
        gone
    }

    /// The closest enrollment of a process.
    pub(super) fn of(&self, evidence: &Evidence) -> Option<Arc<Enrollment>> {
        let line = || {
            let own = std::iter::once((evidence.pid, evidence.start));
            own.chain(evidence.ancestry.iter().map(|ancestor| (ancestor.pid, ancestor.start)))
        };
        let list = self.lock();
        let far = |enrollment: &Arc<Enrollment>| enrollment.distance(line(), &evidence.cgroup_ids);
        let near = list.iter().filter_map(|enrollment| Some((far(enrollment)?, enrollment)));
        near.min_by_key(|(distance, _)| *distance).map(|(_, enrollment)| enrollment.clone())
    }

    /// What is enrolled for a process of this line, in these cgroups.
    pub(super) fn of_caller(&self, line: &[(u32, u64)], cgroup_ids: &[u64]) -> Option<Enrolled> {
        let list = self.lock();
        let is_for = |enrollment: &&Arc<Enrollment>| enrollment.distance(line.iter().copied(), cgroup_ids).is_some();
        list.iter().find(is_for).map(|enrollment| enrollment.info.clone())
    }

    pub(super) fn list(&self) -> Vec<Enrolled> {
        let mut list = self.lock();
        list.retain(|enrollment| enrollment.is_there());
        list.iter().map(|enrollment| enrollment.info.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Enrollment>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
