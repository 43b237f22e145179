//! The database's side: which credential belongs to which database, dialling, and asking the catalogue questions.

use super::ephemeral::Ephemeral;
use super::login::{self, LoginError};
use super::route::Route;
use super::secret::{Secret, SecretError, Source};
use super::tls::{Connector, ConnectorError, Stream, TlsError, TlsMode, Wanted};
use crate::identity::{Bearer, Identity};
use crate::wire::{Backend, Chunk, Frame, Splitter, cancel_request, values_of_row};
use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// One `[[upstream]]` of the configuration file: how to log in where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `address:port` as agents dial it, or `*`.
    pub server: String,
    /// Name of the database, in which a `*` stands for anything.
    pub database: String,
    /// Only for agents of this name, in which a `*` stands for anything.
    pub agent: Option<String>,
    /// Only for agents of this group.
    pub group: Option<String>,
    /// Only for agents that act for this human or job, in which a `*` stands for anything.
    pub on_behalf_of: Option<String>,
    /// The role to log in as. Empty where the client logs in itself.
    #[serde(default)]
    pub user: String,
    /// Whether the client logs in itself, as the role that it names: the daemon carries what the two say.
    #[serde(default)]
    pub relay: bool,
    /// File with the role's password, readable by the daemon alone. Not needed where a client certificate is enough.
    pub password_file: Option<PathBuf>,
    /// The systemd credential (`LoadCredential=`) that has the password instead.
    pub password_credential: Option<String>,
    /// The command that prints the password instead, with its arguments; `{host}`, `{port}` and `{user}` stand for the
    /// server's address and the role.
    pub password_command: Option<Vec<String>>,
    /// For how long what the command prints is used.
    #[serde(default = "ten_minutes")]
    pub password_command_seconds: u64,
    /// Whether the agent's exchanged token is what is logged in with (OAUTHBEARER, PostgreSQL 18).
    #[serde(default)]
    pub oauth: bool,
    /// How many connections are logged in beforehand for each agent that has come, so that it need not wait the next time.
    #[serde(default)]
    pub warm: usize,
    /// A role of its own for each session.
    pub ephemeral: Option<EphemeralSettings>,
    /// What is asked of the server.
    #[serde(default)]
    pub tls: TlsMode,
    /// CAs that may vouch for it; absent for those that the host trusts.
    pub ca_file: Option<PathBuf>,
    /// The name that its certificate has to have; absent for the address that was dialled.
    pub server_name: Option<String>,
    /// The daemon's own certificate, for servers that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// Its key, readable by the daemon alone.
    pub key_file: Option<PathBuf>,
}

/// Roles that live as long as a session.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EphemeralSettings {
    /// The role that they are members of.
    pub template: String,
}

fn ten_minutes() -> u64 {
    600
}

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("{what} file `{path}` cannot be read")]
    Unreadable {
        /// Password or key.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{what} file `{path}` can be read by others; make it 0600 and the daemon's own")]
    Exposed {
        /// Password or key.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{what} file `{path}` is empty")]
    Empty {
        /// Password or key.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// There is nothing to log in with.
    #[error(
        "the [[upstream]] for `{server}` has no password (file, credential or command), no `certificate_file` and no `oauth`"
    )]
    Nothing {
        /// Which.
        server: String,
    },
    /// As whom?
    #[error("the [[upstream]] for `{server}` has neither `user` nor `relay`")]
    NoUser {
        /// Which.
        server: String,
    },
    /// Whose log-in would it be?
    #[error("the [[upstream]] for `{server}` has `relay`, and so no `user` and nothing to log in with")]
    Relayed {
        /// Which.
        server: String,
    },
    /// Something of the daemon's own would go to whoever answers.
    #[error("the [[upstream]] for `{server}` has `tls = \"prefer\"`, which is for `relay` only")]
    Prefers {
        /// Which.
        server: String,
    },
    /// There is more than one.
    #[error(
        "the [[upstream]] for `{server}` has more than one of `password_file`, `password_credential`, `password_command` and `oauth`"
    )]
    Several {
        /// Which.
        server: String,
    },
    /// It is not a credential's name, or systemd gives none.
    #[error("the [[upstream]] for `{server}` has `password_credential`, which systemd does not give: {why}")]
    Systemd {
        /// Which.
        server: String,
        /// Why not.
        why: &'static str,
    },
    /// Tokens end; what makes and drops roles must not.
    #[error(
        "the [[upstream]] for `{server}` has `ephemeral` and `oauth`: roles are made with a credential of the daemon's own"
    )]
    EphemeralOauth {
        /// Which.
        server: String,
    },
    /// What is logged in beforehand is not what this agent would log in with now.
    #[error(
        "the [[upstream]] for `{server}` has `warm` beside `relay`, `oauth` or `ephemeral`, where each session logs in by itself"
    )]
    Warm {
        /// Which.
        server: String,
    },
    /// TLS cannot be spoken as it is asked for.
    #[error("the [[upstream]] for `{server}` cannot have its TLS")]
    Tls {
        /// Which.
        server: String,
        /// Why.
        source: ConnectorError,
    },
}

