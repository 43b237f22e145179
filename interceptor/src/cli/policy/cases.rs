//! `cases.toml`: a sketch of a database, and what policies are expected to decide about statements on it.
//!
//! ```toml
//! database = "shop"
//!
//! [relations]
//! "public.customers" = ["id bigint", "name text", "email text"]
//!
//! [views]
//! "public.directory" = "SELECT id, email AS contact FROM public.customers"
//!
//! [[case]]
//! name = "addresses are masked"
//! as = "agent:support"
//! groups = ["support"]
//! sql = "select email from customers"
//! expect = "permit"
//! obligations = ["mask(email)"]
//! policies = ["personal-data"]
//! ```

use crate::identity::Identity;
use crate::policy::{Circumstances, Explanation, PolicySet, Principal, Totals};
use crate::sql::{Catalog, CatalogBuilder, Function, Portal, RelationKind, Session, analyse, server_functions};
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The file's name in a policy folder.
pub(super) const FILE: &str = "cases.toml";

/// Types that a sketch may use, and that statements may cast to.
const TYPES: &[&str] = &[
    "bool",
    "bytea",
    "char",
    "int8",
    "int2",
    "int4",
    "text",
    "oid",
    "json",
    "jsonb",
    "xml",
    "float4",
    "float8",
    "money",
    "inet",
    "cidr",
    "bpchar",
    "varchar",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "interval",
    "numeric",
    "uuid",
    "regclass",
    "regtype",
    "regproc",
    "name",
    "point",
    "tsvector",
    "tsquery",
    "_text",
    "_int4",
    "_int8",
];

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cases {
    /// Name of the database.
    database: String,
    /// Columns as `name type`, by `schema.relation`.
    #[serde(default)]
    relations: BTreeMap<String, Vec<String>>,
    /// Queries, by `schema.view`.
    #[serde(default)]
    views: BTreeMap<String, String>,
    /// Bodies of SQL functions, by `schema.function`.
    #[serde(default)]
    functions: BTreeMap<String, String>,
    #[serde(default, rename = "case")]
    pub(super) cases: Vec<Case>,
}

/// One statement and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// A sentence.
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(rename = "as", default = "nobody_in_particular")]
    subject: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    on_behalf_of: Option<String>,
    #[serde(default)]
    on_behalf_of_groups: Vec<String>,
    #[serde(default)]
    claimed_role: String,
    #[serde(default = "some_time")]
    now: String,
    #[serde(default)]
    session_rows: u64,
    #[serde(default)]
    agent_rows: u64,
    /// The statement.
    pub(super) sql: String,
    /// `permit`, `hold` or `deny`.
    expect: String,
    /// The policies that decide, all of them; absent for any.
    #[serde(default)]
    policies: Option<BTreeSet<String>>,
    /// What has to be met, all of it; absent for anything.
    #[serde(default)]
    obligations: Option<BTreeSet<String>>,
    /// What the agent reads, in part: message, detail or hint.
    #[serde(default)]
    told: Option<String>,
}

/// Who asks, and when.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Who {
    /// Who asks
    #[arg(long = "as", value_name = "SUBJECT", default_value = "agent:demo")]
    pub(super) subject: String,
    /// Its groups
    #[arg(long, value_delimiter = ',')]
    pub(super) groups: Vec<String>,
    /// On whose behalf
    #[arg(long, value_name = "WHO")]
    pub(super) on_behalf_of: Option<String>,
    /// The groups of whoever that is
    #[arg(long, value_delimiter = ',')]
    pub(super) on_behalf_of_groups: Vec<String>,
    /// The role that the client says it is
    #[arg(long, value_name = "ROLE", default_value = "")]
    pub(super) claimed_role: String,
    /// The time, RFC 3339 to the second in UTC
    #[arg(long, default_value = "2026-01-31T12:00:00Z")]
    pub(super) now: String,
    /// Rows that the session has had before
    #[arg(long, default_value_t = 0)]
    pub(super) session_rows: u64,
    /// Rows that the agent has had before, in all its sessions of the last hour
    #[arg(long, default_value_t = 0)]
    pub(super) agent_rows: u64,
}

fn nobody_in_particular() -> String {
    "agent:demo".to_owned()
}

fn some_time() -> String {
    "2026-01-31T12:00:00Z".to_owned()
}

impl Case {
    fn who(&self) -> Who {
        Who {
            subject: self.subject.clone(),
            groups: self.groups.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            on_behalf_of_groups: self.on_behalf_of_groups.clone(),
            claimed_role: self.claimed_role.clone(),
            now: self.now.clone(),
            session_rows: self.session_rows,
            agent_rows: self.agent_rows,
        }
    }
}

struct NothingPrepared;

impl Session for NothingPrepared {
    fn prepared(&self, _name: &str) -> Option<Arc<str>> {
        None
    }

    fn portal(&self, _name: &str) -> Option<Portal> {
        None
    }
}

