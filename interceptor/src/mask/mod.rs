//! What may be seen: the values of masked columns are replaced before a row leaves.
//!
//! A mask's value is valid in the column's wire type, in text and in binary (54.7, "DataRow"); where a kind of mask has no
//! meaning for a type, NULL stands there, which every type has. The replacement never depends on anything but the value,
//! the column and the daemon's own key.

mod array;
mod composite;
mod detect;
mod key;
mod value;

pub use key::{Key, KeyError};

use crate::policy::Orders;
use crate::wire::{Described, Malformed};
use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use std::path::PathBuf;

/// The `[mask]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// File with the 32 bytes that hashes and shifts depend on; made on first start. Absent for `mask.key` beside the audit
    /// folder. Hosts that share it mask alike.
    pub key_file: Option<PathBuf>,
}

/// Writes a DataRow, whose body is given, with its masked values replaced; returns how many were.
///
/// # Errors
/// [`Malformed`] if the row is not what `shape` says: a server that sends other columns than it announced.
pub fn row(orders: &Orders, shape: &[Described], key: &Key, body: &[u8], out: &mut BytesMut) -> Result<u64, Malformed> {
    let (count, mut rest) = body.split_at_checked(2).ok_or(Malformed("a row without a number of columns"))?;
    let count = u16::from_be_bytes(count.try_into().unwrap_or_default());
    if usize::from(count) != shape.len() {
        return Err(Malformed("a row has another number of columns than announced"));
    }
    let start = out.len();
    out.put_u8(b'D');
    out.put_u32(0);
    out.put_u16(count);
    let mut masked = 0;
    for (at, column) in shape.iter().enumerate() {
        let (length, behind) = rest.split_at_checked(4).ok_or(Malformed("a row ends too early"))?;
        let length = i32::from_be_bytes(length.try_into().unwrap_or_default());
        let value = match usize::try_from(length) {
            Ok(length) => {
                let (value, behind) = behind.split_at_checked(length).ok_or(Malformed("a row ends too early"))?;
                rest = behind;
                Some(value)
            }
            Err(_) if length == -1 => {
                rest = behind;
                None
            }
            Err(_) => return Err(Malformed("a value's length is negative")),
        };
        match (orders.masks.get(at).and_then(Option::as_ref), value) {
            (_, None) => out.put_i32(-1),
            (None, Some(value)) => match value::searched(&orders.detect, value::Of::column(column), value) {
                value::Searched::Nothing => put(out, value)?,
                value::Searched::Cleaned(value) => {
                    masked += 1;
                    put(out, &value)?;
                }
                value::Searched::Hidden => {
                    masked += 1;
                    out.put_i32(-1);
                }
            },
            (Some(mask), Some(value)) => {
                masked += 1;
                match value::replaced(mask, value::Of::column(column), value, &orders.detect, key) {
                    Some(value) => put(out, &value)?,
                    None => out.put_i32(-1),
                }
            }
        }
    }
    if !rest.is_empty() {
        return Err(Malformed("bytes follow a row's end"));
    }
    let length = u32::try_from(out.len() - start - 1).map_err(|_| Malformed("a row is too long"))?;
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(masked)
}

fn put(out: &mut BytesMut, value: &[u8]) -> Result<(), Malformed> {
    out.put_i32(i32::try_from(value.len()).map_err(|_| Malformed("a value is too long"))?);
    out.extend_from_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests;
