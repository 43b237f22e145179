//! What the daemon itself says to a client, in pgwire's message types.

use super::backend::TransactionStatus;
use super::sqlstate::SqlState;
use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus as PgwireStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};

/// Whether the connection outlives an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Fatal,
}

/// An error as an agent reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the session ends.
    pub severity: Severity,
    /// The code.
    pub code: SqlState,
    /// One line: what was refused.
    pub message: String,
    /// Why, in the agent's terms.
    pub detail: Option<String>,
    /// What it may do instead.
    pub hint: Option<String>,
    /// Where in the text it was found, in characters from 1.
    pub position: Option<usize>,
}

impl Report {
    /// An error after which the session goes on.
    pub fn error(code: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), detail: None, hint: None, position: None }
    }

    /// An error that ends the session.
    pub fn fatal(code: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(code, message) }
    }

    /// Adds the reason.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn fields(&self) -> Vec<(u8, String)> {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.code.as_str().to_owned()),
            (b'M', clean(&self.message)),
        ];
        fields.extend(self.detail.as_deref().map(|detail| (b'D', clean(detail))));
        fields.extend(self.hint.as_deref().map(|hint| (b'H', clean(hint))));
        fields.extend(self.position.map(|position| (b'P', position.to_string())));
        fields
    }
}

/// A NUL would end a field early, other control characters draw on the reader's terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Writes the daemon's own messages into a buffer.
pub trait Speaker {
    /// ErrorResponse.
    fn error(&mut self, report: &Report);
    /// NoticeResponse with severity NOTICE.
    fn notice(&mut self, message: &str);
    /// ReadyForQuery.
    fn ready(&mut self, status: TransactionStatus);
    /// AuthenticationOk.
    fn authentication_ok(&mut self);
    /// ParameterStatus.
    fn parameter(&mut self, name: &str, value: &str);
    /// BackendKeyData with a key of 4 bytes (3.0) or more (3.2).
    fn key(&mut self, pid: i32, secret: &[u8]);
    /// NegotiateProtocolVersion: the minor version that is spoken from here on, and what was not understood.
    fn negotiate(&mut self, minor: u16, unknown_options: &[String]);
}

impl Speaker for BytesMut {
    fn error(&mut self, report: &Report) {
        put(self, &ErrorResponse::new(report.fields()));
    }

    fn notice(&mut self, message: &str) {
        let notice = |field, text: &str| (field, clean(text));
        let fields = vec![notice(b'S', "NOTICE"), notice(b'V', "NOTICE"), notice(b'C', "00000"), notice(b'M', message)];
        put(self, &NoticeResponse::new(fields));
    }

    fn ready(&mut self, status: TransactionStatus) {
        put(
            self,
            &ReadyForQuery::new(match status {
                TransactionStatus::Idle => PgwireStatus::Idle,
                TransactionStatus::InBlock => PgwireStatus::Transaction,
                TransactionStatus::Failed => PgwireStatus::Error,
            }),
        );
    }

    fn authentication_ok(&mut self) {
        put(self, &Authentication::Ok);
    }

    fn parameter(&mut self, name: &str, value: &str) {
        put(self, &ParameterStatus::new(name.to_owned(), value.to_owned()));
    }

    fn key(&mut self, pid: i32, secret: &[u8]) {
        put(self, &BackendKeyData::new(pid, SecretKey::Bytes(Bytes::copy_from_slice(secret))));
    }

    fn negotiate(&mut self, minor: u16, unknown_options: &[String]) {
        // The whole version number, as PostgreSQL 18 sends it (`SendNegotiateProtocolVersion`).
        put(self, &NegotiateProtocolVersion::new(3 << 16 | i32::from(minor), unknown_options.to_vec()));
    }
}

fn put(buffer: &mut BytesMut, message: &impl Message) {
    // Encoding into memory can only fail for a key of a wrong length, and ours have 4 or 32 bytes.
    if message.encode(buffer).is_err() {
        tracing::error!("a message of ours could not be encoded");
    }
}
