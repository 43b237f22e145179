//! Prepared statements and portals by name. SQL and protocol share one name space for each, in both directions.

use super::hold::{Approved, Bound};
use super::meant::Meant;
use super::path::Schemas;
use crate::sql::Temporary;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Prepared statements that a session may hold.
const MOST: usize = 1000;

/// A text that somebody prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    /// As it was sent: for SQL's PREPARE and DECLARE the whole statement, whose analysis is that of what it prepares.
    pub(super) text: Arc<str>,
    /// Whether what runs is the inside of a PREPARE or DECLARE, and not the text itself.
    pub(super) inside: bool,
    /// For a portal the search path that it was made under.
    pub(super) path: Schemas,
    /// The session's own relations at that time.
    pub(super) own: Option<Arc<Temporary>>,
    /// What its names meant then.
    pub(super) meant: Meant,
    /// Whether its errors may quote values of masked columns.
    pub(super) redacts: bool,
    /// For a portal what was taken from it.
    pub(super) served: Served,
    /// What its parameters stand for, where that may have to be approved.
    pub(super) bound: Option<Bound>,
    /// For a portal what it was approved for.
    pub(super) approved: Option<Approved>,
    /// For a portal the Bind that made it, where it may have to be made again.
    pub(super) bind: Option<Bytes>,
}

/// What was taken from a portal or cursor so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// The names that the server has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Names {
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Prepared>,
    /// Cursors of SQL; WITH HOLD ones outlive their transaction.
    cursors: HashMap<String, Prepared>,
}

impl Names {
    pub(super) fn statement(&self, name: &str) -> Option<&Prepared> {
        self.statements.get(name)
    }

    pub(super) fn portal(&self, name: &str) -> Option<&Prepared> {
        self.portals.get(name).or_else(|| self.cursors.get(name))
    }

    /// Whether there is room for another name, with so many on their way.
    pub(super) fn is_full(&self, pending: usize) -> bool {
        self.statements.len() + pending >= MOST || self.cursors.len() >= MOST
    }

    pub(super) fn prepare(&mut self, name: &str, prepared: Prepared) {
        self.statements.insert(name.to_owned(), prepared);
    }

    pub(super) fn bind(&mut self, portal: &str, prepared: Prepared) {
        self.cursors.remove(portal);
        self.portals.insert(portal.to_owned(), prepared);
    }

    pub(super) fn declare(&mut self, cursor: &str, prepared: Prepared) {
        self.portals.remove(cursor);
        self.cursors.insert(cursor.to_owned(), prepared);
    }

    /// How many portals of the protocol there are.
    pub(super) fn portals(&self) -> usize {
        self.portals.len()
    }

    /// What was taken from a portal or cursor.
    pub(super) fn served(&self, name: &str) -> Served {
        self.portal(name).map_or(Served::default(), |portal| portal.served)
    }

    pub(super) fn add_served(&mut self, name: &str, more: Served) {
        if let Some(portal) = self.portals.get_mut(name).or_else(|| self.cursors.get_mut(name)) {
            portal.served.rows += more.rows;
            portal.served.bytes += more.bytes;
        }
    }

    pub(super) fn approve(&mut self, name: &str, approved: &Approved) {
        if let Some(portal) = self.portals.get_mut(name).or_else(|| self.cursors.get_mut(name)) {
            portal.approved = Some(approved.clone());
        }
    }

    pub(super) fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
        self.cursors.remove(name);
    }

    /// SQL's `CLOSE ALL` takes portals of the protocol along (`PortalHashTableDeleteAll`).
    pub(super) fn close_all(&mut self) {
        self.portals.clear();
        self.cursors.clear();
    }

    pub(super) fn discard(&mut self) {
        self.statements.clear();
        self.portals.clear();
        self.cursors.clear();
    }

    pub(super) fn deallocate(&mut self, name: &str) {
        self.statements.remove(name);
    }

    pub(super) fn deallocate_all(&mut self) {
        self.statements.clear();
    }

    /// Portals end with their transaction (54.2.3).
    pub(super) fn end_transaction(&mut self) {
        self.portals.clear();
    }
}
