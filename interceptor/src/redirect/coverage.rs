//! The accounts of cgroups: what was dialled and what became of it, kept by the kernel over any number of daemons.

use std::{fs, io, os::unix::ffi::OsStringExt, path::PathBuf};

use aya::maps::{HashMap, MapData, MapError};
use interceptor_ebpf::{Coverage, Covered, map};
use serde::{Deserialize, Serialize};

use super::{
    RedirectError,
    kernel::{PathBytes, open_cgroup},
    mounts::cgroup_mount,
};

/// The account of one cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The cgroup's number.
    pub cgroup_id: u64,
    /// Its path from the root of the hierarchy; absent if it is gone and nobody has seen its name.
    pub cgroup: Option<PathBuf>,
    /// Whether it is gone.
    pub ended: bool,
    /// Stream sockets that its tasks connected, to anywhere.
    pub connects: u64,
    /// ... to PostgreSQL: a captured port or address.
    pub postgres: u64,
    /// ... of which came to the daemon.
    pub mediated: u64,
    /// ... of which failed, because the daemon was not there.
    pub refused: u64,
    /// Those that came to the daemon and were established.
    pub established: u64,
    /// Packets to a captured port that had dodged the hook and were dropped.
    pub dropped: u64,
    /// Connections to other ports that spoke PostgreSQL, and were let through: around us.
    pub around: u64,
    /// The same, stopped.
    pub stopped: u64,
}

impl Account {
    fn of(cgroup_id: u64, numbers: &Coverage) -> Self {
        let [connects, postgres, mediated, refused, established, dropped, around, stopped] = *numbers;
        const _: () = assert!(Covered::Connects as usize == 0 && Covered::Blocked as usize == 7);
        Self {
            cgroup_id,
            cgroup: None,
            ended: false,
            connects,
            postgres,
            mediated,
            refused,
            established,
            dropped,
            around,
            stopped,
        }
    }

    /// Connections to PostgreSQL of which nobody can say what became of them; 0, but for calls that are under way.
    #[must_use]
    pub fn unaccounted(&self) -> u64 {
        self.postgres.saturating_sub(self.mediated + self.refused)
    }

    /// For people and for the record.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { connects, postgres, mediated, refused, dropped, around, stopped, .. } = self;
        let mut text = format!("{connects} connects, {postgres} to PostgreSQL, {mediated} mediated, {around} around");
        for (number, what) in [(refused, "refused"), (dropped, "packets dropped"), (stopped, "stopped on other ports")]
        {
            if *number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        match self.unaccounted() {
            0 => {}
            unaccounted => text.push_str(&format!(", {unaccounted} NOT ACCOUNTED FOR")),
        }
        text
    }
}

/// Which accounts are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Ended,
}

/// The kernel's tables.
pub(super) struct Accounts {
    pub(super) coverage: HashMap<MapData, u64, Coverage>,
    pub(super) ended: HashMap<MapData, u64, PathBytes>,
}

impl Accounts {
    /// The accounts of cgroups that are gone, or all, those that are gone first. Only for all is looked up what they are called.
    pub(super) fn list(&self, which: Which) -> Result<Vec<Account>, RedirectError> {
        let mount = cgroup_mount()?;
        let folder = fs::File::open(&mount).map_err(RedirectError::file("open", &mount))?;
        let mut found = Vec::new();
        for cgroup_id in self.coverage.keys() {
            let cgroup_id = cgroup_id.map_err(RedirectError::map("read", map::COVERAGE))?;
            let numbers = match self.coverage.get(&cgroup_id, 0) {
                Ok(numbers) => numbers,
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(RedirectError::map("read", map::COVERAGE)(error)),
            };
            let mut account = Account::of(cgroup_id, &numbers);
            match self.ended.get(&cgroup_id, 0) {
                Ok(PathBytes(path)) => {
                    let name = path.iter().copied().take_while(|byte| *byte != 0).collect::<Vec<_>>();
                    account.cgroup = Some(std::ffi::OsString::from_vec(name).into());
                    account.ended = true;
                }
                // Not told, or no program tells: the kernel knows whether it is there.
                Err(MapError::KeyNotFound) => match open_cgroup(&folder, cgroup_id) {
                    Ok(_) if which == Which::Ended => continue,
                    Ok(_) => account.cgroup = super::cgroup_path(cgroup_id),
                    Err(error) => account.ended = error.raw_os_error() == Some(libc::ESTALE),
                },
                Err(error) => return Err(RedirectError::map("read", map::ENDED)(error)),
            }
            found.push(account);
        }
        found.sort_by_key(|account| (!account.ended, account.cgroup.clone(), account.cgroup_id));
        Ok(found)
    }

    /// Closes the account of a cgroup that is gone.
    pub(super) fn close(&mut self, cgroup_id: u64) -> Result<(), RedirectError> {
        for (result, name) in
            [(self.ended.remove(&cgroup_id), map::ENDED), (self.coverage.remove(&cgroup_id), map::COVERAGE)]
        {
            match result {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(RedirectError::map("write", name)(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_sentence() {
        #[track_caller]
        fn check(numbers: Coverage, expected: &str) {
            assert_eq!(Account::of(1, &numbers).sentence(), expected);
        }
        check([9, 4, 4, 0, 4, 0, 0, 0], "9 connects, 4 to PostgreSQL, 4 mediated, 0 around");
        check(
            [9, 4, 1, 2, 1, 3, 1, 1],
            "9 connects, 4 to PostgreSQL, 1 mediated, 1 around, 2 refused, 3 packets dropped, 1 stopped on other ports, \
             1 NOT ACCOUNTED FOR",
        );
    }
}
