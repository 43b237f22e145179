//! A witness over HTTP sees every checkpoint, also those from while it was away; what is cut off a trail afterwards it knows.

use interceptor_tests::{Authority, Host, PORT, Server, environment};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "authorization: bearer of-the-witness";

/// A witness: takes what is posted by whoever knows the word, and gives all of it.
struct Stub {
    port: u16,
    answers: Arc<AtomicBool>,
    taken: Arc<Mutex<String>>,
}

impl Stub {
    fn start() -> Self {
        Self::listening(None)
    }

    /// Over TLS, with a certificate and its key.
    fn with_tls((certificate, key): &(String, String)) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Self::listening(Some(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())))
    }

    fn listening(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(String::new())));
        let (ready, kept) = (answers.clone(), taken.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // Whoever does not trust it hangs up.
                let served = match &tls {
                    None => serve(stream, &ready, &kept),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                        serve(rustls::StreamOwned::new(connection, stream), &ready, &kept)
                    }
                };
                drop(served);
            }
        });
        Self { port, answers, taken }
    }

    fn lines(&self) -> usize {
        self.taken.lock().unwrap().lines().count()
    }
}

/// One request and its answer.
fn serve(stream: impl Read + Write, ready: &AtomicBool, kept: &Mutex<String>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length, mut known) = (String::new(), 0, false);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        known |= line.trim().eq_ignore_ascii_case(SECRET);
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut kept = kept.lock().unwrap();
    let (status, answer) = match first.split(' ').next() {
        _ if !known => ("401 Unauthorized", String::new()),
        _ if !ready.load(Ordering::Relaxed) => ("503 Service Unavailable", String::new()),
        Some("POST") => {
            kept.push_str(&String::from_utf8(body).unwrap());
            ("204 No Content", String::new())
        }
        _ => ("200 OK", kept.clone()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    reader.get_mut().write_all(format!("{head}{answer}").as_bytes())?;
    reader.get_mut().flush()
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_witness_hears_of_every_checkpoint_and_knows_what_was_cut_off() {
    let stub = Stub::start();
    let bin = PathBuf::from(environment("PG_BIN"));
    let server = Server::start_from(&bin, &[], &[], "host all all 127.0.0.0/8 trust\n", "create role app login");
    let headers = std::env::temp_dir().join(format!("interceptor-witness-{:x}", rand::random::<u32>()));
    secret(&headers, &format!("{SECRET}\n"));
    let url = format!("http://127.0.0.1:{}/host", stub.port);
    let keys = format!("witness = \"{url}\"\nwitness_headers_file = \"{}\"\n[limits]", headers.display());
    let mut host = Host::installed(|text| text.replace("[limits]", &keys));
    let ask = format!("psql -XAt \"host={} port={PORT} user=app dbname=postgres\" -c 'select 7'", server.address);
    let asked = host.agent(&ask);
    assert_eq!(asked.stdout, "7\n", "{}\n{}", asked.stderr, host.log());

    // It is away: nobody waits for it, somebody is told, and nothing is lost.
    host.stop();
    host.start();
    let health = || host.operator("\"$INTERCEPTOR\" status").stdout;
    until("somebody is told", || health().contains("the witness has not taken 1 checkpoints"));
    assert!(host.log().contains("it answered 503"), "{}", host.log());
    assert_eq!((host.agent(&ask).stdout.as_str(), stub.lines()), ("7\n", 0));
    stub.answers.store(true, Ordering::Relaxed);
    until("it is given what was signed", || stub.lines() >= 1);
    until("all is well", || !health().contains("witness"));

    // What is signed at the very end is taken too.
    host.stop();
    let last = std::fs::read_to_string(host.path("audit").join("checkpoints.jsonl")).unwrap();
    assert_eq!(stub.taken.lock().unwrap().lines().last(), last.lines().last());
    let verify = format!("\"$INTERCEPTOR\" audit verify --witness {url} --witness-headers {}", headers.display());
    let verified = host.operator(&verify);
    assert_eq!(verified.status, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.contains("the witness has seen it signed up to record "), "{}", verified.stdout);
    let unknown = host.operator(&format!("\"$INTERCEPTOR\" audit verify --witness {url}"));
    assert!(unknown.status != 0 && unknown.stderr.contains("401"), "{}", unknown.stderr);

    // Whoever is root here puts all of it back to where it was.
    let (audit, before) = (host.path("audit"), host.path("before"));
    assert_eq!(host.operator(&format!("cp -a {} {}", audit.display(), before.display())).status, 0);
    host.start();
    assert_eq!(host.agent(&ask).stdout, "7\n");
    let taken = stub.lines();
    host.stop();
    assert!(stub.lines() > taken);
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::rename(&before, &audit).unwrap();
    assert_eq!(host.operator("\"$INTERCEPTOR\" audit verify").status, 0);
    let found = host.operator(&verify);
    assert!(
        found.status == 1 && found.stdout.contains("the trail does not lead to what was signed"),
        "{}",
        found.stdout
    );
    std::fs::remove_file(&headers).unwrap();
}

/// Only who shows a certificate of the CA that is configured, for the name that is dialled, is the witness.
#[test]
fn a_witness_is_known_by_its_certificate() {
    let (ours, others) = (Authority::new("witnesses"), Authority::new("somebody else"));
    let folder = std::env::temp_dir().join(format!("interceptor-witness-{:x}", rand::random::<u32>()));
    std::fs::create_dir_all(&folder).unwrap();
    let (ca, headers) = (folder.join("ca.pem"), folder.join("headers"));
    std::fs::write(&ca, ours.certificate()).unwrap();
    secret(&headers, &format!("{SECRET}\n"));
    for (certificate, trusted) in [
        (ours.issue("witness", &["127.0.0.1"]), true),
        (others.issue("witness", &["127.0.0.1"]), false),
        (ours.issue("witness", &["witness.example"]), false),
    ] {
        let stub = Stub::with_tls(&certificate);
        stub.answers.store(true, Ordering::Relaxed);
        let url = format!("https://127.0.0.1:{}/host", stub.port);
        let (ca, headers) = (ca.display(), headers.display());
        let keys =
            format!("witness = \"{url}\"\nwitness_headers_file = \"{headers}\"\nwitness_ca_file = \"{ca}\"\n[limits]");
        let mut host = Host::installed(|text| text.replace("[limits]", &keys));
        // Its end is signed, and what is signed is given.
        host.stop();
        host.start();
        let health = host.operator("\"$INTERCEPTOR\" status").stdout;
        if trusted {
            until("it is given what was signed", || stub.lines() >= 1);
            assert!(!health.contains("the witness has not taken"), "{health}");
        } else {
            until("somebody is told", || {
                host.operator("\"$INTERCEPTOR\" status").stdout.contains("the witness has not taken")
            });
            assert_eq!(stub.lines(), 0);
            assert!(host.log().contains("certificate"), "{}", host.log());
        }
        host.stop();
        let words = format!("audit verify --witness {url} --witness-headers {headers}");
        let verified = host.operator(&format!("\"$INTERCEPTOR\" {words} --witness-ca {ca}"));
        assert_eq!(verified.status == 0, trusted, "{}{}", verified.stdout, verified.stderr);
        // A CA of one's own is not among the host's.
        let unknown = host.operator(&format!("\"$INTERCEPTOR\" {words}"));
        assert!(unknown.status != 0 && unknown.stderr.contains("certificate"), "{}", unknown.stderr);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_witness_has_to_be_one_that_nobody_can_stand_in_for() {
    let start = |keys: &str| {
        let folder = std::env::temp_dir().join(format!("interceptor-witness-{:x}", rand::random::<u32>()));
        std::fs::create_dir_all(&folder).unwrap();
        let open = folder.join("open");
        std::fs::write(&open, "a: b\n").unwrap();
        let audit = folder.join("audit");
        let verify = format!(
            "{} audit verify --audit {} {}",
            interceptor_tests::binary().display(),
            audit.display(),
            keys.replace("OPEN", &open.display().to_string())
        );
        let said = std::process::Command::new("sh").args(["-c", &verify]).output().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        String::from_utf8_lossy(&said.stderr).into_owned()
    };
    #[track_caller]
    fn check(said: &str, expected: &str) {
        assert!(said.contains(expected), "{said}");
    }
    check(&start("--witness http://witness.example/x"), "a witness away from this host needs https");
    check(&start("--witness http://127.0.0.1:9/ --witness-headers OPEN"), "can be read by others; make it 0600");
    check(&start("--witness https://127.0.0.1:9/ --witness-ca /nonexistent"), "witness_ca_file `/nonexistent`");
}
