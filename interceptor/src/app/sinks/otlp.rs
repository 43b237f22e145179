//! OpenTelemetry: every record as a log, and every statement that says by a comment which trace it belongs to as a span of that trace.
//! OTLP over HTTP with JSON (opentelemetry.io/docs/specs/otlp, 1.3: `/v1/logs`, `/v1/traces`).

use super::{Sink, read_headers};
use crate::audit::{Decision, Event, Record, Status};
use anyhow::{Result, bail};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Runtime;

/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Statements whose outcome has not come yet.
const OPEN: usize = 10_000;

pub(super) struct Otlp {
    url: String,
    headers: HeaderMap,
    client: reqwest::Client,
    runtime: Runtime,
    open: VecDeque<Open>,
}

/// A statement that belongs to a trace.
#[derive(Debug, Clone)]
struct Open {
    seq: u64,
    trace: Trace,
    name: String,
    text: String,
}

/// `traceparent` (W3C Trace Context, 3.2), as sqlcommenter writes it into a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    trace: String,
    parent: String,
}

impl Otlp {
    pub(super) fn to(url: &str, headers: Option<&Path>) -> Result<Self> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            bail!("it is no http or https URL");
        }
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let headers = headers.map(|file| read_headers("otlp_headers_file", file)).transpose()?.unwrap_or_default();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), headers, client, runtime, open: VecDeque::new() })
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let request = self.client.post(format!("{}{path}", self.url)).headers(self.headers.clone());
        let request = request.header(CONTENT_TYPE, "application/json").body(serde_json::to_vec(body)?);
        let answer = self.runtime.block_on(async { request.send().await })?;
        if !answer.status().is_success() {
            bail!("{}{path} answered {}", self.url, answer.status());
        }
        Ok(())
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn about(record: &Record) -> Vec<Value> {
    let agent = record.subject.agent.as_ref();
    let known = [
        ("interceptor.session", Some(record.subject.session.as_str())),
        ("interceptor.agent", agent.map(|agent| agent.subject.as_str())),
        ("interceptor.on_behalf_of", agent.and_then(|agent| agent.on_behalf_of.as_deref())),
        ("db.system.name", Some("postgresql")),
        ("db.namespace", Some(record.subject.database.as_str())),
        ("server.address", Some(record.subject.server.as_str())),
    ];
    known
        .iter()
        .filter_map(|(key, value)| value.filter(|value| !value.is_empty()).map(|value| text(key, value)))
        .collect()
}

fn nanoseconds(time: &str) -> i128 {
    OffsetDateTime::parse(time, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp_nanos)
}

fn log(record: &Record, line: &str) -> Value {
    let (number, severity) = match record.decision {
        Some(Decision::Deny) => (13, "WARN"),
        Some(Decision::Hold) => (10, "INFO2"),
        Some(Decision::Permit) | None => (9, "INFO"),
    };
    let event = serde_json::to_value(record.event).ok();
    let event = event.as_ref().and_then(Value::as_str).unwrap_or_default();
    let mut attributes = about(record);
    attributes.push(text("event.name", event));
    attributes.push(json!({ "key": "interceptor.seq", "value": { "intValue": record.seq.to_string() } }));
    let mut log = json!({
        "timeUnixNano": nanoseconds(&record.time).to_string(),
        "severityNumber": number,
        "severityText": severity,
        "body": { "stringValue": line },
        "attributes": attributes,
    });
    if let (Some(trace), Some(members)) = (record.statement.as_deref().and_then(trace_of), log.as_object_mut()) {
        members.insert("traceId".to_owned(), trace.trace.into());
        members.insert("spanId".to_owned(), trace.parent.into());
    }
    log
}

/// The last comment of the kind counts, as it is what the outermost library has added.
fn trace_of(statement: &str) -> Option<Trace> {
    let (_, behind) = statement.rsplit_once("traceparent='")?;
    let (value, _) = behind.split_once('\'')?;
    let mut parts = value.split('-');
    let (version, trace, parent, _flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && part.bytes().any(|byte| byte != b'0')
    };
    let known = version.len() == 2 && version != "ff" && hex(trace, 32) && hex(parent, 16);
    known.then(|| Trace { trace: trace.to_owned(), parent: parent.to_owned() })
}

