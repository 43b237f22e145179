//! The error codes that the daemon itself answers with.

/// A five-character SQLSTATE (PostgreSQL documentation, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(&'static str);

impl SqlState {
    /// The peer broke the protocol.
    pub const PROTOCOL_VIOLATION: Self = Self("08P01");
    /// The connection to the database was lost.
    pub const CONNECTION_FAILURE: Self = Self("08006");
    /// Something that the daemon does not do.
    pub const FEATURE_NOT_SUPPORTED: Self = Self("0A000");
    /// Bytes that are not UTF-8.
    pub const CHARACTER_NOT_IN_REPERTOIRE: Self = Self("22021");
    /// The transaction is aborted.
    pub const IN_FAILED_TRANSACTION: Self = Self("25P02");
    /// A transaction is left open for too long.
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self("25P03");
    /// Nobody knows who is asking.
    pub const INVALID_AUTHORIZATION: Self = Self("28000");
    /// The server does not take the client's password.
    pub const INVALID_PASSWORD: Self = Self("28P01");
    /// Policy says no.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self("42501");
    /// The text is not SQL.
    pub const SYNTAX_ERROR: Self = Self("42601");
    /// There is no such type or other object.
    pub const UNDEFINED_OBJECT: Self = Self("42704");
    /// There is no such column.
    pub const UNDEFINED_COLUMN: Self = Self("42703");
    /// There is no such function.
    pub const UNDEFINED_FUNCTION: Self = Self("42883");
    /// There is no such relation.
    pub const UNDEFINED_TABLE: Self = Self("42P01");
    /// There is no such portal.
    pub const INVALID_CURSOR_NAME: Self = Self("34000");
    /// There is no such database.
    pub const INVALID_CATALOG_NAME: Self = Self("3D000");
    /// There is no such schema.
    pub const INVALID_SCHEMA_NAME: Self = Self("3F000");
    /// There is no such prepared statement.
    pub const INVALID_STATEMENT_NAME: Self = Self("26000");
    /// More connections than allowed.
    pub const TOO_MANY_CONNECTIONS: Self = Self("53300");
    /// More of something than the configuration allows.
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self("53400");
    /// The disk is full.
    pub const DISK_FULL: Self = Self("53100");
    /// A limit on size or count.
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self("54000");
    /// A limit on nesting.
    pub const STATEMENT_TOO_COMPLEX: Self = Self("54001");
    /// Stopped before its end.
    pub const QUERY_CANCELED: Self = Self("57014");
    /// The daemon stops.
    pub const ADMIN_SHUTDOWN: Self = Self("57P01");
    /// The database, the issuer or the token endpoint cannot be reached.
    pub const CANNOT_CONNECT_NOW: Self = Self("57P03");
    /// The record cannot be written.
    pub const IO_ERROR: Self = Self("58030");

    /// The five characters.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}
