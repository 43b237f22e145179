//! The first rows of a result, kept for the record where a policy asks for them (`@audit("results")`).

use crate::wire::{Described, HEADER};
use std::fmt::Write;

/// Rows that are kept, and bytes of their values.
const MOST_ROWS: usize = 100;
const MOST_BYTES: usize = 64 << 10;

/// What has been kept so far.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: Vec<Vec<Option<String>>>,
    bytes: usize,
    /// Whether there were more.
    cut: bool,
}

impl Kept {
    /// Takes a row as it leaves: a whole DataRow, its values in the formats that were described.
    pub(super) fn take(&mut self, shape: &[Described], row: &[u8]) {
        if self.rows.len() >= MOST_ROWS || self.bytes >= MOST_BYTES {
            self.cut = true;
            return;
        }
        let mut rest = row.get(HEADER + 2..).unwrap_or_default();
        let mut values = Vec::with_capacity(shape.len());
        for column in shape {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break };
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, behind) = match length {
                None => (None, behind),
                Some(length) => {
                    let (value, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
                    (Some(value), behind)
                }
            };
            rest = behind;
            values.push(value.map(|value| self.text(column, value)));
        }
        self.rows.push(values);
    }

    /// A value for people to read, as much of it as there is room for.
    fn text(&mut self, column: &Described, value: &[u8]) -> String {
        let room = MOST_BYTES.saturating_sub(self.bytes);
        let shown = value.get(..room.min(value.len())).unwrap_or_default();
        let mut text = match (column.format, std::str::from_utf8(shown)) {
            (0, Ok(text)) => text.to_owned(),
            // Binary, or cut within a character.
            (0, Err(_)) => String::from_utf8_lossy(shown).into_owned(),
            _ => shown.iter().fold("\\x".to_owned(), |mut hex, byte| {
                let _fits = write!(hex, "{byte:02x}");
                hex
            }),
        };
        self.bytes += shown.len();
        if shown.len() < value.len() {
            let _fits = write!(text, " [cut: {} bytes in all]", value.len());
        }
        text
    }

    /// The rows; a last one says if there were more.
    pub(super) fn into_rows(self) -> Vec<Vec<Option<String>>> {
        let mut rows = self.rows;
        if self.cut {
            rows.push(vec![Some("[cut: there were more rows]".to_owned())]);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut row = vec![b'D', 0, 0, 0, 0, 0, u8::try_from(values.len()).unwrap()];
        for value in values {
            match value {
                Some(value) => {
                    row.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    row.extend_from_slice(value);
                }
                None => row.extend((-1_i32).to_be_bytes()),
            }
        }
        row
    }

    #[test]
    fn rows_are_kept_as_they_leave() {
        let column = |format| Described { table: 0, attribute: 0, type_oid: 25, format };
        let shape = [column(0), column(1)];
        let mut kept = Kept::default();
        kept.take(&shape, &row(&[Some(b"a"), Some(b"\x01\xff")]));
        kept.take(&shape, &row(&[None, None]));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(kept.into_rows(), [vec![text("a"), text("\\x01ff")], vec![None, None]]);
    }

    #[test]
    fn much_is_cut() {
        let shape = [Described { table: 0, attribute: 0, type_oid: 25, format: 0 }];
        let mut kept = Kept::default();
        for _ in 0..200 {
            kept.take(&shape, &row(&[Some(b"x")]));
        }
        let rows = kept.into_rows();
        assert_eq!(rows.len(), MOST_ROWS + 1);
        assert_eq!(rows[MOST_ROWS], [Some("[cut: there were more rows]".to_owned())]);
        let mut kept = Kept::default();
        kept.take(&shape, &row(&[Some(&vec![b'x'; 100_000])]));
        assert!(kept.into_rows()[0][0].as_ref().unwrap().ends_with("[cut: 100000 bytes in all]"));
    }
}
