//! Roles that live as long as a session.
//!
//! With the daemon's admin credential a role is made for each session: a member of a template role, with a password that
//! nobody knows and that is good until the agent's token ends. So the database itself tells agents apart (`session_user`,
//! `pg_stat_activity`, logs), and a session's rights end with it. What it has made is handed on to the template. Roles of a
//! daemon that has died are swept away by the next one.

use super::login::LoginError;
use super::route::Route;
use super::secret::Secret;
use super::upstream::{Credential, Server};
use crate::identity::Identity;
use postgres_protocol::password::scram_sha_256;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How often left-overs are looked for on a database, when a session begins there.
const SWEEP: Duration = Duration::from_secs(600);

/// Makes roles.
#[derive(Debug)]
pub(super) struct Ephemeral {
    template: String,
    admin: Credential,
    /// Begins the names of this daemon's roles; other hosts' daemons have others.
    prefix: String,
    /// Those that are in use.
    used: Mutex<HashSet<String>>,
    swept: Mutex<Vec<(Route, String, Instant)>>,
}

/// A session's role; dropped with it.
#[derive(Debug)]
pub(super) struct Role {
    maker: Arc<Ephemeral>,
    server: Route,
    database: String,
    pub(super) name: String,
    dropped: bool,
}

impl Ephemeral {
    pub(super) fn new(template: &str, admin: Credential) -> Self {
        let host = std::fs::read("/etc/machine-id").unwrap_or_default();
        let host =
            if host.is_empty() { nix::unistd::gethostname().unwrap_or_default().into_encoded_bytes() } else { host };
        let digest = Sha256::digest(host);
        let host: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            template: template.to_owned(),
            admin,
            prefix: format!("interceptor_{host}_"),
            used: Mutex::default(),
            swept: Mutex::default(),
        }
    }

    /// The role that sessions have the rights of.
    pub(super) fn template(&self) -> &str {
        &self.template
    }

    /// What the catalogue is read with: the session's own role sees no more.
    pub(super) fn admin(&self) -> &Credential {
        &self.admin
    }

    /// What a session's role is called.
    pub(super) fn name(&self, session: &str) -> String {
        format!("{}{session}", self.prefix)
    }

    /// Makes a session's role, and gives what it logs in with.
    pub(super) async fn make(
        self: &Arc<Self>,
        server: &Route,
        database: &str,
        session: &str,
        identity: &Identity,
        base: &Credential,
    ) -> Result<(Role, Credential), LoginError> {
        let name = self.name(session);
        let role = Role {
            maker: self.clone(),
            server: server.clone(),
            database: database.to_owned(),
            name: name.clone(),
            dropped: false,
        };
        lock(&self.used).insert(name.clone());
        let password: String = rand::random::<[u8; 24]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let until = i64::try_from(identity.expires).unwrap_or(i64::MAX).min(253_402_300_799);
        let until = OffsetDateTime::from_unix_timestamp(until).ok().and_then(|until| until.format(&Rfc3339).ok());
        let until = until.ok_or_else(|| LoginError::Protocol("the identity ends at no time".to_owned()))?;
        // The server is given the verifier, so that the password stands in no log.
        let verifier = scram_sha_256(password.as_bytes());
        let (quoted, template) = (quoted(&name), quoted(&self.template));
        let text = format!(
            "create role {quoted} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls inherit connection limit 1 \
             password '{verifier}' valid until '{until}' in role {template}; grant {quoted} to current_user"
        );
        let mut admin = self.connect(server, database).await?;
        let made = admin.ask(&text, |_, _| Some(())).await;
        if made.is_ok() && self.is_due(server, database) {
            self.sweep(&mut admin, &template).await;
        }
        drop(admin.bye().await);
        made?;
        Ok((role, base.of(&name, Secret::new(password))))
    }

    async fn connect(&self, server: &Route, database: &str) -> Result<Server, LoginError> {
        let parameters = [
            ("database", database),
            ("application_name", "interceptor roles"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Server::connect(server, None, &self.admin, &parameters).await
    }

    fn is_due(&self, server: &Route, database: &str) -> bool {
        let mut swept = lock(&self.swept);
        swept.retain(|(_, _, at)| at.elapsed() < SWEEP);
        let done = swept.iter().any(|(place, name, _)| place == server && name == database);
        if !done {
            swept.push((server.clone(), database.to_owned(), Instant::now()));
        }
        !done
    }

    /// Drops this host's roles that no session uses, here or on the server.
    async fn sweep(&self, admin: &mut Server, template: &str) {
        let mut left = Vec::new();
        let text = format!(
            "select rolname from pg_catalog.pg_roles r where pg_catalog.starts_with(rolname, '{}') and not exists \
             (select from pg_catalog.pg_stat_activity a where a.usename = r.rolname)",
            self.prefix
        );
        let asked = admin.ask(&text, |_, row| {
            left.push(row.first().copied().flatten()?.to_owned());
            Some(())
        });
        if let Err(error) = asked.await {
            return tracing::warn!(%error, "roles of sessions that are over cannot be looked for");
        }
        left.retain(|name| !lock(&self.used).contains(name));
        for name in left {
            match admin.ask(&dropping(&name, template), |_, _| Some(())).await {
                Ok(()) => tracing::info!(role = %name, "dropped the role of a session that is over"),
                Err(error) => {
                    tracing::warn!(%error, role = %name, "the role of a session that is over cannot be dropped")
                }
            }
        }
    }
}

impl Role {
    /// Drops it, now that its session is over.
    pub(super) async fn drop_now(mut self) {
        self.dropped = true;
        drop_role(&self.maker, &self.server, &self.database, &self.name).await;
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        // Somebody was not let in after all. Where the daemon stops meanwhile, the next one sweeps.
        let (maker, server) = (self.maker.clone(), self.server.clone());
        let (database, name) = (self.database.clone(), self.name.clone());
        tokio::task::spawn_local(async move { drop_role(&maker, &server, &database, &name).await });
    }
}

async fn drop_role(maker: &Ephemeral, server: &Route, database: &str, name: &str) {
    let dropped = async {
        let mut admin = maker.connect(server, database).await?;
        let dropped = admin.ask(&dropping(name, &quoted(&maker.template)), |_, _| Some(())).await;
        drop(admin.bye().await);
        dropped
    };
    if let Err(error) = dropped.await {
        tracing::warn!(%error, role = %name, "a session's role cannot be dropped; it is tried again later");
    }
    lock(&maker.used).remove(name);
}

/// The session's process may take a moment to end after its socket is closed.
fn dropping(name: &str, template: &str) -> String {
    let quoted = quoted(name);
    format!(
        "do $$ begin for n in 1..50 loop exit when not exists (select from pg_catalog.pg_stat_activity where usename = '{name}'); \
         perform pg_catalog.pg_sleep(0.02); perform pg_catalog.pg_stat_clear_snapshot(); end loop; end $$; \
         reassign owned by {quoted} to {template}; drop owned by {quoted}; drop role if exists {quoted}"
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
