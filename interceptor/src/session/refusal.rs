//! How things end: what is refused while the session lives on, and what ends it. One total function each turns them into
//! what a client is told; whoever adds a refusal decides that here.

use crate::audit::AuditError;
use crate::identity::Ended;
use crate::policy::{Budget, Denial, DenialKind, Per};
use crate::sql::{Missing, Rejection};
use crate::wire::{FrameError, Malformed, Report, Severity, SqlState, Unreadable};

/// Something that is not done; the session goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Policy.
    Denied(Denial),
    /// The text is no SQL, or too much of it.
    Rejected(Rejection),
    /// Bytes that are not UTF-8.
    Encoding,
    /// A function call without SQL.
    FunctionCall,
    /// A portal that nobody made.
    NoPortal(String),
    /// A prepared statement that nobody made.
    NoStatement(String),
    /// A name longer than the server keeps: it would cut it, and two names would be one.
    LongName,
    /// More prepared statements than a session may hold.
    TooManyStatements,
    /// Nobody knows what names without a schema mean.
    PathInDoubt,
    /// A portal runs under another search path than it was made under.
    OtherPath,
    /// Nobody knows which temporary relations there are.
    OwnInDoubt(&'static str),
    /// A prepared statement may mean a temporary relation or the one behind it.
    Shadowed,
    /// Temporary relations that a portal may mean have come or gone since it was made.
    OtherOwn,
    /// What it names may mean another relation by now than when it was prepared or bound.
    Hidden,
    /// A statement with limits among others that a limit could not take back.
    LimitedTogether,
    /// A write with a limit whose rows are asked for in portions.
    InPortions,
    /// COPY where everything that leaves has to be looked through.
    CopyUnseen,
    /// More rows than may leave.
    TooManyRows(u64),
    /// More bytes than may leave.
    TooManyBytes(u64),
    /// A write of more rows than it may touch.
    TooManyAffected {
        /// The limit.
        most: u64,
        /// What it would have been.
        affected: u64,
    },
    /// What many statements may take together has been taken.
    BudgetSpent {
        /// Of what.
        budget: Budget,
        /// Seconds until there is something again.
        frees_in: Option<u64>,
    },
    /// It takes longer than it may, in seconds.
    TooSlow(u64),
    /// Somebody was asked, and said no.
    NotApproved {
        /// The request.
        id: String,
        /// Who.
        by: String,
        /// Their words.
        comment: Option<String>,
    },
    /// Somebody was asked, and nobody has said anything in time.
    NobodyDecided {
        /// The request.
        id: String,
        /// Whose yes was waited for.
        needs: String,
    },
    /// Its own agent has cancelled it while it waited.
    Withdrawn {
        /// The request.
        id: String,
    },
    /// Its own agent has cancelled it while its effect was looked at.
    CancelledInTrial,
    /// The agent has so many requests open already.
    TooManyRequests(usize),
    /// It has asked so often within a minute.
    TooOftenAsked(usize),
    /// Longer than somebody can be asked to read.
    TooLongToApprove(usize),
    /// A portal whose values were not kept, because no policy asked for approvals when it was made.
    ValuesUnknown,
    /// The transaction has failed already: nobody is asked for what would not run.
    TransactionFailed,
    /// Nothing that the client hears of: what it was refused for, it has been told.
    Hushed,
}