/// A role, what it logs in with, and how its server is spoken to.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) user: String,
    password: Source,
    /// Whether a token is what is logged in with, and whose.
    oauth: bool,
    bearer: Option<Bearer>,
    pub(super) ephemeral: Option<Arc<Ephemeral>>,
    /// Whether there is none: the client logs in itself.
    relayed: bool,
    /// How many connections wait for each agent.
    warm: usize,
    pub(super) tls: Arc<Connector>,
    /// The same without the daemon's own certificate, for whoever is nobody.
    bare: Arc<Connector>,
}

impl Credential {
    pub(super) async fn password(&self, server: SocketAddr) -> Result<Secret, SecretError> {
        self.password.get(server).await
    }

    /// The token to log in with, where that is what is logged in with.
    pub(super) fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref().filter(|_| self.oauth)
    }

    /// The same for a session of whoever has this token.
    pub(super) fn with_bearer(mut self, bearer: Bearer) -> Self {
        if self.oauth {
            self.bearer = Some(bearer);
        }
        self
    }

    /// How many connections are logged in beforehand for each agent.
    pub(super) fn warm(&self) -> usize {
        self.warm
    }

    /// Whether the client logs in itself.
    pub(super) fn is_relayed(&self) -> bool {
        self.relayed
    }

    /// Whether it is the same whoever the agent is.
    pub(super) fn is_plain(&self) -> bool {
        !self.relayed && !self.oauth && self.ephemeral.is_none()
    }

    /// The same for a client that logs in as this role.
    pub(super) fn relayed_for(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Nothing to log in with.
    fn relaying() -> Self {
        Self {
            user: String::new(),
            password: Source::None,
            oauth: false,
            bearer: None,
            ephemeral: None,
            relayed: true,
            warm: 0,
            tls: Arc::default(),
            bare: Arc::default(),
        }
    }

    /// The same server, as another role.
    pub(super) fn of(&self, user: &str, password: Secret) -> Self {
        Self {
            user: user.to_owned(),
            password: Source::Fixed(password),
            oauth: false,
            bearer: None,
            ephemeral: None,
            relayed: false,
            warm: 0,
            tls: self.tls.clone(),
            bare: self.bare.clone(),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// All credentials, read at start.
#[derive(Debug)]
pub struct Upstreams {
    entries: Vec<(Upstream, Credential)>,
    /// For servers that no entry is about; absent where the host trusts no CA that could vouch for them.
    relayed: Option<Credential>,
}

impl Upstreams {
    /// Reads passwords, keys and certificates.
    pub fn load(settings: &[Upstream]) -> Result<Self, CredentialError> {
        let entries = settings.iter().map(|upstream| Ok((upstream.clone(), credential(upstream)?)));
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Self { entries, relayed: unlisted() })
    }

    /// Whether any database is logged in to with something of the daemon's own.
    pub fn has_credential(&self) -> bool {
        self.entries.iter().any(|(_, credential)| !credential.relayed)
    }

    pub(super) fn entries(&self) -> &[(Upstream, Credential)] {
        &self.entries
    }

    /// The first entry that fits.
    pub(super) fn credential(&self, server: &SocketAddr, database: &str, identity: &Identity) -> Option<&Credential> {
        let server = server.to_string();
        let whose = |upstream: &Upstream| {
            let named = |pattern: &Option<String>, name: Option<&str>| {
                pattern.as_ref().is_none_or(|pattern| name.is_some_and(|name| fits(pattern, name)))
            };
            named(&upstream.agent, Some(&identity.subject))
                && named(&upstream.on_behalf_of, identity.on_behalf_of.as_deref())
                && upstream.group.as_ref().is_none_or(|group| identity.groups.contains(group))
        };
        let mut entries = self.entries.iter();
        entries
            .find(|(upstream, _)| {
                fits(&upstream.server, &server) && fits(&upstream.database, database) && whose(upstream)
            })
            .map(|(_, credential)| credential)
    }

    /// How a database is spoken to for somebody who is nobody: as the first entry for it says, and with nothing of ours.
    pub(super) fn for_nobody(&self, server: &SocketAddr, database: &str) -> Option<Credential> {
        let server = server.to_string();
        let mut entries = self.entries.iter();
        let entry = entries
            .find(|(upstream, _)| fits(&upstream.server, &server) && fits(&upstream.database, database))
            .map(|(_, credential)| credential)
            .or(self.relayed.as_ref())?;
        Some(Credential { tls: entry.bare.clone(), ..Credential::relaying() })
    }

    /// What a database without an entry is spoken to with: nothing of ours, `verify-full`. Where there are entries, for other
    /// agents, whoever none is for has nothing to log in with.
    pub(super) fn relayed(&self, server: &SocketAddr, database: &str) -> Option<&Credential> {
        let server = server.to_string();
        let listed = self
            .entries
            .iter()
            .any(|(upstream, _)| fits(&upstream.server, &server) && fits(&upstream.database, database));
        self.relayed.as_ref().filter(|_| !listed)
    }
}

fn unlisted() -> Option<Credential> {
    let tls = Connector::load(&Wanted::default()).ok()?;
    let tls = Arc::new(tls);
    Some(Credential { bare: tls.clone(), tls, ..Credential::relaying() })
}

/// Whether a value is what a pattern means, in which `*` stands for any characters.
fn fits(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((before, rest)) => value.strip_prefix(before).is_some_and(|behind| {
            behind
                .char_indices()
                .map(|(at, _)| at)
                .chain([behind.len()])
                .any(|at| fits(rest, behind.get(at..).unwrap_or_default()))
        }),
    }
}

fn credential(upstream: &Upstream) -> Result<Credential, CredentialError> {
    let server = || upstream.server.clone();
    let password = password(upstream, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new))?;
    let nothing = matches!(password, Source::None) && upstream.certificate_file.is_none() && !upstream.oauth;
    if upstream.relay && (!nothing || !upstream.user.is_empty() || upstream.ephemeral.is_some()) {
        return Err(CredentialError::Relayed { server: server() });
    }
    if !upstream.relay && upstream.tls == TlsMode::Prefer {
        return Err(CredentialError::Prefers { server: server() });
    }
    if !upstream.relay && upstream.user.is_empty() {
        return Err(CredentialError::NoUser { server: server() });
    }
    if !upstream.relay && nothing {
        return Err(CredentialError::Nothing { server: server() });
    }
    if upstream.warm > 0 && (upstream.relay || upstream.oauth || upstream.ephemeral.is_some()) {
        return Err(CredentialError::Warm { server: server() });
    }
    let key = upstream.key_file.as_deref().map(|path| secret("key", path)).transpose()?;
    let wanted = Wanted {
        mode: upstream.tls,
        ca: upstream.ca_file.as_deref(),
        certificate: upstream.certificate_file.as_deref(),
        key: key.as_deref(),
        name: upstream.server_name.as_deref(),
    };
    let load = |wanted: &Wanted<'_>| {
        Connector::load(wanted).map(Arc::new).map_err(|source| CredentialError::Tls { server: server(), source })
    };
    let tls = load(&wanted)?;
    let bare = match wanted.certificate {
        Some(_) => load(&Wanted { certificate: None, key: None, ..wanted })?,
        None => tls.clone(),
    };
    let mut credential = Credential {
        user: upstream.user.clone(),
        password,
        oauth: upstream.oauth,
        bearer: None,
        ephemeral: None,
        relayed: upstream.relay,
        warm: upstream.warm,
        tls,
        bare,
    };
    if let Some(EphemeralSettings { template }) = &upstream.ephemeral {
        if upstream.oauth {
            return Err(CredentialError::EphemeralOauth { server: server() });
        }
        // What logs in here makes the roles.
        credential.ephemeral = Some(Arc::new(Ephemeral::new(template, credential.clone())));
    }
    Ok(credential)
}