impl Cases {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        toml::from_str(&text).map_err(|error| anyhow!("`{}`: {error}", path.display()))
    }

    /// The sketch as a catalogue.
    pub(super) fn catalog(&self) -> Result<Catalog> {
        let mut builder = CatalogBuilder::new(&self.database, 1, "interceptor", &["public".to_owned()]);
        for schema in ["pg_catalog", "information_schema", "public"] {
            builder.schema(schema);
        }
        for (oid, (name, columns)) in (1..).zip(&self.relations) {
            let (schema, relation) = split(name)?;
            builder.schema(schema);
            builder.relation(oid, schema, relation, RelationKind::Table, false);
            for (number, column) in (1..).zip(columns) {
                let (column, kind) = column.split_once(' ').unwrap_or((column, "text"));
                builder.column(oid, number, column, (kind.trim(), 0));
            }
        }
        let views = (10_000..).zip(&self.views).collect::<Vec<_>>();
        for (oid, (name, query)) in &views {
            let (schema, relation) = split(name)?;
            builder.relation(*oid, schema, relation, RelationKind::View, false);
            for (number, column) in (1..).zip(view_columns(query)?) {
                builder.column(*oid, number, &column, ("text", 25));
            }
            builder.view(*oid, query);
        }
        for name in server_functions().chain(OFF_THE_LIST.iter().copied()) {
            builder.function(function("pg_catalog", name, "internal"));
        }
        for (name, body) in &self.functions {
            let (schema, name) = split(name)?;
            builder.function(function(schema, name, "sql"));
            builder.body(schema, name, "sql", body, None);
        }
        for name in TYPES {
            builder.type_name("pg_catalog", name);
        }
        Ok(builder.build())
    }
}

/// Some of the server's functions that need a permit, so that cases can try them.
const OFF_THE_LIST: &[&str] = &[
    "lo_from_bytea",
    "nextval",
    "pg_read_file",
    "pg_sleep",
    "pg_terminate_backend",
    "query_to_xml",
    "set_config",
    "setval",
];

fn function(schema: &str, name: &str, language: &str) -> Function {
    Function {
        schema: schema.into(),
        name: name.into(),
        volatility: "volatile".into(),
        security_definer: false,
        language: language.into(),
        width: None,
        output: None,
    }
}

fn split(name: &str) -> Result<(&str, &str)> {
    name.split_once('.').with_context(|| format!("`{name}` has no schema: write `public.{name}`"))
}

/// The names of a view's columns: what stands behind AS, or the column's own name.
fn view_columns(query: &str) -> Result<Vec<String>> {
    let list = query.trim_start().get(..6).filter(|word| word.eq_ignore_ascii_case("select")).and_then(|_| {
        let rest = query.trim_start().get(6..)?;
        let end = rest.to_ascii_lowercase().find(" from ")?;
        rest.get(..end)
    });
    let Some(list) = list else { bail!("`{query}` is no SELECT ... FROM ...") };
    let mut depth = 0;
    let parts = list.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    Ok(parts.map(|part| part.trim().rsplit([' ', '.']).next().unwrap_or_default().to_owned()).collect())
}

/// What policies decide about each statement of a text.
pub(super) fn explain(set: &PolicySet, catalog: &Catalog, who: &Who, sql: &str) -> Result<Vec<Explanation>> {
    let identity = Identity {
        subject: who.subject.clone(),
        issuer: "https://issuer.example".to_owned(),
        groups: who.groups.clone(),
        claims: BTreeMap::default(),
        on_behalf_of: who.on_behalf_of.clone(),
        on_behalf_of_groups: who.on_behalf_of_groups.clone(),
        delegation: Vec::new(),
        expires: u64::MAX,
    };
    let around = Circumstances {
        server: "127.0.0.1:5432".to_owned(),
        role: "interceptor".to_owned(),
        claimed_role: who.claimed_role.clone(),
        claimed_leaked: false,
        claimed: Vec::new(),
        exe: "/usr/bin/psql".to_owned(),
        uid: 1000,
        cgroup: "/agents".to_owned(),
        ancestry: String::new(),
        tls: false,
        now: who.now.clone(),
        in_transaction: false,
        in_flux: false,
        statement_bytes: sql.len(),
        totals: Totals { rows: who.session_rows, ..Totals::default() },
        agent_totals: Totals { rows: who.agent_rows, ..Totals::default() },
    };
    let principal = Principal::new(Arc::new(identity));
    let analysis = analyse(sql, catalog, &NothingPrepared).map_err(|error| anyhow!("{error}"))?;
    Ok((0..analysis.statements.len()).map(|at| set.explain(&principal, &analysis, at, catalog, &around)).collect())
}

/// What is wrong with a case: nothing, or a line for each thing that came out otherwise.
pub(super) fn check(set: &PolicySet, catalog: &Catalog, case: &Case) -> Vec<String> {
    let explained = match explain(set, catalog, &case.who(), &case.sql) {
        Ok(explained) => explained,
        Err(error) => return vec![format!("{error:#}")],
    };
    // A text is denied if one of its statements is, and waits if one of them has to.
    let decided = |decision| explained.iter().find(|statement| statement.decision == decision);
    let Some(said) = decided("deny").or(decided("hold")).or(explained.last()) else {
        return vec!["there is no statement".to_owned()];
    };
    let mut wrong = Vec::new();
    if said.decision != case.expect {
        let why = said.told.as_ref().map(|(message, ..)| format!(": {message}")).unwrap_or_default();
        wrong.push(format!("expected {}, got {}{why}", case.expect, said.decision));
    }
    let mut compare = |what: &str, expected: &Option<BTreeSet<String>>, found: &[String]| {
        let found: BTreeSet<String> = found.iter().cloned().collect();
        if expected.as_ref().is_some_and(|expected| *expected != found) {
            let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
            let expected = expected.as_ref().map(list).unwrap_or_default();
            wrong.push(format!("expected the {what} {expected}, got {}", list(&found)));
        }
    };
    compare("policies", &case.policies, &said.policies);
    compare("obligations", &case.obligations, &said.obligations);
    if let Some(part) = &case.told {
        let told = said.told.clone().map(|(message, reason, hint)| {
            [Some(message), reason, hint].into_iter().flatten().collect::<Vec<_>>().join("\n")
        });
        if !told.as_ref().is_some_and(|told| told.contains(part)) {
            wrong.push(format!("the agent was to read `{part}` and read `{}`", told.unwrap_or_default()));
        }
    }
    wrong
}
