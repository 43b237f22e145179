//! Limits on what is read hold for what is kept of it: `INSERT INTO mine SELECT * FROM big` returns no rows, and
//! `SELECT * FROM mine` reads nothing of `big` any more.

use super::annotation::Obligation;
use super::budget::Counted;
use super::decide::{Grant, broken};
use super::denial::{Denial, DenialKind};
use super::load::PolicySet;
use super::verdict::Bench;
use crate::sql::{Access, Flag, Object, RelationRef, Statement};
use cedar_policy::PolicyId;
use std::collections::BTreeSet;
use std::sync::Arc;

impl PolicySet {
    /// Has limits on reading count the rows that a statement writes, unless whoever reads those is under the same policies.
    /// `limiting` are those whose obligations are met when rows leave.
    ///
    /// # Errors
    /// A denial where bytes are limited or something is looked for: nobody sees what stays in the server.
    pub(super) fn limit_what_is_kept(
        &self,
        bench: &Bench<'_>,
        statement: &Statement,
        limiting: &BTreeSet<PolicyId>,
        grant: &mut Grant,
    ) -> Result<(), Box<Denial>> {
        let places = if limiting.is_empty() { Vec::new() } else { places(statement) };
        let mut everywhere: Option<BTreeSet<PolicyId>> = None;
        for place in places {
            let obliging: BTreeSet<_> =
                bench.verdict(Access::Select, &place).map_err(broken)?.obliging.iter().cloned().collect();
            everywhere = Some(everywhere.map_or_else(|| obliging.clone(), |known| &known & &obliging));
        }
        let Some(everywhere) = everywhere else { return Ok(()) };
        for id in limiting.difference(&everywhere) {
            for obligation in self.annotations.get(id).iter().flat_map(|known| &known.obligations) {
                match obligation {
                    Obligation::MaxRows(most) => {
                        let known = grant.orders.max_affected.get_or_insert(*most);
                        *known = (*known).min(*most);
                    }
                    Obligation::Allowance(allowance) if allowance.counted == Counted::Rows => {
                        grant.orders.keeps_rows = true;
                    }
                    Obligation::MaxBytes(_) => return Err(self.unseen(id, obligation)),
                    Obligation::Allowance(allowance) if allowance.counted == Counted::Bytes => {
                        return Err(self.unseen(id, obligation));
                    }
                    Obligation::Detect(_) => return Err(self.unseen(id, obligation)),
                    Obligation::Allowance(_)
                    | Obligation::MaxAffected(_)
                    | Obligation::Mask(_)
                    | Obligation::Timeout(_)
                    | Obligation::Approve(_)
                    | Obligation::Preview => {}
                }
            }
        }
        Ok(())
    }

    fn unseen(&self, id: &PolicyId, obligation: &Obligation) -> Box<Denial> {
        let mut denial = Denial::new(DenialKind::Policy, "what this statement keeps cannot be looked at");
        let shown = obligation.show();
        denial.reason = Some(format!("what it reads needs {shown}, and where it puts that it could be read without"));
        denial.hint = Some("select the rows instead, or keep them where the same policy holds".to_owned());
        self.attribute(&mut denial, std::slice::from_ref(id));
        Box::new(denial)
    }
}

/// Whether it is met when rows leave.
pub(super) fn limits_reading(obligation: &Obligation) -> bool {
    match obligation {
        Obligation::MaxRows(_) | Obligation::MaxBytes(_) | Obligation::Detect(_) => true,
        Obligation::Allowance(allowance) => matches!(allowance.counted, Counted::Rows | Counted::Bytes),
        Obligation::Mask(_)
        | Obligation::MaxAffected(_)
        | Obligation::Timeout(_)
        | Obligation::Approve(_)
        | Obligation::Preview => false,
    }
}

/// A relation that no policy names.
fn elsewhere(schema: &Arc<str>) -> Object {
    Object::Relation(RelationRef { schema: schema.clone(), name: "no relation".into() })
}

/// Where rows are put: relations that are written, and schemas in which one is made of a result.
fn places(statement: &Statement) -> Vec<Object> {
    let written = |named: bool| {
        statement.uses.iter().filter_map(move |asked| match (asked.access, &asked.object) {
            (Access::Insert | Access::Update | Access::Merge, Object::Relation(id)) if asked.named == named => {
                Some(Object::Relation(id.clone()))
            }
            (Access::Create, Object::Schema(schema)) if named && statement.flags.contains(&Flag::Into) => {
                Some(elsewhere(schema))
            }
            (Access::Alter, Object::Relation(id)) if named && statement.flags.contains(&Flag::Moves) => {
                Some(elsewhere(&id.schema))
            }
            _ => None,
        })
    };
    let mut places: Vec<_> = written(true).collect();
    // A function that it calls writes. (Triggers write besides what is named.)
    if places.is_empty() && statement.flags.contains(&Flag::WritesUncounted) {
        places.extend(written(false));
    }
    places
}
