//! A local OIDC issuer with a token exchange, for trying things out and for tests. It speaks what a real one speaks
//! (discovery, JWKS, RFC 8693), so that the daemon needs nothing special for it.
//!
//! Subject tokens come from an endpoint of its own that takes a random secret, and that also signs tokens which a real
//! issuer would not: expired, for other audiences, with a foreign key, with none.

mod exchange;
mod keys;
mod mint;

pub(crate) use mint::Wanted;

use anyhow::{Context, Result, bail};
use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use keys::Keys;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::net::TcpListener;

/// What subject tokens are for.
pub(crate) const AUDIENCE: &str = "interceptor";

/// What exchanged tokens are for.
pub(crate) const DATABASES: &str = "postgres";

/// How long an exchanged token is good for, in seconds.
const LIFETIME: u64 = 3600;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints its URL and the secret of its endpoints for tests as one line of JSON, then runs until it is interrupted.

Examples:
  cargo xtask issuer --listen 127.0.0.1:8080
  curl -H \"authorization: Bearer $SECRET\" -d '{\"subject\":\"agent:ci\",\"expires_in\":-60}' $URL/admin/tokens"
)]
pub(crate) struct Options {
    /// Where to listen; a loopback address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write the secret to a file (0600) as well
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// `cargo xtask issuer`
pub(crate) fn serve(options: &Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let issuer = Issuer::start(options.listen).await?;
        if let Some(file) = &options.secret_file {
            issuer.write_secret(file)?;
        }
        println!("{}", json!({"url": issuer.url(), "secret": issuer.0.secret}));
        tokio::signal::ctrl_c().await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A running issuer; it ends with the runtime that it was started on.
#[derive(Clone)]
pub(crate) struct Issuer(Arc<Shared>);

struct Shared {
    url: String,
    secret: String,
    keys: Mutex<Keys>,
}

impl Issuer {
    /// Binds and serves.
    pub(crate) async fn start(listen: SocketAddr) -> Result<Self> {
        if !listen.ip().is_loopback() {
            bail!("the issuer vouches for whoever knows its secret: `{listen}` is not a loopback address");
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let issuer = Self(Arc::new(Shared { url, secret: secret(), keys: Mutex::new(Keys::new()?) }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/admin/tokens", post(admin_token))
            .route("/admin/rotate", post(admin_rotate))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(issuer)
    }

    /// Its identifier.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Signs a token.
    pub(crate) fn mint(&self, wanted: &Wanted) -> Result<String> {
        self.with_keys(|keys| wanted.mint(self.url(), keys))
    }

    /// Leaves the secret of the endpoints under `/admin` for whoever may read the file.
    pub(crate) fn write_secret(&self, path: &Path) -> Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(self.0.secret.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn with_keys<T>(&self, work: impl FnOnce(&mut Keys) -> T) -> T {
        work(&mut self.0.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        given.strip_prefix("Bearer ").is_some_and(|given| given == self.0.secret)
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Json<Value> {
    let url = issuer.url();
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}/token"),
        "grant_types_supported": [exchange::GRANT],
        "id_token_signing_alg_values_supported": ["ES256", "EdDSA"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
    }))
}

async fn jwks(State(issuer): State<Issuer>) -> Json<Value> {
    Json(issuer.with_keys(|keys| keys.public()))
}

async fn token(State(issuer): State<Issuer>, Form(form): Form<Vec<(String, String)>>) -> Response {
    let answer = issuer.with_keys(|keys| exchange::exchange(issuer.url(), keys, &form, LIFETIME));
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => {
            (StatusCode::BAD_REQUEST, json!({"error": refusal.error, "error_description": refusal.description}))
        }
    };
    // RFC 6749 section 5.1.
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn admin_token(State(issuer): State<Issuer>, headers: HeaderMap, body: String) -> Response {
    if !issuer.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // Not axum's extractor: `curl -d` sends no content type of JSON.
    let minted = serde_json::from_str::<Wanted>(&body)
        .context("the body is not what is wanted")
        .and_then(|wanted| issuer.mint(&wanted));
    match minted {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")).into_response(),
    }
}

/// New keys; the old ones are gone at once, as after a leak.
async fn admin_rotate(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    if !issuer.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match Keys::new() {
        Ok(new) => issuer.with_keys(|keys| *keys = new),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
    StatusCode::NO_CONTENT.into_response()
}

/// 128 random bits as text.
pub(crate) fn secret() -> String {
    rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

/// The demo's agents work for longer than a tour takes.
pub(crate) const DAY: i64 = 24 * 3600;

/// Where `run` leaves the secret, beside the daemon's configuration.
pub(crate) const SECRET_FILE: &str = "issuer-secret";