impl Refusal {
    /// What the client is told.
    pub fn report(&self) -> Report {
        match self {
            Self::Denied(denial) => denied(denial),
            Self::Rejected(rejection) => match rejection {
                Rejection::Syntax { message, position } => {
                    Report { position: *position, ..Report::error(SqlState::SYNTAX_ERROR, message) }
                }
                Rejection::TooLong(_) | Rejection::TooMuch => {
                    Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, rejection.to_string())
                        .hint("send large values as parameters or with COPY")
                }
                Rejection::TooComplex(_) => Report::error(SqlState::STATEMENT_TOO_COMPLEX, rejection.to_string()),
            },
            Self::Encoding => {
                Report::error(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
            }
            Self::FunctionCall => {
                Report::error(SqlState::FEATURE_NOT_SUPPORTED, "function calls without SQL are not supported")
                    .hint("call the function in a SELECT")
            }
            Self::NoPortal(name) => {
                Report::error(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
            }
            Self::NoStatement(name) => {
                Report::error(SqlState::INVALID_STATEMENT_NAME, format!("prepared statement \"{name}\" does not exist"))
            }
            Self::LongName => {
                Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, "names of statements and portals have at most 63 bytes")
            }
            Self::TooManyStatements => {
                Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many prepared statements in this session")
                    .hint("close the ones that are no longer needed")
            }
            Self::PathInDoubt => {
                Report::error(SqlState::INSUFFICIENT_PRIVILEGE, "the search path is not known at this point")
                    .detail("it was set in a transaction, or a batch, whose end is not known yet")
                    .hint("send SET search_path by itself, or name the schema and end the transaction first")
            }
            Self::OtherPath => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "the search path has changed since the portal was bound",
            )
            .detail("names in what it calls would mean something else than when it was judged")
            .hint("bind it again"),
            Self::OwnInDoubt(why) => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "the session's temporary relations are not known at this point",
            )
            .detail(*why)
            .hint("send the statements one by one, each after the end of the one before"),
            Self::Shadowed => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "a temporary relation stands before one that the prepared statement names",
            )
            .detail("it has come since the statement was prepared, and the server may run what it had planned before")
            .hint("prepare the statement anew, or name the schema"),
            Self::OtherOwn => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "temporary relations that the portal may name have come or gone since it was bound",
            )
            .hint("bind it again"),
            Self::Hidden => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "what the prepared statement or cursor names may be another relation by now",
            )
            .detail(
                "the schema has changed since it was made, and the server may go on with what it had planned before",
            )
            .hint("prepare or declare it anew, or name the schemas"),
            Self::LimitedTogether => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "statements with limits are not sent together with others that write",
            )
            .detail("a limit that is reached could not take back what the others have done")
            .hint("send them one by one, in a transaction if they belong together"),
            Self::InPortions => {
                Report::error(SqlState::INSUFFICIENT_PRIVILEGE, "rows of a write with a limit are not sent in portions")
                    .hint("fetch all rows at once")
            }
            Self::CopyUnseen => {
                Report::error(SqlState::INSUFFICIENT_PRIVILEGE, "COPY cannot be looked through for what must not leave")
                    .hint("select the rows instead")
            }
            Self::TooManyRows(most) => {
                Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("more than {most} rows, which is the limit"))
                    .detail("policy limits the rows of a result; the statement was stopped")
                    .hint("narrow it down with a condition or LIMIT, or aggregate")
            }
            Self::TooManyBytes(most) => {
                Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("more than {most} bytes, which is the limit"))
                    .detail("policy limits the size of a result; the statement was stopped")
                    .hint("select fewer columns or rows")
            }
            Self::TooManyAffected { most, affected } => Report::error(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("{affected} rows would have been changed, the limit is {most}"),
            )
            .detail("policy limits the rows that a statement changes; its effects are rolled back")
            .hint("narrow it down with a condition, or change fewer rows at a time"),
            Self::BudgetSpent { budget, frees_in } => budget_spent(budget, *frees_in),
            Self::TooSlow(seconds) => Report::error(
                SqlState::QUERY_CANCELED,
                format!("the statement took longer than {seconds} s, which is the limit"),
            )
            .detail("policy limits the time of a statement; it was stopped")
            .hint("narrow it down, or split it"),
            Self::NotApproved { id, by, comment } => not_approved(id, by, comment.as_deref()),
            Self::NobodyDecided { id, needs } => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("nobody of {needs} has decided in time whether the statement may run"),
            )
            .detail(format!("it was held for approval (42501, request {id}) and has not run"))
            .hint("it may be retried: the same statement asks again"),
            Self::Withdrawn { id } => {
                Report::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
                    .detail(format!("it was held for approval and has not run; request {id} is withdrawn"))
            }
            Self::CancelledInTrial => {
                Report::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
                    .detail("it needs approval and nobody has been asked yet; its effect is rolled back")
            }
            Self::TooManyRequests(most) => Report::error(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("{most} statements of this agent wait for approval already, which is the limit"),
            )
            .hint("try again when some of them have been decided"),
            Self::TooOftenAsked(most) => Report::error(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("this agent has asked for {most} approvals within a minute, which is the limit"),
            )
            .hint("wait a minute, and ask for less at a time"),
            Self::TooLongToApprove(most) => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!(
                    "the statement needs approval and has more than {most} bytes, which nobody can be asked to read"
                ),
            )
            .hint("split it, or send large values as parameters"),
            Self::ValuesUnknown => Report::error(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "what the statement's parameters stand for has to be known here, and is not",
            )
            .hint("bind it anew, for a policy asks for its values since; values of more than 64 MB are not kept"),
            Self::TransactionFailed => Report::error(
                SqlState::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ),
            Self::Hushed => Report::error(SqlState::QUERY_CANCELED, "the statement was stopped"),
        }
    }

    /// What the record says about it.
    pub fn reason(&self) -> String {
        let report = self.report();
        match report.detail {
            Some(detail) => format!("{}: {detail}", report.message),
            None => report.message,
        }
    }
}