/// `credentials` is where systemd puts what `LoadCredential=` names.
fn password(upstream: &Upstream, credentials: Option<&Path>) -> Result<Source, CredentialError> {
    let Upstream { password_file, password_credential, password_command, oauth, .. } = upstream;
    let ways = [password_file.is_some(), password_credential.is_some(), password_command.is_some(), *oauth].into_iter();
    if ways.filter(|way| *way).count() > 1 {
        return Err(CredentialError::Several { server: upstream.server.clone() });
    }
    if let Some(path) = password_file {
        return Ok(Source::Fixed(Secret::new(secret("password", path)?)));
    }
    if let Some(name) = password_credential {
        let none = |why| CredentialError::Systemd { server: upstream.server.clone(), why };
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(none("that is not a credential's name"));
        }
        let folder =
            credentials.ok_or_else(|| none("CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"))?;
        return Ok(Source::Fixed(Secret::new(secret("password", &folder.join(name))?)));
    }
    if let Some(words) = password_command {
        if words.is_empty() {
            return Err(CredentialError::Nothing { server: upstream.server.clone() });
        }
        let keep = std::time::Duration::from_secs(upstream.password_command_seconds);
        return Ok(Source::command(words, &upstream.user, keep));
    }
    Ok(Source::None)
}

/// What stands in a file that nobody else can read.
fn secret(what: &'static str, path: &Path) -> Result<String, CredentialError> {
    let unreadable = |source| CredentialError::Unreadable { what, path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(CredentialError::Exposed { what, path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        return Err(CredentialError::Empty { what, path: path.to_owned() });
    }
    Ok(text)
}

/// A connection to the database that is ready for its first statement.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) stream: Stream,
    /// What has been read and not looked at.
    pub(super) buffer: BytesMut,
    pub(super) splitter: Splitter,
    /// Settings that the server reported, in order.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
}

/// Asks a server to cancel what one of its processes is at. The connection is closed by the server when it has passed
/// the signal on, and only then does this return.
pub(super) async fn cancel(server: &Route, tls: &Connector, pid: i32, secret: &[u8]) -> Result<(), TlsError> {
    let stream = server.dial(None).await?;
    let mut stream = tls.secure(stream, server.address).await?;
    stream.send(&cancel_request(pid, secret)).await?;
    let mut nothing = [0; 1];
    loop {
        match stream.read(&mut nothing).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // The server closes the socket without a word of TLS when it has done as it was told.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Server {
    /// Dials and logs in.
    pub(super) async fn connect(
        route: &Route,
        source: Option<SocketAddr>,
        credential: &Credential,
        parameters: &[(String, String)],
    ) -> Result<Self, LoginError> {
        let connect = async || {
            if route.is_of_an_agents_making() && !credential.tls.verifies() {
                return Err(LoginError::Elsewhere);
            }
            let stream = route.dial(source).await.map_err(LoginError::Unreachable)?;
            let stream = credential.tls.secure(stream, route.address).await?;
            login::log_in(stream, route, credential, parameters).await
        };
        match connect().await {
            // 28P01: the password is wrong. One that was kept may have been changed meanwhile.
            Err(LoginError::Refused { sqlstate, .. })
                if sqlstate == "28P01" && credential.password.forget(route.address).await =>
            {
                connect().await
            }
            other => other,
        }
    }

    /// The next whole message; for log-in and for questions, where nothing passes unseen.
    pub(super) async fn next(&mut self) -> Result<Frame, LoginError> {
        loop {
            match self
                .splitter
                .next(&mut self.buffer, |_| Some(16 << 20))
                .map_err(|error| LoginError::Protocol(error.to_string()))?
            {
                Some(Chunk::Whole(frame)) => return Ok(frame),
                Some(Chunk::Passing { .. } | Chunk::Beginning(_) | Chunk::Skipped(_)) => {
                    return Err(LoginError::Protocol("a message passed unseen".to_owned()));
                }
                None => {
                    if self.stream.read_buf(&mut self.buffer).await.map_err(LoginError::Lost)? == 0 {
                        return Err(LoginError::Lost(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Whether nothing has come since it was ready.
    pub(super) fn is_quiet(&self) -> bool {
        self.buffer.is_empty() && self.stream.is_quiet()
    }

    /// Takes leave.
    pub(super) async fn bye(mut self) -> io::Result<()> {
        self.stream.send(b"X\0\0\0\x04").await?;
        self.stream.close().await
    }

    /// Runs the daemon's own questions and hands each row on as it comes: the number of the question among those that
    /// yield rows, and the row's values as text. `None` from there is a row of an unknown shape.
    pub(super) async fn ask(
        &mut self,
        text: &str,
        mut each: impl FnMut(usize, &[Option<&str>]) -> Option<()>,
    ) -> Result<(), LoginError> {
        let mut query = BytesMut::with_capacity(text.len() + 6);
        query.put_u8(b'Q');
        query.put_u32(u32::try_from(text.len() + 5).unwrap_or_default());
        query.extend_from_slice(text.as_bytes());
        query.put_u8(0);
        self.stream.send(&query).await.map_err(LoginError::Lost)?;
        let mut shapes = 0_usize;
        loop {
            let frame = self.next().await?;
            if frame.tag() == b'D' {
                let question =
                    shapes.checked_sub(1).ok_or_else(|| LoginError::Protocol("a row without a shape".to_owned()))?;
                row(frame.body())
                    .and_then(|values| each(question, &values))
                    .ok_or_else(|| LoginError::Protocol("a row has an unknown shape".to_owned()))?;
                continue;
            }
            match Backend::decode(&frame).map_err(|error| LoginError::Protocol(error.to_string()))? {
                Backend::RowDescription { .. } => shapes += 1,
                Backend::ErrorResponse(fields) => return Err(LoginError::refused(&fields)),
                Backend::ReadyForQuery(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A DataRow in text format (54.7).
pub(super) fn row(body: &[u8]) -> Option<Vec<Option<&str>>> {
    values_of_row(body)?.into_iter().map(|value| value.map(std::str::from_utf8).transpose().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Source, Upstream, fits, password};
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_has_one_place() {
        let folder = Scratch::about("credential");
        std::fs::write(folder.join("shop"), "secret\n").unwrap();
        std::fs::set_permissions(folder.join("shop"), std::fs::Permissions::from_mode(0o400)).unwrap();
        let get = |ways: &str, credentials: bool| {
            let entry = format!("server = '*'\ndatabase = '*'\nuser = 'u'\n{ways}\n");
            let upstream: Upstream = toml::from_str(&entry).unwrap();
            match password(&upstream, credentials.then_some(&*folder)) {
                Ok(Source::None) => "none".to_owned(),
                Ok(Source::Fixed(secret)) => secret.text.to_string(),
                Ok(Source::Command(_)) => "a command".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        for (ways, credentials, expected) in [
            ("", true, "none"),
            ("password_credential = 'shop'", true, "secret"),
            ("password_credential = 'shop'", false, "CREDENTIALS_DIRECTORY is not set"),
            ("password_credential = '../shop'", true, "not a credential's name"),
            ("password_credential = 'none'", true, "cannot be read"),
            ("password_command = ['vault', 'read']", true, "a command"),
            ("password_command = []", true, "has no password"),
            ("password_command = ['vault']\noauth = true", true, "more than one"),
            ("password_command = ['vault']\npassword_credential = 'shop'", true, "more than one"),
        ] {
            let found = get(ways, credentials);
            assert!(found.contains(expected), "{ways}: {found}");
        }
    }

    #[test]
    fn patterns_of_databases() {
        for (pattern, value, expected) in [
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("ci_*", "ci_42", true),
            ("ci_*", "ci", false),
            ("*_ro", "shop_ro", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern} {value}");
        }
    }
}
