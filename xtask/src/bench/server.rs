//! A server that logs anybody in by SCRAM-SHA-256 (RFC 5802, RFC 7677) and does nothing else: behind it, what a connection
//! costs the daemon shows. PostgreSQL starts a process for each, and the machine would be busy with those.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::{net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::{LocalSet, spawn_local},
};

/// What it takes for a password.
pub(super) const PASSWORD: &str = "secret";
const SALT: &[u8] = b"not that secret!";
const ITERATIONS: u32 = 4096;
/// Longest message that it reads, in bytes: the questions about the catalogue are the longest that come.
const MOST: usize = 1 << 20;
/// Connections that may wait to be taken.
const BACKLOG: u32 = 4096;

/// Serves until the process ends, on a thread of its own.
pub(super) fn start(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime
        .block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        })
        .with_context(|| format!("cannot listen on {address}"))?;
    std::thread::spawn(move || {
        let key: Rc<[u8]> = server_key().into();
        LocalSet::new().block_on(&runtime, async {
            while let Ok((stream, _)) = listener.accept().await {
                let key = key.clone();
                // A client that goes away, or says what nobody says, ends its own connection only.
                spawn_local(async move { drop(serve(stream, &key).await) });
            }
        });
    });
    Ok(())
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// `HMAC(Hi(password, salt, i), "Server Key")` (RFC 5802, 3).
fn server_key() -> Vec<u8> {
    let mut round = hmac(PASSWORD.as_bytes(), &[SALT, &[0, 0, 0, 1]].concat());
    let mut salted = round.clone();
    for _ in 1..ITERATIONS {
        round = hmac(PASSWORD.as_bytes(), &round);
        salted.iter_mut().zip(&round).for_each(|(byte, other)| *byte ^= other);
    }
    hmac(&salted, b"Server Key")
}

async fn serve(mut stream: TcpStream, key: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let packet = body(&mut stream).await?;
        match packet.first_chunk().map(|code| u32::from_be_bytes(*code)) {
            // SSLRequest and GSSENCRequest (54.2.10).
            Some(80_877_103 | 80_877_104) => stream.write_all(b"N").await?,
            Some(196_608) => break,
            _ => bail!("not a log-in"),
        }
    }
    stream.write_all(&message(b'R', &[&10_u32.to_be_bytes(), &b"SCRAM-SHA-256\0\0"[..]].concat())).await?;
    let first = answer(&mut stream).await?;
    let bare = first.split("n,,").nth(1).context("no gs2 header")?;
    let nonce = bare.split_once("r=").context("no nonce")?.1;
    let challenge = format!("r={nonce}{},s={},i={ITERATIONS}", nonce.len(), STANDARD.encode(SALT));
    stream.write_all(&message(b'R', &[&11_u32.to_be_bytes(), challenge.as_bytes()].concat())).await?;
    let last = answer(&mut stream).await?;
    let unproven = last.rsplit_once(",p=").context("no proof")?.0;
    // Who it is does not matter here; that we know the password has to be shown.
    let proof = STANDARD.encode(hmac(key, format!("{bare},{challenge},{unproven}").as_bytes()));
    let mut out = message(b'R', &[&12_u32.to_be_bytes(), format!("v={proof}").as_bytes()].concat());
    out.extend(message(b'R', &0_u32.to_be_bytes()));
    for (name, value) in [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "Etc/UTC"),
    ] {
        out.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    out.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
    out.extend(message(b'Z', b"I"));
    stream.write_all(&out).await?;
    loop {
        let tag = stream.read_u8().await?;
        let text = body(&mut stream).await?;
        match tag {
            b'Q' => {
                drop(text);
                let done = [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat();
                stream.write_all(&done).await?;
            }
            _ => return Ok(()),
        }
    }
}

/// What follows a length.
async fn body(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    if !(4..=MOST).contains(&length) {
        bail!("a message of {length} bytes");
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// The text of a SASL message.
async fn answer(stream: &mut TcpStream) -> Result<String> {
    if stream.read_u8().await? != b'p' {
        bail!("something else than an answer");
    }
    Ok(String::from_utf8_lossy(&body(stream).await?).into_owned())
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}
