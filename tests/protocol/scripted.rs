//! A proxy on a loopback port whose connections all come from this very process and go to a scripted server.

use arc_swap::ArcSwap;
use interceptor::audit::{Fsync, Settings as AuditSettings, Trail};
use interceptor::identity::{Registrar, Settings as IdentitySettings};
use interceptor::mask::Key;
use interceptor::policy::{Mode, PolicySet};
use interceptor::proxy::{
    Authority, Cancels, Catalogs, LeakedRoles, Limits, Live, Origins, Proxy, Shared, Terminator, Tunables, Upstreams,
    Waiting, serve,
};
use interceptor::redirect::{Origin, RedirectError};
use interceptor::sql::Readings;
use interceptor_tests::Issuer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What a server does when somebody logs in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Lets everybody in and answers every query with one empty result.
    Friendly,
    /// Sends these bytes in answer to the start-up packet, then nothing.
    Says(&'static [u8]),
    /// Is not there.
    Absent,
    /// Is friendly up to the first query of an agent and answers that with these bytes.
    Answers(&'static [u8]),
}

/// A proxy, its server and everything around them; gone when dropped.
pub(crate) struct Stage {
    pub(crate) proxy: SocketAddr,
    folder: PathBuf,
    stop: watch::Sender<bool>,
    worker: Option<std::thread::JoinHandle<()>>,
    issuer: Option<Issuer>,
}

struct AllFromHere {
    server: SocketAddr,
}

impl Origins for AllFromHere {
    fn origin(&self, _socket: BorrowedFd<'_>) -> Result<Option<Origin>, RedirectError> {
        Ok(Some(Origin {
            destination: self.server,
            pid: std::process::id(),
            thread: std::process::id(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            cgroup_id: interceptor_tests::cgroup_id(std::process::id()),
            netns_cookie: 1,
            // Later than any process can have started.
            dialled_at: u64::MAX,
            comm: "test".to_owned(),
        }))
    }
}

impl Stage {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, true, "disable")
    }

    /// One that has no TLS for its clients.
    pub(crate) fn in_clear_text(behaviour: Behaviour) -> Self {
        Self::with(behaviour, false, "disable")
    }

    /// One that asks its server for TLS.
    pub(crate) fn asking(behaviour: Behaviour, mode: &str) -> Self {
        Self::with(behaviour, true, mode)
    }

    fn with(behaviour: Behaviour, tls: bool, upstream: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("interceptor-protocol-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        let issuer = Issuer::start();
        std::fs::write(folder.join("token"), issuer.token(&json!({"subject": "agent:test"}))).unwrap();
        std::fs::write(folder.join("password"), "secret").unwrap();
        std::fs::set_permissions(folder.join("password"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let server = server(behaviour);
        let proxy = proxy(&folder, &issuer.url, server, tls, upstream);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(tokio::task::LocalSet::new().run_until(async {
                serve(proxy, tokio::net::TcpListener::from_std(listener).unwrap(), stopped).await;
            }));
        };
        let worker = std::thread::Builder::new().stack_size(interceptor::sql::STACK).spawn(work).unwrap();
        Self { proxy: address, folder, stop, worker: Some(worker), issuer: Some(issuer) }
    }

    /// The record's refusals, as they stand in it.
    pub(crate) fn refusals(&self) -> String {
        let files = std::fs::read_dir(self.folder.join("audit")).unwrap().flatten();
        let files = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "jsonl"));
        let lines = files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect::<String>();
        lines.lines().filter(|line| line.contains("\"event\":\"refusal\"")).collect()
    }

    /// Stops the issuer; nobody has been identified yet.
    pub(crate) fn without_issuer(mut self) -> Self {
        self.issuer = None;
        self
    }

    /// A fresh connection to the proxy.
    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream
    }

    /// Sends bytes in pieces and says what comes back until the proxy has nothing more to say.
    pub(crate) fn trace(&self, pieces: &[&[u8]]) -> String {
        let mut stream = self.dial();
        let mut trace = Vec::new();
        for piece in pieces {
            // A proxy that has hung up already says so in what is read.
            if stream.write_all(piece).is_err() {
                break;
            }
            if piece.len() > 1 {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        trace.extend(rest(&mut stream));
        trace.join(" ")
    }

    /// Goes through steps of which some are TLS handshakes, and says what comes back, also in between.
    pub(crate) fn talk(&self, steps: &[Step<'_>]) -> String {
        let mut stream = self.dial();
        let mut trace = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            match step {
                // A proxy that has hung up already says so in what is read.
                Step::Send(bytes) => drop(stream.write_all(bytes)),
                Step::Tls { alpn } => {
                    // Every request for encryption before is answered by one byte.
                    for _ in steps[..at].iter().filter(|step| matches!(step, Step::Send(_))) {
                        let mut answer = [0];
                        if stream.read_exact(&mut answer).is_err() {
                            trace.push("end".to_owned());
                            return trace.join(" ");
                        }
                        trace.push((answer[0] as char).to_string());
                    }
                    match self.handshake(stream, alpn) {
                        Ok(tls) => {
                            trace.push("tls".to_owned());
                            trace.extend(within(tls, &steps[at + 1..]));
                        }
                        Err(why) => trace.push(why),
                    }
                    return trace.join(" ");
                }
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        trace.extend(rest(&mut stream));
        trace.join(" ")
    }

    /// As `sslmode=verify-full` with the exported CA does it.
    fn handshake(
        &self,
        mut stream: TcpStream,
        alpn: &[&str],
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.join("ca.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::IpAddress(self.proxy.ip().into());
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        while client.is_handshaking() {
            if let Err(error) = client.complete_io(&mut stream) {
                return Err(if error.kind() == ErrorKind::InvalidData { error.to_string() } else { "end".to_owned() });
            }
        }
        Ok(StreamOwned::new(client, stream))
    }
}

/// What a client does next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    /// Sends bytes.
    Send(&'a [u8]),
    /// Shakes hands, offering these protocols.
    Tls { alpn: &'a [&'a str] },
}

/// How long a proxy may think that has nothing more to say.
const PATIENCE: Duration = Duration::from_millis(2500);

fn within(mut tls: StreamOwned<ClientConnection, TcpStream>, steps: &[Step<'_>]) -> Vec<String> {
    let sent = steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(*bytes) } else { None });
    for bytes in sent {
        if tls.write_all(bytes).and_then(|()| tls.flush()).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    tls.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    rest(&mut tls)
}

/// Everything that still comes. `cut` is an end that TLS did not announce.
fn rest(stream: &mut impl Read) -> Vec<String> {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let mut trace = show(&bytes);
    match ended {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => trace.push("cut".to_owned()),
        Ok(_) | Err(_) => trace.push("end".to_owned()),
    }
    trace
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has failed its test already.
            let _ended = worker.join();
        }
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

fn proxy(folder: &std::path::Path, issuer: &str, server: SocketAddr, tls: bool, mode: &str) -> Arc<Proxy> {
    let identity: IdentitySettings = toml::from_str(&format!(
        "sources = [\"file\"]\nfiles = [\"{}/token\"]\n[[issuers]]\nurl = \"{issuer}\"\naudience = \"interceptor\"\n\
         algorithms = [\"ES256\"]\nallow_http = true\n[exchange]\nissuer = \"{issuer}\"\naudience = \"postgres\"\n",
        folder.display()
    ))
    .unwrap();
    let upstream = format!(
        "server = \"{server}\"\ndatabase = \"*\"\nuser = \"role\"\npassword_file = \"{}/password\"\ntls = \"{mode}\"",
        folder.display()
    );
    let policies = "@id(\"all\") permit (principal, action, resource);".to_owned();
    Arc::new(Proxy {
        origins: Arc::new(AllFromHere { server }),
        registrar: Registrar::new(identity).unwrap(),
        policies: ArcSwap::from_pointee(PolicySet::from_texts(&[("all.cedar".into(), policies)]).unwrap()),
        tunables: ArcSwap::from_pointee(Tunables {
            mode: Mode::Enforce,
            upstreams: Upstreams::load(&[toml::from_str(&upstream).unwrap()]).unwrap(),
            leaked: LeakedRoles::default(),
            limits: Limits {
                login_seconds: 2,
                connections: 100,
                drain_seconds: 0,
                stalled_seconds: 60,
                ..Limits::default()
            },
        }),
        catalogs: Catalogs::default(),
        readings: Readings::default(),
        tls: tls.then(|| Terminator::new(Authority::open(&folder.join("ca.crt"), &folder.join("ca.key")).unwrap())),
        cancels: Arc::new(Cancels::default()),
        shared: Shared {
            trail: Arc::new(
                Trail::open(&AuditSettings { fsync: Fsync::Os, ..AuditSettings::of(folder.join("audit")) }).unwrap(),
            ),
            desk: Arc::default(),
            budgets: Arc::default(),
            mask_key: Arc::new(Key::ephemeral()),
        },
        settling: Arc::default(),
        live: Live::default(),
        waiting: Waiting::default(),
    })
}

/// Messages by their type byte; errors with severity and code.
fn show(bytes: &[u8]) -> Vec<String> {
    let (mut said, mut rest) = (Vec::new(), bytes);
    while let [tag, behind @ ..] = rest {
        if *tag == b'N' && behind.first_chunk::<4>().is_none_or(|length| u32::from_be_bytes(*length) > 10_000) {
            said.push("N".to_owned());
            rest = behind;
            continue;
        }
        let Some((length, body)) = behind.split_first_chunk::<4>() else { break };
        let length = u32::from_be_bytes(*length) as usize - 4;
        let Some((body, behind)) = body.split_at_checked(length) else { break };
        rest = behind;
        said.push(match tag {
            b'E' => {
                let fields: Vec<_> = body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                let get =
                    |letter| fields.iter().find_map(|field| field.strip_prefix(letter)).unwrap_or_default().to_owned();
                format!("{}({})", get('V'), get('C'))
            }
            b'v' => format!("v({})", u32::from_be_bytes(*body.first_chunk::<4>().unwrap()) & 0xffff),
            b'K' => format!("K({})", body.len() - 4),
            b'Z' => format!("Z({})", body[0] as char),
            b'R' | b'S' => continue_with(*tag, body),
            other => (*other as char).to_string(),
        });
    }
    said.dedup_by(|next, first| next == "S" && first == "S");
    said
}

fn continue_with(tag: u8, body: &[u8]) -> String {
    if tag == b'R' { format!("R({})", body[3]) } else { "S".to_owned() }
}

pub(crate) fn startup(minor: u16, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = ((3u32 << 16) | u32::from(minor)).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn server(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    if matches!(behaviour, Behaviour::Absent) {
        return address;
    }
    // Ends with the test's process; every connection ends when the proxy closes it.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, behaviour));
        }
    });
    address
}

/// `None` when the proxy has hung up.
fn converse(mut stream: TcpStream, behaviour: Behaviour) -> Option<()> {
    let packet = sized(&mut stream, 4)?;
    if let Behaviour::Says(bytes) = behaviour {
        stream.write_all(bytes).ok()?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok()?;
        return Some(());
    }
    let is_catalog = packet.windows(21).any(|window| window == b"interceptor catalogue");
    let mut hello = message(b'R', &0u32.to_be_bytes());
    hello.extend(message(b'S', b"client_encoding\0UTF8\0"));
    hello.extend(message(b'S', b"standard_conforming_strings\0on\0"));
    hello.extend(message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]));
    hello.extend(message(b'Z', b"I"));
    stream.write_all(&hello).ok()?;
    loop {
        let mut tag = [0];
        stream.read_exact(&mut tag).ok()?;
        let body = sized(&mut stream, 4)?;
        let mut answer = Vec::new();
        match (tag[0], behaviour) {
            (b'Q', Behaviour::Answers(bytes)) if !is_catalog => answer.extend_from_slice(bytes),
            (b'Q', _) => {
                let results = String::from_utf8_lossy(&body).matches("select").count().min(9);
                for _ in 0..if is_catalog { 14 } else { results } {
                    answer.extend(message(b'T', b"\0\0"));
                    answer.extend(message(b'C', b"SELECT 0\0"));
                }
                answer.extend(message(b'Z', b"I"));
            }
            (b'X', _) => {
                stream.shutdown(Shutdown::Both).ok()?;
                return Some(());
            }
            _ => {}
        }
        stream.write_all(&answer).ok()?;
    }
}

/// A length word that counts itself, and what follows it.
fn sized(stream: &mut TcpStream, word: usize) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).checked_sub(word)?];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}
