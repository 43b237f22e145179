//! Asking a running daemon.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on `{path}`; is it running, and may you open its socket?")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The conversation failed.
    #[error("the daemon's answer could not be read")]
    Conversation(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The daemon says no.
    #[error("the daemon answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        text: String,
    },
}

/// Asks for a path and reads the JSON that comes back.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    let request = Request::get(path).header(header::HOST, HOST).body(Full::default());
    send(socket, request).await
}

/// Says something, as whoever the token says, and reads the JSON that comes back.
pub async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    token: Option<&str>,
    said: &impl Serialize,
) -> Result<T, ClientError> {
    let said = serde_json::to_vec(said).map_err(|error| ClientError::Conversation(error.into()))?;
    let request = Request::post(path).header(header::HOST, HOST).header(header::CONTENT_TYPE, "application/json");
    let request = match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    send(socket, request.body(Full::from(said))).await
}

/// HTTP wants a name.
const HOST: &str = "interceptor";

async fn send<T: DeserializeOwned>(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<T, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::NoDaemon { path: socket.to_owned(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::Conversation(error.into()))?;
    let request = request.map_err(|error| ClientError::Conversation(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    let (status, body) = tokio::select! {
        answer = exchange => answer.map_err(|error| ClientError::Conversation(error.into()))?,
        ended = connection => {
            let error = ended.err().map_or_else(|| "the daemon hung up".into(), Into::into);
            return Err(ClientError::Conversation(error));
        }
    };
    if !status.is_success() {
        return Err(ClientError::Refused {
            status: status.as_u16(),
            text: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    serde_json::from_slice(&body).map_err(|error| ClientError::Conversation(error.into()))
}
