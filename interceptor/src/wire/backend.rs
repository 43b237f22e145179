//! What a server says: only as much of it as the conversation has to understand.

use super::cursor::{Cursor, Malformed};
use super::frame::Frame;
use std::collections::BTreeMap;

/// Where a session stands between statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Outside a transaction block.
    Idle,
    /// Inside one.
    InBlock,
    /// Inside one that has failed.
    Failed,
}

/// The fields of an ErrorResponse or NoticeResponse by their type byte (54.8 "Error and Notice Message Fields").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorFields(BTreeMap<u8, String>);

impl ErrorFields {
    /// A field's text.
    pub fn get(&self, field: u8) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// The SQLSTATE; servers that send none get the one for internal errors.
    pub fn sqlstate(&self) -> &str {
        self.get(b'C').unwrap_or("XX000")
    }

    /// The severity that is never translated.
    pub fn is_fatal(&self) -> bool {
        matches!(self.get(b'V').or_else(|| self.get(b'S')), Some("FATAL" | "PANIC"))
    }
}

/// A server's message, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend<'a> {
    /// Authentication: the request's code and its data.
    Authentication {
        /// 0 ok, 3 clear text, 5 MD5, 10 SASL, 11 SASL continue, 12 SASL final.
        code: i32,
        /// What follows the code.
        data: &'a [u8],
    },
    /// The key for cancelling.
    BackendKeyData {
        /// The server process.
        pid: i32,
        /// Its secret.
        secret: &'a [u8],
    },
    /// A setting's value, at the start and whenever it changes.
    ParameterStatus {
        /// The setting.
        name: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// The server awaits the next batch.
    ReadyForQuery(TransactionStatus),
    /// A statement is done.
    CommandComplete {
        /// For example `INSERT 0 3`.
        tag: &'a str,
    },
    /// The empty statement is done.
    EmptyQueryResponse,
    /// Execute's row limit was reached.
    PortalSuspended,
    /// Parse is done.
    ParseComplete,
    /// Bind is done.
    BindComplete,
    /// Close is done.
    CloseComplete,
    /// The types of a statement's parameters.
    ParameterDescription,
    /// The shape of the rows to come.
    RowDescription {
        /// How many columns.
        columns: usize,
    },
    /// There will be no rows.
    NoData,
    /// The server awaits COPY data.
    CopyInResponse,
    /// The server is about to send COPY data.
    CopyOutResponse,
    /// The server has sent all COPY data.
    CopyDone,
    /// Something failed.
    ErrorResponse(ErrorFields),
    /// Something is worth mentioning.
    NoticeResponse(ErrorFields),
    /// Somebody said NOTIFY.
    NotificationResponse,
    /// The server speaks an older protocol than asked for.
    NegotiateProtocolVersion,
}

impl<'a> Backend<'a> {
    /// Reads a whole frame. Anything else than the messages above is malformed here: CopyBothResponse belongs to
    /// replication and FunctionCallResponse to function calls, and both are refused before they reach a server.
    pub fn decode(frame: &'a Frame) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let message = match frame.tag() {
            b'R' => Self::Authentication { code: cursor.i32()?, data: cursor.rest() },
            b'K' => Self::BackendKeyData { pid: cursor.i32()?, secret: cursor.rest() },
            b'S' => Self::ParameterStatus { name: text(&mut cursor)?, value: text(&mut cursor)? },
            b'Z' => Self::ReadyForQuery(match cursor.u8()? {
                b'I' => TransactionStatus::Idle,
                b'T' => TransactionStatus::InBlock,
                b'E' => TransactionStatus::Failed,
                _ => return Err(Malformed("an unknown transaction status")),
            }),
            b'C' => Self::CommandComplete { tag: text(&mut cursor)? },
            b'I' => Self::EmptyQueryResponse,
            b's' => Self::PortalSuspended,
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b't' => {
                cursor.rest();
                Self::ParameterDescription
            }
            b'T' => Self::RowDescription { columns: columns(&mut cursor)? },
            b'n' => Self::NoData,
            b'G' => copy_response(&mut cursor, Self::CopyInResponse)?,
            b'H' => copy_response(&mut cursor, Self::CopyOutResponse)?,
            b'c' => Self::CopyDone,
            b'E' => Self::ErrorResponse(fields(&mut cursor)?),
            b'N' => Self::NoticeResponse(fields(&mut cursor)?),
            b'A' => {
                cursor.rest();
                Self::NotificationResponse
            }
            b'v' => {
                cursor.rest();
                Self::NegotiateProtocolVersion
            }
            _ => return Err(Malformed("a message that no server sends here")),
        };
        cursor.end()?;
        Ok(message)
    }
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Malformed> {
    std::str::from_utf8(cursor.c_bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
}

/// A column of a result as RowDescription gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// `pg_class.oid` of the table that it comes from, 0 for an expression.
    pub table: u32,
    /// `pg_attribute.attnum`, 0 for a whole row or an expression.
    pub attribute: i16,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// 0 for text, 1 for binary.
    pub format: i16,
}

/// The columns of a RowDescription.
pub fn described(frame: &Frame) -> Result<Vec<Described>, Malformed> {
    let mut cursor = Cursor::new(frame.body());
    let count = cursor.count()?;
    let mut columns = Vec::with_capacity(count.min(1664));
    for _ in 0..count {
        cursor.c_bytes()?;
        let (table, attribute, type_oid) = (cursor.i32()?, cursor.i16()?, cursor.i32()?);
        let (_size, _modifier, format) = (cursor.i16()?, cursor.i32()?, cursor.i16()?);
        columns.push(Described { table: table.cast_unsigned(), attribute, type_oid: type_oid.cast_unsigned(), format });
    }
    cursor.end()?;
    Ok(columns)
}

fn columns(cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
    let columns = cursor.count()?;
    for _ in 0..columns {
        cursor.c_bytes()?;
        cursor.take(18)?;
    }
    Ok(columns)
}

fn copy_response<'a>(cursor: &mut Cursor<'_>, response: Backend<'a>) -> Result<Backend<'a>, Malformed> {
    cursor.u8()?;
    for _ in 0..cursor.count()? {
        cursor.i16()?;
    }
    Ok(response)
}

fn fields(cursor: &mut Cursor<'_>) -> Result<ErrorFields, Malformed> {
    let mut fields = ErrorFields::default();
    loop {
        match cursor.u8()? {
            0 => return Ok(fields),
            field => {
                let value = String::from_utf8_lossy(cursor.c_bytes()?).into_owned();
                if fields.0.insert(field, value).is_some() {
                    return Err(Malformed("an error field is given twice"));
                }
            }
        }
        if cursor.is_empty() {
            return Err(Malformed("error fields have no end"));
        }
    }
}
