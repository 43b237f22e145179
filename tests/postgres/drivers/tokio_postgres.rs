//! tokio-postgres as an agent uses it: statements prepared and in pipelines, portals in portions, COPY, cancel, TLS.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what it prints is what the test looks at, and a panic is a failure of the test"
)]

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, SimpleQueryMessage, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let mut config = Config::new();
    config.host(variable("PGHOST")).port(5432).dbname("shop").user("agent").password("not-the-password");
    match variable("MODE").as_str() {
        "disable" => {
            let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await.unwrap();
            println!("tls False");
            run(client, connection, NoTls).await;
        }
        mode => {
            let tls = Tls::new((mode == "verify-full").then(|| variable("CA")));
            let (client, connection) = config.ssl_mode(SslMode::Require).connect(tls.clone()).await.unwrap();
            println!("tls True");
            run(client, connection, tls).await;
        }
    }
}

async fn run<S, T>(mut client: Client, mut connection: Connection<Socket, S>, tls: T)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: MakeTlsConnect<Socket>,
{
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let driving = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let line = match message {
                AsyncMessage::Notice(notice) => format!("{} {}", notice.severity(), notice.message()),
                AsyncMessage::Notification(note) => format!("{} {}", note.channel(), note.payload()),
                _ => "something else".to_owned(),
            };
            drop(said.send(line));
        }
    });
    let row = client.query_one("select id, name, tags, raw, active, amount, ratio from item where id = $1", &[&1_i32]);
    let row = row.await.unwrap();
    let (id, name, tags): (i32, &str, Vec<&str>) = (row.get(0), row.get(1), row.get(2));
    let (raw, active, amount, ratio): (&[u8], bool, i64, f64) = (row.get(3), row.get(4), row.get(5), row.get(6));
    println!("{id} {name} {tags:?} {raw:?} {active} {amount} {ratio}");
    let shouted = client.query_one("select shout($1)", &[&"hey"]).await.unwrap();
    println!("{} {}", shouted.get::<_, &str>(0), heard.recv().await.unwrap());
    for (text, simple) in [
        ("select 1 / 0", false),
        ("insert into item (name) values ('')", false),
        ("selec 1", true),
        ("select * from nowhere", false),
        ("select secret from vault", true),
        ("select secret from vault", false),
    ] {
        let failed =
            if simple { client.simple_query(text).await.err() } else { client.query(text, &[]).await.err() }.unwrap();
        println!("{}", shown(&failed));
    }
    // A pipeline: all of it is sent before the first answer is waited for, a refusal in the middle.
    let doubled = client.prepare("select $1::int * 2").await.unwrap();
    let one: [&(dyn ToSql + Sync); 1] = [&1_i32];
    let (first, refused, last) = tokio::join!(
        client.query_one(&doubled, &one),
        client.query("select secret from vault", &[]),
        client.query_one(&doubled, &one),
    );
    println!("{} {} {}", first.unwrap().get::<_, i32>(0), shown(&refused.unwrap_err()), last.unwrap().get::<_, i32>(0));
    let mut numbers = Vec::new();
    for n in 0..200_i32 {
        numbers.push(client.query_one(&doubled, &[&n]).await.unwrap().get::<_, i32>(0));
    }
    println!("prepared {}", numbers.iter().sum::<i32>());
    for message in client.simple_query("select 1 as a; select null; begin; rollback").await.unwrap() {
        match message {
            SimpleQueryMessage::Row(row) => println!("row {:?}", row.get(0)),
            SimpleQueryMessage::CommandComplete(count) => println!("complete {count}"),
            _ => {}
        }
    }
    portions(&mut client).await.unwrap();
    let mut sink = pin!(client.copy_in("copy part (id, item_id) from stdin").await.unwrap());
    for n in 1..=1000 {
        sink.send(Bytes::from(format!("{n}\t1\n"))).await.unwrap();
    }
    println!("copied in {}", sink.finish().await.unwrap());
    let mut out = pin!(client.copy_out("copy (select id from part order by id limit 2) to stdout").await.unwrap());
    while let Some(piece) = out.next().await {
        println!("copied out {:?}", piece.unwrap());
    }
    println!("deleted {}", client.execute("delete from part", &[]).await.unwrap());
    let token = client.cancel_token();
    let (slept, cancelled) = tokio::join!(client.query("select pg_sleep(30)", &[]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(tls).await
    });
    cancelled.unwrap();
    println!("{}", shown(&slept.unwrap_err()));
    println!("{}", client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0));
    driving.abort();
}

/// A portal that is run in portions, in a transaction with a savepoint that is rolled back.
async fn portions(client: &mut Client) -> Result<(), Error> {
    let mut transaction = client.transaction().await?;
    let portal = transaction.bind("select generate_series(1, 10)", &[]).await?;
    let (first, then) = (transaction.query_portal(&portal, 4).await?, transaction.query_portal(&portal, 0).await?);
    println!("portions {} {}", first.len(), then.len());
    let saved = transaction.savepoint("a").await?;
    println!("{}", shown(&saved.query("select 1 / 0", &[]).await.unwrap_err()));
    saved.rollback().await?;
    println!("{}", transaction.query_one("select 1", &[]).await?.get::<_, i32>(0));
    transaction.rollback().await
}

fn shown(error: &Error) -> String {
    let Some(said) = error.as_db_error() else { return error.to_string() };
    format!("{} {} | {}", said.code().code(), said.message(), said.detail().unwrap_or("none"))
}

/// TLS by rustls, as crates for this driver do it.
#[derive(Clone)]
struct Tls(Arc<ClientConfig>);

impl Tls {
    /// With a CA the server has to be the one that was dialled, without one it may be anybody.
    fn new(ca: Option<String>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let config = match ca {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => {
                let anybody = Arc::new(Anybody(provider.signature_verification_algorithms, provider));
                builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
            }
        };
        Self(Arc::new(config))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = To;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<To, io::Error> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        Ok(To(self.0.clone(), name))
    }
}

struct To(Arc<ClientConfig>, ServerName<'static>);

impl TlsConnect<Socket> for To {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, io::Error>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let Self(config, name) = self;
            tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map(Encrypted)
        })
    }
}

struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// `sslmode=require`.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms, Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}