/// The span of a statement, when its outcome comes.
fn span(open: &Open, record: &Record) -> Option<Value> {
    let outcome = record.outcome.as_ref()?;
    let end = nanoseconds(&record.time);
    let begin = end - i128::from(outcome.duration_us) * 1000;
    let mut attributes = about(record);
    attributes.push(text("db.query.text", &open.text));
    attributes.push(json!({ "key": "db.response.returned_rows", "value": { "intValue": outcome.rows.to_string() } }));
    attributes.extend(outcome.sqlstate.as_ref().map(|code| text("db.response.status_code", code)));
    let failed = !matches!(outcome.status, Status::Ok);
    Some(json!({
        "traceId": open.trace.trace,
        "spanId": format!("{:016x}", rand::random::<u64>().max(1)),
        "parentSpanId": open.trace.parent,
        "name": open.name,
        "kind": 3,
        "startTimeUnixNano": begin.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": if failed { json!({ "code": 2, "message": outcome.reason }) } else { json!({}) },
    }))
}

fn resource() -> Value {
    let host = nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned());
    let attributes = [
        text("service.name", "interceptor"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("host.name", &host),
    ];
    json!({ "attributes": attributes })
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn send(&mut self, lines: &[String]) -> Result<()> {
        let (mut logs, mut spans) = (Vec::new(), Vec::new());
        // What comes again after a failure finds it as it was.
        let mut open = self.open.clone();
        for line in lines {
            let record: Record = serde_json::from_str(line)?;
            logs.push(log(&record, line));
            if record.event == Event::Statement
                && let Some(statement) = &record.statement
                && let Some(trace) = trace_of(statement)
            {
                if open.len() >= OPEN {
                    open.pop_front();
                }
                let name = record.verbs.first().map_or("statement", String::as_str).to_owned();
                open.push_back(Open { seq: record.seq, trace, name, text: statement.clone() });
            }
            if let Some(outcome) = &record.outcome
                && let Some(at) = open.iter().position(|open| open.seq == outcome.statement_seq)
                && let Some(found) = open.remove(at)
            {
                spans.extend(span(&found, &record));
            }
        }
        let scope = json!({ "name": "interceptor" });
        self.post("/v1/logs", &json!({ "resourceLogs": [{ "resource": resource(), "scopeLogs": [{ "scope": scope, "logRecords": logs }] }] }))?;
        if !spans.is_empty() {
            self.post("/v1/traces", &json!({ "resourceSpans": [{ "resource": resource(), "scopeSpans": [{ "scope": scope, "spans": spans }] }] }))?;
        }
        self.open = open;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_by_comment() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let check = |statement: &str, expected: bool| {
            let found = trace_of(statement);
            let whole = Trace { trace: trace.to_owned(), parent: "00f067aa0ba902b7".to_owned() };
            assert_eq!(found, expected.then_some(whole), "{statement}");
        };
        check(&format!("select 1 /*traceparent='00-{trace}-00f067aa0ba902b7-01'*/"), true);
        check(&format!("select 1 /*a='b',traceparent='00-{trace}-00f067aa0ba902b7-00',c='d'*/"), true);
        check("select 1", false);
        check(&format!("select 1 /*traceparent='00-{trace}-00f067aa0ba902b7'*/"), false);
        check(&format!("select 1 /*traceparent='ff-{trace}-00f067aa0ba902b7-01'*/"), false);
        check("select 1 /*traceparent='00-00000000000000000000000000000000-00f067aa0ba902b7-01'*/", false);
        check(&format!("select 1 /*traceparent='00-{}-00f067aa0ba902b7-01'*/", trace.to_uppercase()), false);
        check("select 1 /*traceparent='00-xyz-00f067aa0ba902b7-01'*/", false);
    }
}
