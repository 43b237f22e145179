//! What a statement asks for and what every policy says to it, for people.

use super::circumstances::Circumstances;
use super::decide::describe;
use super::load::PolicySet;
use super::orders::MaskedOutput;
use super::principal::Principal;
use super::verdict::{Bench, Verdict};
use super::{Denial, Mode};
use crate::sql::{Analysis, Catalog, Object};
use serde::Serialize;

/// One statement explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What it asks for, one request a line.
    pub requests: Vec<Asked>,
    /// What it does with each column, in the words of the analysis.
    pub columns: Vec<String>,
    /// Code and catalogues that cannot be seen through.
    pub unseen: Vec<String>,
    /// `permit`, `hold` or `deny`.
    pub decision: &'static str,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// What has to be met.
    pub obligations: Vec<String>,
    /// For each output column its mask, empty for none.
    pub masks: Vec<String>,
    /// What the agent reads where it is denied: message, detail, hint.
    pub told: Option<(String, Option<String>, Option<String>)>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// In words.
    pub what: String,
    /// Whether the statement names the object; what it only reaches needs no permit.
    pub named: bool,
    /// Policies that permit it.
    pub permits: Vec<String>,
    /// Policies that forbid it.
    pub forbids: Vec<String>,
    /// Policies whose obligations have to be met.
    pub obliging: Vec<String>,
    /// Policies that are only observed.
    pub watching: Vec<String>,
}

impl PolicySet {
    /// Explains the decision about one statement of a text.
    pub fn explain(
        &self,
        principal: &Principal,
        analysis: &Analysis,
        at: usize,
        catalog: &Catalog,
        around: &Circumstances,
    ) -> Explanation {
        let statement = analysis.statements.get(at).cloned().unwrap_or_default();
        let bench = Bench { set: self, principal, catalog, around, statement: Some(&statement) };
        let requests = statement.uses.iter().map(|asked| {
            let Verdict { permits, forbids, obliging, watching } =
                bench.verdict(asked.access, &asked.object).map(|verdict| (*verdict).clone()).unwrap_or_default();
            let names = |ids: Vec<cedar_policy::PolicyId>| ids.iter().map(ToString::to_string).collect();
            Asked {
                what: describe(asked, catalog),
                named: asked.named && !matches!(&asked.object, Object::Parameter(name) if name.is_empty()),
                permits: names(permits),
                forbids: names(forbids),
                obliging: names(obliging),
                watching: names(watching),
            }
        });
        let requests = requests.collect();
        let columns = statement
            .columns
            .iter()
            .map(|((relation, column), how)| format!("{}.{}.{column}: {how:?}", relation.schema, relation.name));
        let columns = columns.collect();
        let unseen = statement.unseen.iter().cloned().collect();
        let alone = Analysis { statements: vec![statement.clone()], shape: None, id: 0 };
        let explanation = Explanation {
            requests,
            columns,
            unseen,
            decision: "permit",
            policies: Vec::new(),
            obligations: Vec::new(),
            masks: Vec::new(),
            told: None,
        };
        match self.decide(principal, &alone, catalog, around, Mode::Enforce) {
            Ok(permit) => {
                let granted = permit.statements().first();
                let orders = granted.map(|granted| granted.orders().clone()).unwrap_or_default();
                let masks = orders.masks.iter().map(|mask| mask.as_ref().map(MaskedOutput::show).unwrap_or_default());
                Explanation {
                    decision: if orders.approvals.is_empty() { "permit" } else { "hold" },
                    policies: granted.iter().flat_map(|granted| granted.policies()).map(str::to_owned).collect(),
                    obligations: orders.shown.iter().cloned().collect(),
                    masks: masks.collect(),
                    ..explanation
                }
            }
            Err(denied) => {
                let Denial { message, reason, hint, policies, obligations, .. } = denied.denial;
                Explanation {
                    decision: "deny",
                    policies,
                    obligations: obligations.iter().map(super::Obligation::show).collect(),
                    told: Some((message, reason, hint)),
                    ..explanation
                }
            }
        }
    }
}
