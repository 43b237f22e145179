//! Everything that a run consists of, in the order in which it is taken away.

use super::{
    Options, Programs,
    cgroup::Cgroup,
    config::{self, Places},
    daemon::Daemon,
    database::Database,
    state::{self, State},
    tour,
};
use crate::{
    issuer::{Issuer, SECRET_FILE, Wanted},
    progress::step,
    setup::{host::Host, postgres},
};
use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
};

/// A whole installation. Dropping it takes it away: first whoever uses something, then what is used.
pub(super) struct Scene {
    agents: Cgroup,
    daemon: Daemon,
    database: Database,
    _run: Cgroup,
    state: State,
    issuer: Issuer,
    places: Places,
    interceptor: PathBuf,
    config: PathBuf,
    token: String,
    bin: PathBuf,
}

impl Scene {
    pub(super) async fn set(options: &Options, host: &Host, programs: &Programs) -> Result<Self> {
        let pid = process::id();
        let bin = postgres::binaries().context("PostgreSQL's programs are not there any more")?;
        let state = State::new(options.keep)?;
        let cgroup = state::cgroup(pid);
        let run = Cgroup::new(host.cgroup.join(&cgroup))?;
        let agents = run.below("agents")?;
        let database = match &options.postgres {
            Some(dsn) => Database::given(dsn)?,
            None => Database::start(&bin, run.below("database")?, &options.init)?,
        };
        let issuer = Issuer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        issuer.write_secret(&state.dir.join(SECRET_FILE))?;
        let token = issuer.mint(&Wanted {
            subject: Some(options.subject.clone()),
            groups: options.groups.clone(),
            ..Wanted::default()
        })?;
        let places = Places {
            instance: state::name(pid),
            agents: cgroup.join("agents"),
            daemon: cgroup.join("daemon"),
            audit: state.dir.join("audit"),
            socket: state.dir.join("control.sock"),
            policies: if options.is_tour() {
                tour::policies(&state, &programs.policies)?
            } else {
                programs.policies.clone()
            },
        };
        let config = config::write(&state, &places, &database, issuer.url(), options.config.as_deref())?;
        let daemon =
            Daemon::start(&programs.interceptor, &config, &places.socket, &state.dir.join("daemon.log")).await?;
        Ok(Self {
            agents,
            daemon,
            database,
            _run: run,
            state,
            issuer,
            places,
            interceptor: programs.interceptor.clone(),
            config,
            token,
            bin,
        })
    }

    /// Takes it away. What the agents have left running ends first.
    pub(super) fn strike(self) {
        self.agents.kill();
        drop(step("stopping", || {
            drop(self);
            Ok(())
        }));
    }

    /// What the agent finds in its environment. Its password is wrong: it is the daemon that logs in.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let gateway = &self.database.gateway;
        vec![
            ("PGHOST", gateway.host.clone().into()),
            ("PGPORT", gateway.port.to_string().into()),
            ("PGDATABASE", gateway.database.clone().into()),
            ("PGUSER", "agent".into()),
            ("PGPASSWORD", "not-the-password".into()),
            // As somebody has it whose server has no TLS. The daemon has: `PGSSLMODE=require` gets it.
            ("PGSSLMODE", "disable".into()),
            ("AGENT_ID_TOKEN", self.token.clone().into()),
            ("INTERCEPTOR_AUDIT", self.places.audit.clone().into()),
            ("INTERCEPTOR_SOCKET", self.places.socket.clone().into()),
            ("INTERCEPTOR_DAEMON_PID", self.daemon.pid().to_string().into()),
            ("INTERCEPTOR_UPSTREAM", self.database.direct.url().into()),
            ("INTERCEPTOR_CONFIG", self.config.clone().into()),
            ("INTERCEPTOR_ISSUER", self.issuer.url().into()),
        ]
    }

    /// The agents' cgroup.
    pub(super) fn agents(&self) -> &Path {
        self.agents.path()
    }

    pub(super) fn postgres_bin(&self) -> &Path {
        &self.bin
    }

    pub(super) fn interceptor(&self) -> &Path {
        &self.interceptor
    }

    pub(super) fn audit(&self) -> &Path {
        &self.places.audit
    }

    pub(super) fn socket(&self) -> &Path {
        &self.places.socket
    }

    pub(super) fn direct(&self) -> String {
        self.database.direct.url()
    }

    pub(super) fn gateway_user(&self) -> &str {
        &self.database.gateway.user
    }

    pub(super) fn issuer(&self) -> &str {
        self.issuer.url()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.state.dir
    }
}
