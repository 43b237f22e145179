//! Some thousand records in a row and what can be found in them: made once, when there are enough of them, and never changed.
//!
//! Per kind it has each value with the records that have it. Of statements it has each three bytes in a row (of the lower-cased
//! text) with the *groups* of records that have them. Groups, because nearly every statement has "sel"; what is in one is read
//! and looked at.

use super::counts::Counts;
use super::segment::Place;
use super::terms::{Kind, Terms};
use super::wanted::{Test, Wanted};
use std::collections::BTreeMap;

/// Most records of a chunk, and most bytes of the trail (but for the record that exceeds them).
pub(super) const RECORDS: usize = if cfg!(test) { 96 } else { 8192 };
pub(super) const BYTES: u64 = 8 << 20;
/// Records of a group: 256 groups, so that a group's number is a byte.
const GROUP: usize = 32;
/// Parts that the texts' index is in.
const SHARDS: u32 = 32;
/// Three-byte sequences of a text that are looked up at most: more of them hardly exclude more.
const GRAMS: usize = 12;

/// Which part of a chunk: where its records stand, the values of a kind, what they come to, or some of the texts' sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Places,
    Values(Kind),
    Counts,
    Texts(u32),
}

impl Part {
    /// Its number within the chunk, below 64.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Places => 0,
            Self::Values(kind) => 1 + kind as i64,
            Self::Counts => 15,
            Self::Texts(shard) => 16 + i64::from(shard),
        }
    }
}

/// A part's bytes say something else than they could.
#[derive(Debug)]
pub(super) struct Malformed;

/// Where a record stands and how long it is, without its line's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) length: u64,
}

/// A chunk in the making.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) first: u64,
    pub(super) spots: Vec<Spot>,
    pub(super) from: String,
    pub(super) until: String,
    bytes: u64,
    counts: Counts,
    values: [BTreeMap<String, Vec<u16>>; Kind::ALL.len()],
    /// Three bytes of a text and, behind them, the group: each once.
    grams: Vec<u32>,
    group: Group,
}

/// Which sequences the group at hand has already: most records of it have the same ones.
#[derive(Debug)]
struct Group {
    number: u32,
    /// Where its entries begin.
    start: usize,
    /// A bit for each sequence that there can be.
    has: Vec<u64>,
    /// The text that was taken last.
    text: String,
}

impl Group {
    fn new() -> Self {
        Self { number: 0, start: 0, has: vec![0; (1 << 24) / 64], text: String::new() }
    }

