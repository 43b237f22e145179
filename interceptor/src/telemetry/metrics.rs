//! What the daemon counts and times while it works, in Prometheus' words (OpenMetrics 1.0 text). Labels take their values from
//! lists in this program, never from clients, so that nobody can make the number of series grow.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrived {
    /// It became a session.
    Session,
    /// It was refused.
    Refused,
    /// It asked for something to be cancelled.
    Cancel,
    /// It was carried without being understood, where policies are only observed.
    Unread,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judged {
    /// It ran.
    Permit,
    /// It ran, and would have been refused if policies were enforced.
    Observed,
    /// It was refused.
    Deny,
    /// It waits, or waited, for a human.
    Hold,
}
impl EncodeLabelValue for Arrived {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Session => "session",
            Self::Refused => "refused",
            Self::Cancel => "cancel",
            Self::Unread => "unread",
        })
    }
}

impl EncodeLabelValue for Judged {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Permit => "permit",
            Self::Observed => "observed",
            Self::Deny => "deny",
            Self::Hold => "hold",
        })
    }
}

/// The verb of statements that do nothing to an object, or could not be read.
pub const NO_VERB: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connection {
    outcome: Arrived,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Statement {
    verb: &'static str,
    decision: Judged,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    step: &'static str,
}

/// Everything that is counted; one for the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Family<Connection, Counter>,
    nobody: Counter,
    statements: Family<Statement, Counter>,
    observed: AtomicU64,
    judging: Histogram,
    holding: Histogram,
    upstream: Family<Step, Counter>,
    reloads: Family<Step, Counter>,
}

/// The process's own.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        // 0.5 us to 2 s, and 0.1 s to 1.8 h.
        let judging = Histogram::new(exponential_buckets(0.000_000_5, 4.0, 12));
        let holding = Histogram::new(exponential_buckets(0.1, 4.0, 9));
        let mut metrics = Self {
            registry: Registry::with_prefix("interceptor"),
            connections: Family::default(),
            nobody: Counter::default(),
            statements: Family::default(),
            observed: AtomicU64::new(0),
            judging,
            holding,
            upstream: Family::default(),
            reloads: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("connections", "Connections by what became of them", metrics.connections.clone());
        registry.register(
            "unidentified",
            "Sessions of nobody, where policies are only observed",
            metrics.nobody.clone(),
        );
        registry.register(
            "statements",
            "Statements by what they do first and what was decided",
            metrics.statements.clone(),
        );
        registry.register("decision_seconds", "From a message to its decision", metrics.judging.clone());
        registry.register("hold_seconds", "How long statements waited for a human", metrics.holding.clone());
        registry.register(
            "upstream_errors",
            "Sessions that the database did not get, by where they failed",
            metrics.upstream.clone(),
        );
        registry.register(
            "reloads",
            "Policies and configuration that were read anew, or could not be",
            metrics.reloads.clone(),
        );
        metrics
    }

    /// A connection has become something.
    pub fn connection(&self, outcome: Arrived) {
        self.connections.get_or_create(&Connection { outcome }).inc();
    }

    /// A session has begun that is nobody's.
    pub fn nobody(&self) {
        self.nobody.inc();
    }

    /// A statement was judged; `verb` is one of the fixed names of what statements do.
    pub fn statement(&self, verb: &'static str, decision: Judged) {
        if decision == Judged::Observed {
            self.observed.fetch_add(1, Ordering::Relaxed);
        }
        self.statements.get_or_create(&Statement { verb, decision }).inc();
    }

    /// How long it took to judge what a client said.
    pub fn judged(&self, took: Duration) {
        self.judging.observe(took.as_secs_f64());
    }

    /// How long a statement was held.
    pub fn held(&self, took: Duration) {
        self.holding.observe(took.as_secs_f64());
    }

    /// A database could not be reached (`connect`), or let nobody in (`login`).
    pub fn upstream_failed(&self, step: &'static str) {
        self.upstream.get_or_create(&Step { step }).inc();
    }

    /// Something was read anew (`policies`), or could not be (`policies_failed`).
    pub fn reloaded(&self, step: &'static str) {
        self.reloads.get_or_create(&Step { step }).inc();
    }

    /// How many statements ran that would have been refused.
    pub fn counted_observed(&self) -> u64 {
        self.observed.load(Ordering::Relaxed)
    }

    /// How many sessions were nobody's.
    pub fn counted_nobody(&self) -> u64 {
        self.nobody.get()
    }

    /// How many connections have come to an outcome.
    pub fn counted_connections(&self, outcome: Arrived) -> u64 {
        self.connections.get(&Connection { outcome }).map_or(0, |counter| counter.get())
    }

    /// The text, without its end mark: what the daemon knows only when it is asked comes behind it.
    ///
    /// # Errors
    /// Memory.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        prometheus_client::encoding::text::encode_registry(out, &self.registry)
    }
}
