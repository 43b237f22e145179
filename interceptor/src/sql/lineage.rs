//! What a value is made of: which columns stand in it unchanged, and which it was computed from.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::BitOrAssign;
use std::rc::Rc;

/// A column of a relation that the walk has met: their places in its lists.
pub(super) type ColumnId = (u32, u32);

/// Columns, each once.
pub(super) type ColumnSet = BTreeSet<ColumnId>;

/// Everything that is done with a column, as bits.
///
/// A masked column may be shown and tested; whether it may be compared or used is up to the mask's policy; a derived one
/// cannot be masked any more.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handling(u8);

impl Handling {
    /// Leaves as it is, in an output column of its own.
    pub const SHOWN: Self = Self(1);
    /// Counted, or tested for NULL.
    pub const TESTED: Self = Self(2);
    /// Compared with constants for equality.
    pub const COMPARED: Self = Self(4);
    /// Computed with, ordered or grouped by, joined on.
    pub const USED: Self = Self(8);
    /// Leaves, or is stored somewhere, as something else: a part of it, a function of it, in a row, under another name.
    pub const DERIVED: Self = Self(16);

    /// Whether one of these is among what is done.
    pub fn has(self, some: Self) -> bool {
        self.0 & some.0 != 0
    }

    /// Whether its value, or something made of it, gets out.
    pub fn leaves(self) -> bool {
        self.has(Self::SHOWN) || self.has(Self::DERIVED)
    }

    /// The same without one.
    pub(super) fn without(self, some: Self) -> Self {
        Self(self.0 & !some.0)
    }

    /// What this means for a column that a view's author has made the column of: where that is shown, something of it is,
    /// which can be masked with it. Whatever else is done with it is done with a part of the column.
    pub(super) fn underneath(self) -> Self {
        let mut under = Self::default();
        for (above, below) in [
            (Self::SHOWN, Self::SHOWN),
            (Self::TESTED, Self::USED),
            (Self::COMPARED, Self::USED),
            (Self::USED, Self::USED),
            (Self::DERIVED, Self::DERIVED),
        ] {
            if self.has(above) {
                under |= below;
            }
        }
        under
    }
}

impl BitOrAssign for Handling {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SHOWN, "shown"),
            (Self::TESTED, "tested"),
            (Self::COMPARED, "compared"),
            (Self::USED, "used"),
            (Self::DERIVED, "derived"),
        ];
        let words: Vec<_> = names.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect();
        f.write_str(&words.join("+"))
    }
}

/// A value of an expression.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value {
    /// Columns of which one stands here as it is (or NULL, or a constant in its place).
    pub(super) whole: ColumnSet,
    /// Columns that it was computed from.
    pub(super) derived: ColumnSet,
    /// The fields, if it is a row of known ones.
    pub(super) row: Option<Rc<Vec<Field>>>,
    /// Whether it is written out in the statement, or a parameter.
    pub(super) constant: bool,
    /// Whether something else may stand in a column's place: whoever chooses it learns what a mask makes of it.
    pub(super) mixed: bool,
    /// How many fields the row has, those of rows in it counted in.
    pub(super) weight: u32,
}

/// Fields that a row may have, rows in rows counted in: past this its fields are no longer told apart.
const MOST_FIELDS: u32 = 10_000;

/// Columns that a result may have (`MaxTupleAttributeNumber` in PostgreSQL's `htup_details.h`).
pub(super) const MOST_COLUMNS: usize = 1664;

/// A column of a row or a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// `None` where the name is not known: it may be any.
    pub(super) name: Option<Rc<str>>,
    /// What is in it.
    pub(super) value: Value,
    /// Whether it stands for any number of columns.
    pub(super) many: bool,
}

impl Value {
    /// A constant or a parameter.
    pub(super) fn constant() -> Self {
        Self { constant: true, ..Self::default() }
    }

    /// One column as it is.
    pub(super) fn column(id: ColumnId) -> Self {
        Self { whole: ColumnSet::from([id]), ..Self::default() }
    }

    /// A row.
    pub(super) fn of_row(fields: Vec<Field>) -> Self {
        let weight = fields.iter().fold(0_u32, |sum, field| sum.saturating_add(1 + field.value.weight));
        if weight > MOST_FIELDS {
            let mut all = ColumnSet::new();
            fields.iter().for_each(|field| field.value.collect(&mut all));
            return Self::made_of(all);
        }
        Self { row: Some(Rc::new(fields)), weight, ..Self::default() }
    }

    /// Something made of these columns.
    pub(super) fn made_of(derived: ColumnSet) -> Self {
        Self { derived, ..Self::default() }
    }

    /// Every column that has anything to do with it.
    pub(super) fn everything(&self) -> ColumnSet {
        let mut all = ColumnSet::new();
        self.collect(&mut all);
        all
    }

    /// As [`Self::everything`], added to what is there.
    pub(super) fn collect(&self, all: &mut ColumnSet) {
        all.extend(self.whole.iter().chain(&self.derived).copied());
        for field in self.row.iter().flat_map(|row| row.iter()) {
            field.value.collect(all);
        }
    }

    /// One or the other.
    pub(super) fn or(mut self, other: Self) -> Self {
        self.mixed |= other.mixed || self.whole != other.whole || self.derived != other.derived;
        self.constant &= other.constant;
        self.row = match (self.row.take(), &other.row) {
            (None, None) => None,
            (Some(mine), Some(theirs)) if mine.len() == theirs.len() => {
                let fields = mine.iter().zip(theirs.iter());
                let row = Self::of_row(fields.map(|(mine, theirs)| mine.clone().or(theirs.clone())).collect());
                self.derived.extend(row.derived);
                self.weight = row.weight;
                row.row
            }
            // Rows of different shapes, or a row and something else: what is in them is no longer told apart.
            (mine, _) => {
                for field in mine.iter().chain(&other.row).flat_map(|row| row.iter()) {
                    field.value.collect(&mut self.derived);
                }
                None
            }
        };
        self.whole.extend(other.whole);
        self.derived.extend(other.derived);
        self
    }
}

impl Field {
    /// A column by name.
    pub(super) fn new(name: &str, value: Value) -> Self {
        Self { name: Some(name.into()), value, many: false }
    }

    /// A column whose name is not known.
    pub(super) fn unnamed(value: Value) -> Self {
        Self { name: None, value, many: false }
    }

    /// Any number of columns.
    pub(super) fn many(value: Value) -> Self {
        Self { name: None, value, many: true }
    }

    fn or(self, other: Self) -> Self {
        let name = if self.name == other.name { self.name } else { None };
        Self { name, value: self.value.or(other.value), many: self.many || other.many }
    }
}

/// The rows of one query or of another (UNION and its kin): the first gives the names.
pub(super) fn either(left: Vec<Field>, right: Vec<Field>) -> Vec<Field> {
    let known = |fields: &[Field]| !fields.iter().any(|field| field.many);
    if known(&left) && known(&right) && left.len() == right.len() {
        let merged = left.into_iter().zip(right).map(|(left, right)| Field {
            name: left.name,
            value: left.value.or(right.value),
            many: false,
        });
        return merged.collect();
    }
    let mut all = ColumnSet::new();
    left.iter().chain(&right).for_each(|field| field.value.collect(&mut all));
    vec![Field::many(Value::made_of(all))]
}
