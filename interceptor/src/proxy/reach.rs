//! Whether the databases that the configuration names answer, for whoever looks after the host. Asked by the daemon, whose own
//! connections nobody captures.

use super::login::LoginError;
use super::upstream::{Credential, Server, Upstream, Upstreams};
use crate::identity::{Reached, ahead};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For each of them; they are tried at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which database is asked for where the entry is for any.
const ANY: &str = "postgres";

/// Tries all of them.
pub async fn reach(upstreams: &Upstreams) -> Vec<Reached> {
    let mut tried = Vec::new();
    for (upstream, credential) in upstreams.entries() {
        let (upstream, credential) = (upstream.clone(), credential.clone());
        tried.push(tokio::spawn(async move { one(&upstream, &credential).await }));
    }
    let mut reached = Vec::new();
    for one in tried {
        reached.extend(one.await);
    }
    reached
}

async fn one(upstream: &Upstream, credential: &Credential) -> Reached {
    let name = format!("{} at {}", upstream.database, upstream.server);
    let reached = |ok, detail: String, ahead| Reached { who: name.clone(), ok, detail, ahead };
    let Ok(address) = upstream.server.parse::<SocketAddr>() else {
        return reached(true, "is for servers that are known when they are dialled".to_owned(), None);
    };
    let began = Instant::now();
    let tried = async {
        match credential.is_plain() {
            true => log_in(upstream, credential, address).await,
            false => TcpStream::connect(address)
                .await
                .map(|_| ("answers; who logs in there is known when somebody does".to_owned(), None))
                .map_err(LoginError::Unreachable),
        }
    };
    match timeout(PATIENCE, tried).await {
        Ok(Ok((said, ahead))) => reached(true, format!("{said} ({} ms)", began.elapsed().as_millis()), ahead),
        Ok(Err(error)) => reached(false, format!("{:#}", anyhow::Error::from(error)), None),
        Err(_) => reached(false, format!("has not answered within {} s", PATIENCE.as_secs()), None),
    }
}

/// What it says of itself, and how far its clock is ahead.
async fn log_in(
    upstream: &Upstream,
    credential: &Credential,
    address: SocketAddr,
) -> Result<(String, Option<i64>), LoginError> {
    let any = upstream.database.contains('*');
    let database = if any { ANY } else { &upstream.database };
    let parameters =
        [("database", database), ("application_name", "interceptor doctor")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let mut server = match Server::connect(&address.into(), None, credential, &parameters).await {
        // 3D000, 42501: it knows the role, and has no such database, or not for it.
        Err(LoginError::Refused { sqlstate, .. }) if any && matches!(sqlstate.as_str(), "3D000" | "42501") => {
            return Ok((format!("lets in {}", credential.user), None));
        }
        other => other?,
    };
    let (mut version, mut clock) = (String::new(), None);
    let question = "select pg_catalog.current_setting('server_version'), \
                    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::pg_catalog.int8";
    server
        .ask(question, |_, row| {
            version = row.first().copied().flatten()?.to_owned();
            clock = Some(ahead(row.get(1).copied().flatten()?.parse().ok()?));
            Some(())
        })
        .await?;
    if let Err(error) = server.bye().await {
        tracing::debug!(%error, "the server did not hear that this was all");
    }
    Ok((format!("lets in {} to {database}, PostgreSQL {version}", credential.user), clock))
}
