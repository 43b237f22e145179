//! Records as an Apache Parquet file.
//!
//! A column for each member that is asked for by itself; what is nested stands in its column as JSON text, and whatever no column is
//! for, of this version or of later ones, in the last, in the shape that it has in the record: a file has all that its records have.

use anyhow::{Context, Result};
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::{Map, Value};
use std::io::Write;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Signed, of 64 bits.
    Integer,
    /// Microseconds, UTC.
    Time,
    /// Any JSON, as text.
    Json,
}

use Kind::{Integer, Json, Text, Time};

/// A column's name, what it holds, and the member of a record, or of an object in one. docs/audit.md lists them.
const COLUMNS: &[(&str, Kind, &str, Option<&str>)] = &[
    ("v", Integer, "v", None),
    ("seq", Integer, "seq", None),
    ("time", Time, "time", None),
    ("event", Text, "event", None),
    ("session", Text, "session", None),
    ("agent", Text, "agent", Some("subject")),
    ("issuer", Text, "agent", Some("issuer")),
    ("on_behalf_of", Text, "agent", Some("on_behalf_of")),
    ("groups", Json, "agent", Some("groups")),
    ("pid", Integer, "process", Some("pid")),
    ("exe", Text, "process", Some("exe")),
    ("cgroup", Text, "process", Some("cgroup")),
    ("uid", Integer, "process", Some("uid")),
    ("server", Text, "server", None),
    ("database", Text, "database", None),
    ("role", Text, "role", None),
    ("statement", Text, "statement", None),
    ("binds", Json, "binds", None),
    ("shape", Text, "shape", None),
    ("verbs", Json, "verbs", None),
    ("relations", Json, "relations", None),
    ("functions", Json, "functions", None),
    ("decision", Text, "decision", None),
    ("policies", Json, "policies", None),
    ("obligations", Json, "obligations", None),
    ("status", Text, "outcome", Some("status")),
    ("reason", Text, "outcome", Some("reason")),
    ("sqlstate", Text, "outcome", Some("sqlstate")),
    ("rows", Integer, "outcome", Some("rows")),
    ("bytes", Integer, "outcome", Some("bytes")),
    ("masked", Integer, "outcome", Some("masked")),
    ("affected", Integer, "outcome", Some("affected")),
    ("duration_us", Integer, "outcome", Some("duration_us")),
    ("backend_pid", Integer, "outcome", Some("backend_pid")),
    ("statement_seq", Integer, "outcome", Some("statement_seq")),
    ("results", Json, "outcome", Some("results")),
    ("prev", Text, "prev", None),
    ("hash", Text, "hash", None),
];

/// The column of what no other is for.
const FURTHER: &str = "further";

/// Records of a row group, and their bytes: they are kept in memory until it is written.
const ROWS: usize = 50_000;
const BYTES: usize = 64 << 20;

/// Values of a column, in the order of rows.
#[derive(Debug)]
enum Values {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<ByteArray>>),
}

/// A file in the making.
pub(super) struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn new(out: W) -> Result<Self> {
        let named = COLUMNS.iter().map(|(name, kind, ..)| (*name, *kind)).chain([(FURTHER, Json)]);
        let fields = named.map(|(name, kind)| Ok(Arc::new(column(name, kind)?))).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("records").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::default()))
            .set_created_by(concat!("interceptor ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, columns: empty(), rows: 0, bytes: 0 })
    }

    /// Adds a record by its line.
    pub(super) fn add(&mut self, line: &str) -> Result<()> {
        let mut record: Map<String, Value> = serde_json::from_str(line)?;
        for ((_, kind, member, within), column) in COLUMNS.iter().zip(&mut self.columns) {
            let value = take(&mut record, member, *within, *kind);
            match (column, value) {
                (Values::Numbers(values), value) => values.push(match (kind, value) {
                    (Time, Some(Value::String(time))) => microseconds(&time),
                    (_, Some(Value::Number(number))) => number.as_i64(),
                    _ => None,
                }),
                (Values::Texts(values), Some(Value::String(text))) if *kind == Text => {
                    values.push(Some(text.into_bytes().into()));
                }
                (Values::Texts(values), value) => values.push(value.map(|value| value.to_string().into_bytes().into())),
            }
        }
        // Objects of which nothing is left, and members without a value, say nothing.
        record.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty()));
        if let Some(Values::Texts(values)) = self.columns.last_mut() {
            values.push((!record.is_empty()).then(|| Value::Object(record).to_string().into_bytes().into()));
        }
        self.rows += 1;
        self.bytes += line.len();
        if self.rows >= ROWS || self.bytes >= BYTES { self.write() } else { Ok(()) }
    }

    /// Writes what is left and the end of the file.
    pub(super) fn finish(mut self) -> Result<()> {
        self.write()?;
        self.writer.close().map(drop).context("the file cannot be finished")
    }

    fn write(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = std::mem::replace(&mut self.columns, empty());
        (self.rows, self.bytes) = (0, 0);
        let mut group = self.writer.next_row_group()?;
        for values in columns {
            let mut column = group.next_column()?.context("as many columns as there are")?;
            match values {
                Values::Numbers(values) => {
                    let present: Vec<i64> = values.iter().copied().flatten().collect();
                    column.typed::<Int64Type>().write_batch(&present, Some(&levels(&values)), None)?;
                }
                Values::Texts(values) => {
                    let levels = levels(&values);
                    let present: Vec<ByteArray> = values.into_iter().flatten().collect();
                    column.typed::<ByteArrayType>().write_batch(&present, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// 1 where there is a value, 0 where there is none.
fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
    values.iter().map(|value| i16::from(value.is_some())).collect()
}

fn empty() -> Vec<Values> {
    let kinds = COLUMNS.iter().map(|(_, kind, ..)| *kind).chain([Json]);
    let of = |kind| match kind {
        Integer | Time => Values::Numbers(Vec::new()),
        Text | Json => Values::Texts(Vec::new()),
    };
    kinds.map(of).collect()
}

fn column(name: &str, kind: Kind) -> Result<Type> {
    let (physical, logical) = match kind {
        Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Integer => (Physical::INT64, None),
        Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    let column = Type::primitive_type_builder(name, physical).with_logical_type(logical);
    Ok(column.with_repetition(Repetition::OPTIONAL).build()?)
}

/// Takes a member out of a record if its column can hold it; what it cannot stays.
fn take(record: &mut Map<String, Value>, member: &str, within: Option<&str>, kind: Kind) -> Option<Value> {
    let (object, name) = match within {
        Some(name) => (record.get_mut(member)?.as_object_mut()?, name),
        None => (record, member),
    };
    let fits = match (kind, object.get(name)?) {
        (_, Value::Null) => false,
        (Text, value) => value.is_string(),
        (Integer, value) => value.is_i64(),
        (Time, value) => value.as_str().is_some_and(|time| microseconds(time).is_some()),
        (Json, _) => true,
    };
    if fits || object.get(name).is_some_and(Value::is_null) { object.remove(name).filter(|_| fits) } else { None }
}

/// Since 1970.
fn microseconds(time: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok()
}
