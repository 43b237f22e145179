//! Why connections come to nothing: what the client is told, which is little, and what the record says, which is all.

use super::login::LoginError;
use crate::audit::AuditError;
use crate::session::audit_report;
use crate::telemetry::metrics;
use crate::wire::{Report, SqlState};
use std::net::SocketAddr;

/// Why somebody is not let in: what the client is told and what the record says.
pub(super) struct Refused {
    pub(super) report: Box<Report>,
    pub(super) reason: String,
    /// Whether it is because the session could not be followed, and not because of who it is.
    pub(super) unfollowed: bool,
}

impl Refused {
    pub(super) fn new(report: Report, reason: String) -> Self {
        Self { report: Box::new(report), reason, unfollowed: false }
    }

    pub(super) fn told(report: Report) -> Self {
        let reason = report.message.clone();
        Self::new(report, reason)
    }
}

pub(super) fn unidentified(reason: String) -> Refused {
    // One text for all reasons: whoever probes learns nothing.
    let report = Report::fatal(SqlState::INVALID_AUTHORIZATION, "the agent's identity is not accepted")
        .hint("connections of this process need a valid identity token; the reason is in the audit of this host");
    Refused::new(report, reason)
}

pub(super) fn unavailable(text: &str) -> Report {
    Report::fatal(SqlState::CANNOT_CONNECT_NOW, text).hint("try again later")
}

pub(super) fn unrecorded(error: &AuditError) -> Refused {
    Refused::new(audit_report(error), with_sources(error))
}

pub(super) fn not_connected(error: &LoginError) -> Refused {
    metrics().upstream_failed(if matches!(error, LoginError::Unreachable(_)) { "connect" } else { "login" });
    let report = match error {
        LoginError::Unreachable(_) => {
            Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the database server cannot be reached")
        }
        LoginError::Refused { sqlstate, .. } if sqlstate == "3D000" => {
            Report::fatal(SqlState::INVALID_CATALOG_NAME, "the database does not exist")
        }
        LoginError::Refused { sqlstate, .. } if sqlstate == "53300" => {
            Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "the database server has too many connections")
        }
        LoginError::Elsewhere => Report::fatal(SqlState::CANNOT_CONNECT_NOW, error.to_string())
            .hint("whoever operates this host asks for `tls = \"verify-full\"` in the [[upstream]] of this database"),
        LoginError::Lost(_)
        | LoginError::Stopped
        | LoginError::Uncarried(_)
        | LoginError::Refused { .. }
        | LoginError::Protocol(_)
        | LoginError::Downgrade(_)
        | LoginError::Tls(_)
        | LoginError::Secret(_)
        | LoginError::Token(_)
        | LoginError::Bound
        | LoginError::ClientLost(_)
        | LoginError::Client(_)
        | LoginError::NotNow
        | LoginError::Scram(_)
        | LoginError::Unproven => {
            Report::fatal(SqlState::CONNECTION_FAILURE, "the database server did not let interceptor in")
                .hint("the reason is in the audit of this host")
        }
    };
    Refused::new(report, with_sources(error))
}

/// Why a client that logs in itself does not get in: in the server's own words, where it has some.
pub(super) fn not_let_in(error: &LoginError) -> Refused {
    let report = match error {
        LoginError::Refused { sqlstate, message } => {
            let code = match sqlstate.as_str() {
                "28P01" => SqlState::INVALID_PASSWORD,
                "3D000" => SqlState::INVALID_CATALOG_NAME,
                "53300" => SqlState::TOO_MANY_CONNECTIONS,
                "57P03" => SqlState::CANNOT_CONNECT_NOW,
                _ => SqlState::INVALID_AUTHORIZATION,
            };
            Report::fatal(code, message)
        }
        LoginError::Bound => Report::fatal(SqlState::INVALID_AUTHORIZATION, error.to_string())
            .hint("connect with channel_binding=disable and sslmode=disable, or have a credential configured for this database"),
        LoginError::Downgrade(_) | LoginError::Uncarried(_) => Report::fatal(SqlState::INVALID_AUTHORIZATION, error.to_string())
            .hint("whoever operates this host adds an [[upstream]] for the database"),
        LoginError::Client(_) => Report::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()),
        _ => return not_connected(error),
    };
    let unfollowed = matches!(error, LoginError::Uncarried(_));
    Refused { unfollowed, ..Refused::new(report, with_sources(error)) }
}

/// An error with its causes, in one line.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(super) fn no_credential(server: SocketAddr, database: &str) -> Refused {
    let text = format!("no credential is configured for database \"{database}\" on {server}");
    let hint = "whoever operates this host adds an [[upstream]]";
    Refused::new(Report::fatal(SqlState::CANNOT_CONNECT_NOW, &text).hint(hint), text)
}