    /// Says that it has a sequence, and whether that is new.
    fn takes(&mut self, gram: u32) -> bool {
        let Some(word) = self.has.get_mut(gram as usize / 64) else { return false };
        let bit = 1 << (gram % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

impl Making {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            spots: Vec::new(),
            from: String::new(),
            until: String::new(),
            bytes: 0,
            counts: Counts::default(),
            values: Default::default(),
            grams: Vec::new(),
            group: Group::new(),
        }
    }

    pub(super) fn add(&mut self, spot: Spot, record: &Terms<'_>) {
        let at = u16::try_from(self.spots.len()).unwrap_or(u16::MAX);
        self.spots.push(spot);
        self.bytes += spot.length;
        self.counts.add(record);
        if self.from.is_empty() || *record.time < *self.from {
            self.from = record.time.to_string();
        }
        if *record.time > *self.until {
            self.until = record.time.to_string();
        }
        for (kind, values) in Kind::ALL.into_iter().zip(&mut self.values) {
            for value in record.values(kind) {
                match values.get_mut(value) {
                    Some(known) if known.last() == Some(&at) => {}
                    Some(known) => known.push(at),
                    None => drop(values.insert(value.to_owned(), vec![at])),
                }
            }
        }
        if let Some(statement) = &record.statement {
            self.add_text(u32::from(at) / GROUP as u32, statement);
        }
    }

    fn add_text(&mut self, number: u32, text: &str) {
        let group = &mut self.group;
        if group.number != number {
            for entry in self.grams.get(group.start..).unwrap_or_default() {
                if let Some(word) = group.has.get_mut((entry >> 8) as usize / 64) {
                    *word = 0;
                }
            }
            (group.number, group.start) = (number, self.grams.len());
        } else if group.text == text {
            return;
        }
        self.grams.extend(grams(&text.to_lowercase()).filter(|gram| group.takes(*gram)).map(|gram| gram << 8 | number));
        text.clone_into(&mut group.text);
    }

    pub(super) fn is_full(&self) -> bool {
        self.spots.len() >= RECORDS || self.bytes >= BYTES
    }

    /// All of its parts.
    pub(super) fn parts(mut self) -> Vec<(Part, Vec<u8>)> {
        let mut parts = vec![(Part::Places, write_places(&self.spots))];
        for (kind, values) in Kind::ALL.into_iter().zip(&self.values) {
            let mut out = Vec::new();
            for (value, records) in values {
                number(&mut out, value.len() as u64);
                out.extend_from_slice(value.as_bytes());
                number(&mut out, records.len() as u64);
                let mut last = 0;
                for record in records {
                    number(&mut out, u64::from(record - last));
                    last = *record;
                }
            }
            parts.push((Part::Values(kind), out));
        }
        parts.push((Part::Counts, self.counts.write()));
        self.grams.sort_unstable();
        let mut shards = vec![Vec::new(); SHARDS as usize];
        for of_gram in self.grams.chunk_by(|one, other| one >> 8 == other >> 8) {
            let gram = of_gram.first().copied().unwrap_or_default() >> 8;
            let Some(out) = shards.get_mut((gram % SHARDS) as usize) else { continue };
            out.extend_from_slice(gram.to_be_bytes().get(1..).unwrap_or_default());
            // At most 256 of them, at least one.
            out.push(u8::try_from(of_gram.len() - 1).unwrap_or(u8::MAX));
            out.extend(of_gram.iter().map(|entry| entry.to_le_bytes()[0]));
        }
        parts.extend((0..).map(Part::Texts).zip(shards));
        parts
    }
}

/// The sequences of three bytes in a text.
fn grams(text: &str) -> impl Iterator<Item = u32> {
    text.as_bytes().windows(3).filter_map(|bytes| match bytes {
        [a, b, c] => Some(u32::from_be_bytes([0, *a, *b, *c])),
        _ => None,
    })
}

/// Which records of a chunk of `records` may be wanted, in order; nobody else is. `part` fetches what is asked for.
pub(super) fn candidates<E: From<Malformed>>(
    wanted: &Wanted,
    records: usize,
    mut part: impl FnMut(Part) -> Result<Vec<u8>, E>,
) -> Result<Vec<usize>, E> {
    let mut fitting = vec![true; records];
    let mut keep = |found: &dyn Fn(usize) -> bool| {
        for (at, fits) in fitting.iter_mut().enumerate() {
            *fits &= found(at);
        }
    };
    for any in wanted.tests() {
        let mut found = vec![false; records];
        for (kind, test) in any {
            read_values(&part(Part::Values(kind))?, test, &mut found)?;
        }
        keep(&|at| found.get(at).copied().unwrap_or_default());
    }
    if let Some(text) = wanted.folded_text() {
        let mut sequences: Vec<u32> = grams(&text).collect();
        sequences.sort_unstable();
        sequences.dedup();
        // Those of one shard come together, and not all of them from the text's beginning.
        let step = sequences.len().div_ceil(GRAMS).max(1);
        let mut sequences: Vec<u32> = sequences.into_iter().step_by(step).collect();
        sequences.sort_unstable_by_key(|gram| gram % SHARDS);
        let mut groups = [true; 256];
        for of_shard in sequences.chunk_by(|one, other| one % SHARDS == other % SHARDS) {
            let shard = part(Part::Texts(of_shard.first().copied().unwrap_or_default() % SHARDS))?;
            for (known, has) in groups.iter_mut().zip(read_texts(&shard, of_shard)?) {
                *known &= has;
            }
        }
        keep(&|at| groups.get(at / GROUP).copied().unwrap_or_default());
    }
    Ok(fitting.iter().enumerate().filter_map(|(at, fits)| fits.then_some(at)).collect())
}

/// Marks the records that have a value which passes.
fn read_values(mut part: &[u8], test: Test<'_>, found: &mut [bool]) -> Result<(), Malformed> {
    while !part.is_empty() {
        let length = usize::try_from(take_number(&mut part)?).map_err(|_| Malformed)?;
        let (value, rest) = part.split_at_checked(length).ok_or(Malformed)?;
        part = rest;
        let passes = test.fits(std::str::from_utf8(value).map_err(|_| Malformed)?);
        let mut at = 0;
        for _ in 0..take_number(&mut part)? {
            at += usize::try_from(take_number(&mut part)?).map_err(|_| Malformed)?;
            *found.get_mut(at).ok_or(Malformed)? |= passes;
        }
    }
    Ok(())
}

/// The groups that have all of these sequences.
fn read_texts(mut shard: &[u8], wanted: &[u32]) -> Result<[bool; 256], Malformed> {
    let (mut all, mut left) = ([true; 256], wanted.to_vec());
    while let [a, b, c, more, rest @ ..] = shard {
        let (groups, rest) = rest.split_at_checked(usize::from(*more) + 1).ok_or(Malformed)?;
        let gram = u32::from_be_bytes([0, *a, *b, *c]);
        if let Some(at) = left.iter().position(|wanted| *wanted == gram) {
            left.swap_remove(at);
            let mut has = [false; 256];
            for group in groups {
                if let Some(has) = has.get_mut(usize::from(*group)) {
                    *has = true;
                }
            }
            for (all, has) in all.iter_mut().zip(has) {
                *all &= has;
            }
        }
        shard = rest;
    }
    match (shard, left.as_slice()) {
        ([], []) => Ok(all),
        ([], _) => Ok([false; 256]),
        _ => Err(Malformed),
    }
}

fn write_places(spots: &[Spot]) -> Vec<u8> {
    let mut out = Vec::new();
    for of_segment in spots.chunk_by(|one, other| one.place.segment == other.place.segment) {
        let Some(Spot { place, .. }) = of_segment.first() else { continue };
        number(&mut out, place.segment.into());
        number(&mut out, place.offset);
        number(&mut out, of_segment.len() as u64);
        for spot in of_segment {
            number(&mut out, spot.length);
        }
    }
    out
}

/// Where the records of a chunk stand.
pub(super) fn read_places(mut part: &[u8], records: usize) -> Result<Vec<Spot>, Malformed> {
    let mut spots = Vec::with_capacity(records.min(RECORDS));
    while !part.is_empty() {
        let segment = u32::try_from(take_number(&mut part)?).map_err(|_| Malformed)?;
        let mut offset = take_number(&mut part)?;
        for _ in 0..take_number(&mut part)? {
            let length = take_number(&mut part)?;
            spots.push(Spot { place: Place { segment, offset }, length });
            offset = offset.checked_add(length).and_then(|end| end.checked_add(1)).ok_or(Malformed)?;
        }
    }
    if spots.len() == records { Ok(spots) } else { Err(Malformed) }
}

/// Seven bits a byte, the low ones first; the high bit says that more follow.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value.to_le_bytes()[0] | 128);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_number(part: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = part.split_first().ok_or(Malformed)?;
        *part = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}
