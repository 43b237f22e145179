//! Sessions that are carried without being understood: where policies are only observed nothing of the host is to break, so a
//! client that wants what cannot be followed (replication, a log-in by GSSAPI, settings that change what statements mean) gets
//! it, and the record says that nobody has looked.

use super::login::{LoginError, mechanisms};
use super::relayed::{SCRAM, offer, secured};
use super::route::Route;
use super::tls::{Connector, Stream};
use crate::wire::{Startup, startup_again};
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, copy_bidirectional};

/// Sends on what the client has said so far, then whatever either side says until both have ended. Gives how many bytes went
/// up and down.
pub(super) async fn carry(
    route: &Route,
    source: Option<SocketAddr>,
    tls: &Connector,
    startup: &Startup,
    client: &mut Stream,
    said: &BytesMut,
) -> Result<(u64, u64), LoginError> {
    let mut server = secured(route, source, tls).await?;
    server.send(&startup_again(startup)).await.map_err(LoginError::Lost)?;
    server.send(said).await.map_err(LoginError::Lost)?;
    // The client's channel ends here, and so would what it binds to it.
    loop {
        let message = one(&mut server).await.map_err(LoginError::Lost)?;
        let offers = matches!(*message, [b'R', _, _, _, _, 0, 0, 0, 10, ..]);
        let offered = message.get(9..).filter(|_| offers).is_some_and(|offered| mechanisms(offered).contains(&SCRAM));
        let message = if offered { offer() } else { message };
        client.send(&message).await.map_err(LoginError::ClientLost)?;
        if message.first() != Some(&b'v') {
            break;
        }
    }
    copy_bidirectional(client, &mut server).await.map_err(LoginError::Lost)
}

/// One message of a server that has said nothing else yet.
async fn one(server: &mut Stream) -> io::Result<BytesMut> {
    /// Longer ones do not come before a log-in.
    const MOST: usize = 30_000;
    let mut message = BytesMut::zeroed(5);
    server.read_exact(&mut message).await?;
    let length =
        message.get(1..).and_then(|word| word.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word) as usize);
    if !(4..=MOST).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(1 + length, 0);
    server.read_exact(message.get_mut(5..).unwrap_or_default()).await?;
    Ok(message)
}
