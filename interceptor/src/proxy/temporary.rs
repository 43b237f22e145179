//! What a session is asked about relations of its own.
//!
//! Two rounds: which there are, as numbers; and, where there are any, the questions that a database is asked about all relations,
//! about these. Nothing may be left behind by that, so that what is set for the questions is set in a transaction, or within a
//! block under a savepoint, that is rolled back.

use super::questions::QUESTIONS;

/// Temporary relations that are followed at most.
pub(super) const MOST: usize = 2000;

/// Which relations there are in the session's own schema; then a row if there is anything else in it that names could mean.
pub(super) const WHICH: &str = "
select c.oid, c.relname, c.relkind,
       exists (select from pg_catalog.pg_rewrite r
                where r.ev_class operator(pg_catalog.=) c.oid and r.rulename operator(pg_catalog.<>) '_RETURN'),
       pg_catalog.obj_description(c.oid, 'pg_class')
  from pg_catalog.pg_class c where c.relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema();
select 1 from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.oid operator(pg_catalog.=) t.typelem
 where t.typnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()
   and t.typrelid operator(pg_catalog.=) 0 and coalesce(e.typrelid, 0) operator(pg_catalog.=) 0
 limit 1";

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Relations of everybody's that these rest on or belong to.
    Elsewhere,
    /// What all relations are asked, by its place there.
    AsOfAll(usize),
}

/// The questions of the second round, in order.
pub(super) const ORDER: [Asked; 9] = [
    Asked::Elsewhere,
    Asked::AsOfAll(3),
    Asked::AsOfAll(4),
    Asked::AsOfAll(5),
    Asked::AsOfAll(6),
    Asked::AsOfAll(7),
    Asked::AsOfAll(8),
    Asked::AsOfAll(14),
    Asked::AsOfAll(15),
];

/// The second round.
pub(super) fn questions(oids: &[u32], in_block: bool) -> String {
    let numbers: Vec<String> = oids.iter().map(u32::to_string).collect();
    let among = format!("any ('{{{}}}'::pg_catalog.oid[])", numbers.join(","));
    let (before, after) = if in_block {
        ("savepoint \"interceptor\"", "rollback to savepoint \"interceptor\"; release savepoint \"interceptor\"")
    } else {
        ("begin isolation level repeatable read read only", "rollback")
    };
    let asked = ORDER.iter().map(|asked| match asked {
        Asked::Elsewhere => format!(
            "select c.oid, n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where c.oid <> all ('{{{}}}'::pg_catalog.oid[]) and c.oid in (
                    select inhparent from pg_catalog.pg_inherits where inhrelid = {among}
                    union select d.refobjid from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d
                      on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
                     and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     where r.ev_class = {among})",
            numbers.join(",")
        ),
        Asked::AsOfAll(5) => {
            format!("select oid, pg_catalog.pg_get_viewdef(oid) from pg_catalog.pg_class where relkind = 'v' and oid = {among}")
        }
        Asked::AsOfAll(question) => {
            let all = of_all(*question).unwrap_or_default();
            format!("select * from ({all}) q({}) where q.of = {among}", columns(*question))
        }
    });
    let asked: Vec<String> = asked.collect();
    format!(
        "{before}; set local search_path to ''; set local quote_all_identifiers to off; set local statement_timeout to '30s'; {}; {after}",
        asked.join("; ")
    )
}

/// A question that a database is asked about all relations; the one of place 0 is the first that has rows.
fn of_all(question: usize) -> Option<&'static str> {
    QUESTIONS
        .split(";\n")
        .filter(|text| !["begin", "set", "commit"].iter().any(|word| text.trim().starts_with(word)))
        .nth(question)
}

/// Its columns; the first says of which relation a row is.
fn columns(question: usize) -> &'static str {
    match question {
        4 | 6 => "of, a",
        8 | 15 => "of, a, b",
        7 => "of, a, b, c",
        3 | 14 => "of, a, b, c, d, e",
        _ => "of",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_about_all_relations_are_found_by_their_places() {
        let begins =
            |question: usize, with: &str| assert!(of_all(question).unwrap().trim().starts_with(with), "{question}");
        begins(0, "select pg_catalog.unnest(pg_catalog.current_schemas");
        begins(3, "select a.attrelid");
        begins(4, "select distinct r.ev_class");
        begins(6, "select inhrelid, inhparent");
        begins(7, "select t.tgrelid");
        begins(8, "select a.attrelid, a.attname");
        begins(14, "select c.conrelid");
        begins(15, "select p.polrelid");
        begins(16, "select n.nspname, p.proname\n  from pg_catalog.pg_event_trigger");
        begins(17, "select indexrelid, indrelid");
        begins(18, "select i.indrelid, a.attname");
        assert_eq!(of_all(19), None);
        let survey = crate::proxy::catalogs::SurveyReading::questions();
        assert!(
            survey.starts_with("savepoint") && !survey.contains("begin") && !survey.contains("commit;"),
            "{survey}"
        );
        assert_eq!(survey.matches("rollback to savepoint").count(), 1);
    }
}