fn not_approved(id: &str, by: &str, comment: Option<&str>) -> Report {
    let report = Report::error(SqlState::INSUFFICIENT_PRIVILEGE, format!("{by} has denied the statement"));
    let by = format!("42501, request {id}");
    match comment {
        Some(comment) => report.detail(format!("{comment} ({by})")),
        None => report.detail(format!("it was held for approval and has not run ({by})")),
    }
    .hint("change what was objected to; sent again as it is, it asks again")
}

fn budget_spent(Budget { policy, allowance }: &Budget, frees_in: Option<u64>) -> Report {
    let (most, noun) = (allowance.most, allowance.counted.noun());
    let over = match allowance.per {
        Per::Session => "of this session".to_owned(),
        per @ Per::Seconds(_) => format!("of this agent in {per}"),
    };
    let hint = match frees_in {
        Some(seconds) if seconds < 120 => format!("try again in {seconds} s"),
        Some(seconds) => format!("try again in {} minutes", seconds.div_ceil(60)),
        None => "go on with what there is already".to_owned(),
    };
    Report::error(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("the {most} {noun} {over} are used up"))
        .detail(format!("policy limits what many statements take together (54000, policy {policy})"))
        .hint(hint)
}

fn denied(denial: &Denial) -> Report {
    let code = match &denial.kind {
        DenialKind::Policy | DenialKind::Opaque => SqlState::INSUFFICIENT_PRIVILEGE,
        DenialKind::Missing(Missing::Relation(_)) => SqlState::UNDEFINED_TABLE,
        DenialKind::Missing(Missing::Column(_)) => SqlState::UNDEFINED_COLUMN,
        DenialKind::Missing(Missing::Function(_)) => SqlState::UNDEFINED_FUNCTION,
        DenialKind::Missing(Missing::Type(_)) => SqlState::UNDEFINED_OBJECT,
        DenialKind::Missing(Missing::Schema(_)) => SqlState::INVALID_SCHEMA_NAME,
        DenialKind::Missing(Missing::Portal(_)) => SqlState::INVALID_CURSOR_NAME,
        DenialKind::Missing(Missing::Prepared(_)) => SqlState::INVALID_STATEMENT_NAME,
    };
    let mut report = Report::error(code, &denial.message);
    // psql shows no SQLSTATE unless asked to, and people look for it.
    let by = match denial.policies.as_slice() {
        [] => code.as_str().to_owned(),
        policies => format!("{}, policy {}", code.as_str(), policies.join(", ")),
    };
    report.detail = denial.reason.as_ref().map(|reason| format!("{reason} ({by})"));
    report.hint.clone_from(&denial.hint);
    report
}

