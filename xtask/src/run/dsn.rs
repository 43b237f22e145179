//! Where a database is and how to log in: `postgresql://user:password@host:port/database`.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, ToSocketAddrs};
use url::Url;

/// A database that is reached by TCP with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dsn {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: String,
}

impl Dsn {
    pub(super) fn read(text: &str) -> Result<Self> {
        // A special scheme, so that hosts are read as hosts; the text is not repeated, because it has a password in it.
        let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        let rest = rest.context("the DSN does not begin with postgresql://")?;
        let url = Url::parse(&format!("http://{rest}")).context("the DSN is not a URL")?;
        if url.query().is_some() {
            bail!("parameters behind the DSN's `?` are not understood: leave them out");
        }
        let dsn = Self {
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: if rest.contains(":80/") || rest.ends_with(":80") { 80 } else { url.port().unwrap_or(5432) },
            database: decoded(url.path().trim_start_matches('/'))?,
            user: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?,
        };
        let parts = [
            ("a host", &dsn.host),
            ("a database", &dsn.database),
            ("a user", &dsn.user),
            ("a password", &dsn.password),
        ];
        if let Some((part, _)) = parts.into_iter().find(|(_, part)| part.is_empty()) {
            bail!("the DSN lacks {part}: postgresql://user:password@host:port/database");
        }
        Ok(dsn)
    }

    /// Every address that the host has.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        Ok(addresses.with_context(|| format!("cannot resolve `{}`", self.host))?.collect())
    }

    /// As libpq and all drivers read it.
    pub(super) fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let part = |text: &str| encoded(text);
        format!(
            "postgresql://{}:{}@{host}:{}/{}",
            part(&self.user),
            part(&self.password),
            self.port,
            part(&self.database)
        )
    }
}

fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| {
            char::from(byte.unwrap_or_default()).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        };
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                high.zip(low).map(|(high, low)| high << 4 | low).context("the DSN has a `%` without two digits")?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).context("the DSN is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::Dsn;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = Dsn::read(text).map_or_else(
            |error| error.to_string(),
            |dsn| format!("{} {} {} {} {}", dsn.host, dsn.port, dsn.database, dsn.user, dsn.password),
        );
        assert!(found.contains(expected), "{text}: {found}");
        if let Ok(dsn) = Dsn::read(text) {
            assert_eq!(Dsn::read(&dsn.url()).unwrap(), dsn);
        }
    }

    #[test]
    fn a_dsn_has_all_its_parts() {
        check("postgresql://u:p@127.0.0.1:5433/shop", "127.0.0.1 5433 shop u p");
        check("postgres://u:p@db/shop", "db 5432 shop u p");
        check("postgres://u:p@db:80/shop", "db 80 shop u p");
        check("postgresql://u:p%40%25@[::1]/a%2Fb", "::1 5432 a/b u p@%");
        check("postgresql://u:p@h/d?sslmode=require", "not understood");
        check("postgresql://u@h/d", "lacks a password");
        check("postgresql://u:p@h", "lacks a database");
        check("postgresql://u:%zz@h/d", "without two digits");
        check("mysql://u:p@h/d", "does not begin with");
    }
}
