//! What is asked and told while the programs are in force.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, SkStorage};
use interceptor_ebpf::{flag, map, namespace, program};
use nix::time::{ClockId, clock_gettime};

use super::{
    Account, Counters, Destroyed, Inside, Network, Origin, RedirectError, Settings, Signs, Watch, capture,
    connections::destroy_of,
    coverage::{Accounts, Which},
    kernel::{ConfigBytes, FileBytes, RecordBytes, TargetBytes},
    origin::target_of,
    unix_peers::inside,
};

/// The redirection, in force. Dropping it changes nothing in the kernel: see [`super::detach()`].
pub struct Redirect {
    pub(super) records: SkStorage<MapData, RecordBytes>,
    pub(super) listeners: Mutex<SkStorage<MapData, u64>>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) namespaces: Mutex<HashMap<MapData, u64, u32>>,
    pub(super) alive: Mutex<Array<MapData, u64>>,
    pub(super) programs: Mutex<HashMap<MapData, FileBytes, u32>>,
    pub(super) targets: Mutex<HashMap<MapData, TargetBytes, u32>>,
    pub(super) accounts: Mutex<Accounts>,
    pub(super) config: Mutex<Array<MapData, ConfigBytes>>,
    pub(super) tags: Mutex<HashMap<MapData, u32, u64>>,
    pub(super) signs: Mutex<Option<Signs>>,
    pub(super) settings: Settings,
    pub(super) watch: Watch,
    pub(super) absent: Vec<(&'static str, String)>,
}

impl fmt::Debug for Redirect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redirect").finish_non_exhaustive()
    }
}

impl Redirect {
    /// Marks a listening socket as the daemon's own: captured connections are only sent to sockets that carry this mark.
    /// It goes with the socket. Bless it before `listen(2)`.
    ///
    /// # Errors
    /// If this is no socket, or the kernel has no memory for the mark.
    pub fn bless(&self, listener: BorrowedFd<'_>) -> Result<(), RedirectError> {
        const BLESSED: u64 = 1;
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(&listener.as_raw_fd(), BLESSED, 0).map_err(RedirectError::map("write", map::LISTENERS))
    }

    /// Who is at the other end of an accepted socket. `None` if the connection was not redirected here: somebody has
    /// dialled this port directly, and the connection must be closed.
    ///
    /// # Errors
    /// If this is no socket. The connection must be closed then, too.
    pub fn origin(&self, accepted: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError> {
        match self.records.get(&accepted.as_raw_fd(), 0) {
            Ok(RecordBytes(record)) => Ok(Origin::of(&record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(RedirectError::map("read", map::RECORDS)(error)),
        }
    }

    /// Says that we listen in a network namespace, or no longer do. Until it is said, the programs tell of it again and again.
    ///
    /// # Errors
    /// If the kernel does not let us write the map.
    pub fn receive_in(&self, network: &Network, there: bool) -> Result<(), RedirectError> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if there {
            return namespaces
                .insert(network.cookie(), namespace::OURS, 0)
                .map_err(RedirectError::map("write", map::NAMESPACES));
        }
        capture::forget(&mut namespaces, map::NAMESPACES, &network.cookie())
    }

    /// Forgets all network namespaces but these: those that an earlier daemon listened in.
    ///
    /// # Errors
    /// As above.
    pub fn receive_only_in<'a>(&self, networks: impl IntoIterator<Item = &'a Network>) -> Result<(), RedirectError> {
        let wanted = networks.into_iter().map(|network| (network.cookie(), namespace::OURS)).collect();
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        capture::replace(&mut namespaces, map::NAMESPACES, &wanted)
    }

    /// Says that we live, and come where we are told of. Who dials where we are not yet is held while this was said lately, and
    /// refused otherwise.
    ///
    /// # Errors
    /// As above.
    pub fn live(&self) -> Result<(), RedirectError> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let now = u64::try_from(now.as_nanos()).unwrap_or_default();
        alive.set(0, now, 0).map_err(RedirectError::map("write", map::ALIVE))
    }