/// Something that ends the session.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The client said good-bye.
    #[error("the client has ended the session")]
    Terminated,
    /// The client broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(String),
    /// A message longer than its kind may be.
    #[error("{0}")]
    TooLong(FrameError),
    /// The server has said why, and ended the session.
    #[error("the database server has ended the session")]
    ServerEnded,
    /// The server broke the protocol, or said what it must not.
    #[error("the database server broke the protocol: {0}")]
    Server(String),
    /// A statement is to be stopped, and the server goes on with it.
    #[error("the database server does not stop: {}", .0.reason())]
    Unstoppable(Box<Refusal>),
    /// The server says that an output column is a masked one, and nobody was going to mask it.
    #[error(
        "output column {0} comes from a masked column although the analysis did not see it: a fault of interceptor's"
    )]
    Leak(usize),
    /// The server describes another number of output columns, and some were to be masked.
    #[error("the result has {described} columns where the analysis saw {seen}: a fault of interceptor's")]
    Misread {
        /// By the analysis.
        seen: usize,
        /// By the server.
        described: usize,
    },
    /// The record cannot be written.
    #[error("the audit record cannot be written")]
    Audit(#[from] AuditError),
    /// The identity's time is over.
    #[error("the identity has expired")]
    Expired,
    /// The session may not go on as who it is.
    #[error(transparent)]
    Identity(#[from] Ended),
}

impl Ending {
    /// What the client is told before the connection is closed; `None` for nothing.
    pub fn report(&self) -> Option<Report> {
        match self {
            Self::Terminated => None,
            Self::TooLong(error) => Some(
                Report::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, error.to_string())
                    .hint("send large values with COPY, or in several statements"),
            ),
            // The client has heard the server's own last words.
            Self::ServerEnded => None,
            Self::Violation(rule) => Some(Report::fatal(SqlState::PROTOCOL_VIOLATION, rule)),
            Self::Server(_) => {
                Some(Report::fatal(SqlState::CONNECTION_FAILURE, "the connection to the database server is unusable"))
            }
            Self::Unstoppable(refusal) => Some(Report { severity: Severity::Fatal, ..refusal.report() }),
            Self::Leak(_) | Self::Misread { .. } => Some(
                Report::fatal(
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    "the result holds a masked column in a place where it cannot be masked",
                )
                .hint("select the column as an output column of its own"),
            ),
            Self::Audit(error) => Some(audit_report(error)),
            Self::Identity(ended) if ended.unavailable() => Some(
                Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the identity provider cannot be reached")
                    .hint("try again later"),
            ),
            Self::Identity(_) | Self::Expired => {
                Some(Report::fatal(SqlState::INVALID_AUTHORIZATION, "the agent's identity is not accepted"))
            }
        }
    }
}

/// What a client is told when its statement, or its session, cannot be recorded.
pub fn audit_report(error: &AuditError) -> Report {
    let code = if error.is_full() { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
    Report::fatal(code, "the audit record cannot be written")
        .hint("nothing runs without a record; tell whoever operates this host")
}

impl From<Malformed> for Ending {
    fn from(error: Malformed) -> Self {
        Self::Violation(error.to_string())
    }
}

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Self {
        match error {
            // No client says this at all; or nobody can mean it, for it is beyond PostgreSQL's own limit
            // (`PQ_LARGE_MESSAGE_LIMIT`).
            FrameError::TooLong { body, most, .. } if most == 0 || body >= (1 << 30) - 1 => {
                Self::Violation(error.to_string())
            }
            FrameError::TooLong { .. } => Self::TooLong(error),
            FrameError::Length { .. } => Self::Violation(error.to_string()),
        }
    }
}

impl TryFrom<Unreadable> for Refusal {
    type Error = Ending;

    /// Bytes that are no UTF-8 are refused; whatever else cannot be read ends the session.
    fn try_from(error: Unreadable) -> Result<Self, Ending> {
        match error {
            Unreadable::Encoding => Ok(Self::Encoding),
            Unreadable::Malformed(_) | Unreadable::Unknown(_) => Err(Ending::Violation(error.to_string())),
        }
    }
}
