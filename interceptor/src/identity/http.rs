//! Asking issuers over HTTP, with everything bounded that the other side could stretch.

use reqwest::{
    Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, DATE},
    redirect::Policy,
};
use std::{error::Error, net::IpAddr, time::Duration};
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// For a whole request, its body included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Key sets and answers are a few kilobytes.
const BODY: usize = 1 << 20;

/// Why a request brought no usable answer. One line, without anything that was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use `{url}`: {why}")]
pub struct HttpError {
    pub(super) url: String,
    pub(super) why: String,
    /// Whether there was an answer that is not to be believed, in difference to none: asking again does not help then.
    pub(super) mistaken: bool,
}

impl HttpError {
    pub(super) fn unreachable(url: impl Into<String>, why: impl Into<String>) -> Self {
        Self { url: url.into(), why: why.into(), mistaken: false }
    }

    pub(super) fn mistaken(url: impl Into<String>, why: impl Into<String>) -> Self {
        Self { url: url.into(), why: why.into(), mistaken: true }
    }
}

/// An HTTP client that goes where it is told and nowhere else.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
}

/// Status and body of a JSON answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When it was made by the other side's clock, in seconds since 1970 (`Date`, RFC 9110, 6.6.1).
    pub(super) date: Option<i64>,
    pub(super) body: Vec<u8>,
}

/// What a client trusts and shows, where that is not what the host trusts and nothing.
#[derive(Debug, Default, Clone)]
pub(super) struct Tls {
    /// CAs in PEM.
    pub(super) ca: Option<Vec<u8>>,
    /// A certificate and its key in PEM (RFC 8705).
    pub(super) identity: Option<Vec<u8>>,
}

impl Http {
    pub(super) fn new(tls: &Tls) -> Result<Self, HttpError> {
        // The provider is the process's; whoever was first to install one, it is the only one that is compiled in.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .timeout(TIMEOUT)
            // A redirect would be a way to make the daemon ask somebody whom nobody configured; so would a proxy.
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            // Requests are rare and answers are cached; a kept connection would belong to the runtime that opened it.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("interceptor/", env!("CARGO_PKG_VERSION")));
        let wrong = |what: &str, error: &dyn Error| HttpError::mistaken("https", format!("{what}: {}", chain(error)));
        if let Some(ca) = &tls.ca {
            let certificates = Certificate::from_pem_bundle(ca).map_err(|error| wrong("the CA file", &error))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(identity) = &tls.identity {
            let identity = Identity::from_pem(identity).map_err(|error| wrong("the client certificate", &error))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|error| {
            HttpError::mistaken("https", format!("{} (is the package ca-certificates installed?)", chain(&error)))
        })?;
        Ok(Self { client })
    }

    /// Asks as whoever the token says.
    pub(super) async fn get_as(&self, url: Url, bearer: &str) -> Result<Answer, HttpError> {
        // What the query says is for the other side alone.
        let at = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
        self.ask(&at, self.client.get(url).bearer_auth(bearer)).await
    }

    pub(super) async fn get(&self, url: Url) -> Result<Answer, HttpError> {
        let at = url.to_string();
        let answer = self.ask(&at, self.client.get(url)).await?;
        if answer.status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(HttpError::unreachable(at, format!("the answer is {}", answer.status)))
        }
    }

    /// Posts a form. Every status is an answer here, because an error has a body that says why.
    pub(super) async fn post(
        &self,
        url: Url,
        form: &[(&str, &str)],
        login: Option<(&str, &str)>,
    ) -> Result<Answer, HttpError> {
        let at = url.to_string();
        let request = self.client.post(url).form(form);
        let request = match login {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        self.ask(&at, request).await
    }

    async fn ask(&self, url: &str, request: RequestBuilder) -> Result<Answer, HttpError> {
        let wrong = |why: String| HttpError::unreachable(url, why);
        let response = request
            .header(ACCEPT, "application/json")
            .send()
            .await
            .map_err(|error| wrong(chain(&error.without_url())))?;
        if !is_json(&response) {
            return Err(wrong(format!("the answer ({}) is not JSON", response.status())));
        }
        let status = response.status();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).and_then(seconds);
        let body = read(response).await.map_err(wrong)?;
        Ok(Answer { status, date, body })
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if body.len() + chunk.len() > BODY {
            return Err(format!("the answer is longer than {BODY} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An IMF-fixdate (RFC 9110, 5.6.7).
fn seconds(date: &str) -> Option<i64> {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    PrimitiveDateTime::parse(date, FORM).ok().map(|date| date.assume_utc().unix_timestamp())
}

/// `application/json` and its relatives, such as `application/jwk-set+json`.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// A URL that may be asked: HTTPS, or HTTP to this very machine where that is allowed.
pub(super) fn allowed(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = allowed_with_query(text, allow_http)?;
    if url.query().is_some() {
        return Err(format!("`{text}` has a query or a fragment, which an issuer's URL must not have"));
    }
    Ok(url)
}

/// The same, with a query if there is one.
pub(super) fn allowed_with_query(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL of an issuer has a user name or password in it: use client_id and client_secret_file".to_owned()
        );
    }
    if url.fragment().is_some() {
        return Err(format!("`{text}` has a query or a fragment, which an issuer's URL must not have"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http && loopback(&url) => Ok(url),
        "http" if allow_http => Err(format!("`{text}` is plain HTTP to another machine: use https")),
        "http" => {
            Err(format!("`{text}` is plain HTTP: use https, or set allow_http for an issuer on a loopback address"))
        }
        _ => Err(format!("`{text}` is not an https URL")),
    }
}

fn loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error and what it rests on in one line: `reqwest`'s own text stops before the reason.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[track_caller]
    fn check(url: &str, allow_http: bool, expected: &str) {
        let found = allowed(url, allow_http).map_or_else(|why| why, |_| "allowed".to_owned());
        assert!(found.contains(expected), "{url}: {found}");
    }

    #[test]
    fn https_or_this_very_machine() {
        check("https://idp.example/agents", false, "allowed");
        check("http://127.0.0.1:8080", true, "allowed");
        check("http://[::1]:8080", true, "allowed");
        check("http://localhost:8080/x", true, "allowed");
        check("http://127.0.0.1:8080", false, "set allow_http");
        check("http://idp.example", true, "another machine");
        check("http://127.0.0.1.example", true, "another machine");
        check("ftp://127.0.0.1", true, "not an https URL");
        check("https://user:password@idp.example", false, "user name or password");
        check("https://idp.example?x=1", false, "query or a fragment");
        check("idp.example", false, "not a URL");
    }
}
