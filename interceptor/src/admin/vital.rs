//! For machines that look after the daemon: what it counts (Prometheus), whether it is well, whether it is ready.

use super::{Subjects, named};
use crate::identity::IssuerState;
use crate::telemetry::metrics;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use std::fmt::Write;

/// The type of OpenMetrics' text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How it is.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    /// `ok`, `degraded` (some agents may not get in) or `failing` (nobody does).
    pub(super) state: &'static str,
    /// Why it is not well.
    pub(super) reasons: Vec<String>,
}

impl Health {
    pub(super) fn of(subjects: &Subjects) -> Self {
        let mut reasons = Vec::new();
        let mut failing = false;
        if let Some(why) = subjects.trail.failure() {
            failing = true;
            reasons.push(format!("no audit record can be written: {why}"));
        }
        if let Err(error) = subjects.redirect.counters() {
            failing = true;
            reasons.push(format!("the kernel half does not answer: {error}"));
        }
        let missing = subjects.missing.borrow();
        if !missing.is_empty() {
            failing = true;
            reasons.push(format!("not enforced as it was: {}", missing.join(", ")));
        }
        drop(missing);
        reasons.extend(subjects.trail.witness_failure());
        let silent = |issuer: &IssuerState| issuer.state != "ready";
        for issuer in subjects.proxy.registrar.issuers().iter().filter(|issuer| silent(issuer)) {
            reasons.push(format!("issuer {} is {}", issuer.url, issuer.state));
        }
        let state = match (failing, reasons.is_empty()) {
            (true, _) => "failing",
            (false, false) => "degraded",
            (false, true) => "ok",
        };
        Self { state, reasons }
    }
}

/// 200 while at least some agents can be served.
pub(super) async fn health(State(subjects): State<Subjects>) -> impl IntoResponse {
    let health = Health::of(&subjects);
    let code = if health.state == "failing" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(health))
}

/// 200 while nothing is missing.
pub(super) async fn ready(State(subjects): State<Subjects>) -> impl IntoResponse {
    let health = Health::of(&subjects);
    let code = if health.state == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health))
}

/// What was counted, and what only shows when it is asked for.
pub(super) async fn prometheus(State(subjects): State<Subjects>) -> impl IntoResponse {
    match text(&subjects) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(subjects: &Subjects) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    metrics().write(&mut out)?;
    let mut gauge = |name: &str, help: &str, values: &[(String, u64)]| {
        writeln!(out, "# HELP interceptor_{name} {help}.\n# TYPE interceptor_{name} gauge")?;
        values.iter().try_for_each(|(labels, value)| writeln!(out, "interceptor_{name}{labels} {value}"))
    };
    let plain = |value: u64| vec![(String::new(), value)];
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    gauge("sessions", "Sessions that are open", &plain(count(subjects.proxy.live.len())))?;
    gauge("policies", "Policies in force", &plain(count(subjects.proxy.policies.load().len())))?;
    gauge("audit_records", "Number of the last audit record", &plain(subjects.trail.seq()))?;
    gauge(
        "audit_unsynced_bytes",
        "Bytes of records that the disk may not have yet",
        &plain(subjects.trail.unsynced()),
    )?;
    let untaken = subjects.trail.witness_failure().is_some();
    gauge("audit_witness_failing", "1 while the witness does not take checkpoints", &plain(u64::from(untaken)))?;
    gauge("healthy", "1 while nothing is missing", &plain(u64::from(Health::of(subjects).state == "ok")))?;
    if let Ok(counters) = subjects.redirect.counters() {
        let kernel: Vec<_> = named(&counters)
            .into_iter()
            .map(|(name, value)| (format!("{{event=\"{}\"}}", name.replace(", ", "_").replace(' ', "_")), value))
            .collect();
        gauge("kernel_events", "What the kernel half has counted", &kernel)?;
    }
    out.push_str("# EOF\n");
    Ok(out)
}