    /// Says that we cannot come to a network namespace: who dials there is refused, not held.
    ///
    /// # Errors
    /// As above.
    pub fn close_in(&self, netns_cookie: u64) -> Result<(), RedirectError> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        namespaces.insert(netns_cookie, namespace::CLOSED, 0).map_err(RedirectError::map("write", map::NAMESPACES))
    }

    /// Forgets where we could not come, so that the table does not fill up; it may be otherwise by now.
    ///
    /// # Errors
    /// As above.
    pub fn forget_closed(&self) -> Result<(), RedirectError> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            namespaces.iter().collect::<Result<Vec<_>, _>>().map_err(RedirectError::map("read", map::NAMESPACES))?;
        for (cookie, _) in known.into_iter().filter(|(_, state)| *state == namespace::CLOSED) {
            capture::forget(&mut namespaces, map::NAMESPACES, &cookie)?;
        }
        Ok(())
    }

    /// What the programs tell at once. There is one reader: `None` the second time.
    #[must_use]
    pub fn signs(&self) -> Option<Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The accounts of all cgroups, those of cgroups that are gone first.
    ///
    /// # Errors
    /// If the kernel does not let us read the maps.
    pub fn accounts(&self) -> Result<Vec<Account>, RedirectError> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).list(Which::All)
    }

    /// Those of cgroups that are gone.
    ///
    /// # Errors
    /// As above.
    pub fn ended_accounts(&self) -> Result<Vec<Account>, RedirectError> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).list(Which::Ended)?;
        Ok(accounts.into_iter().filter(|account| account.ended).collect())
    }

    /// Closes the account of a cgroup that is gone, when it is on record.
    ///
    /// # Errors
    /// As above.
    pub fn close_account(&self, cgroup_id: u64) -> Result<(), RedirectError> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).close(cgroup_id)
    }

    /// Captures one more address, because PostgreSQL was heard there.
    ///
    /// # Errors
    /// As above.
    pub fn learn(&self, address: SocketAddr) -> Result<(), RedirectError> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets
            .insert(TargetBytes(target_of(address)), capture::LEARNED, 0)
            .map_err(RedirectError::map("write", map::TARGETS))?;
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = RedirectError::map("write", map::CONFIG);
        let ConfigBytes(mut now) = config.get(&0, 0).map_err(&failed)?;
        now.flags |= flag::ADDRESSES;
        config.set(0, ConfigBytes(now), 0).map_err(failed)
    }

    /// Whether connections to an address are captured.
    #[must_use]
    pub fn is_target(&self, address: SocketAddr) -> bool {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        self.settings.ports.contains(&address.port()) || targets.get(&TargetBytes(target_of(address)), 0).is_ok()
    }

    /// Ends the connections past us that agents hold, because they were opened before their processes were agents or were handed to
    /// them by others: those of one process, or of all.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn end_stray_connections(&self, of: Option<u32>) -> Result<Destroyed, RedirectError> {
        let processes = match of {
            Some(process) => vec![process],
            None => {
                let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
                tags.keys().collect::<Result<_, _>>().map_err(RedirectError::map("read", map::TAGS))?
            }
        };
        destroy_of(&processes, |remote| self.is_target(remote)).map_err(RedirectError::file("read", "/proc"))
    }

    /// Agents that hold a connection to a Unix socket of PostgreSQL, whatever name has led them there.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn inside(&self) -> Result<Vec<Inside>, RedirectError> {
        let processes = {
            let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
            tags.keys().collect::<Result<Vec<_>, _>>().map_err(RedirectError::map("read", map::TAGS))?
        };
        inside(&processes).map_err(RedirectError::file("read", "/proc"))
    }

    /// Whether a process is an agent: by what the programs know of it and what it descends from, and by where it is, whose it is and
    /// what it runs, because not every kernel lets the programs remember. Who cannot be looked at counts as one.
    #[must_use]
    pub fn is_agent(&self, process: u32) -> bool {
        let known = self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(&process, 0).is_ok();
        known || capture::is_named(&self.settings, process).unwrap_or(true)
    }

    /// Names the files of the settings again: a program that was replaced on disk is another file.
    ///
    /// # Errors
    /// If the kernel does not let us write the map.
    pub fn name_programs(&self) -> Result<(), RedirectError> {
        if self.settings.executables.is_empty() {
            return Ok(());
        }
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        capture::replace(&mut programs, map::PROGRAMS, &capture::programs(&self.settings))
    }

    /// Whether all is still in force.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The guards at the kernel's security decisions that are in force; see [`interceptor_ebpf::program::GUARDS`].
    #[must_use]
    pub fn guards(&self) -> Vec<&'static str> {
        let is_there = |name: &&str| self.absent.iter().all(|(absent, _)| absent != name);
        program::GUARDS.into_iter().filter(is_there).collect()
    }

    /// Programs that this kernel does not allow, and its words; see [`interceptor_ebpf::program::OPTIONAL`].
    #[must_use]
    pub fn absent(&self) -> &[(&'static str, String)] {
        &self.absent
    }

    /// What is captured.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the programs have counted.
    ///
    /// # Errors
    /// If the kernel does not let us read the map.
    pub fn counters(&self) -> Result<Counters, RedirectError> {
        Counters::read(&self.counters)
    }
}
