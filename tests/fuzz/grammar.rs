//! Statements made at random over the attack schema: queries of every shape, and writes that carry what they read.

use rand::prelude::*;
use rand::rngs::StdRng;

/// Relations with their plain columns and those that are masked, or rest on masked ones.
const RELATIONS: &[(&str, &[&str], &[&str])] = &[
    ("users", &["id", "name", "country", "manager_id"], &["email", "ssn", "card", "email_lower"]),
    ("public.users", &["id", "name", "country"], &["email", "ssn"]),
    ("only users", &["id", "name"], &["email"]),
    ("vip_users", &["id", "name", "perk"], &["email", "ssn", "card"]),
    ("user_directory", &["id", "name", "country"], &["contact"]),
    ("order_report", &["order_id", "amount", "customer", "status"], &["reach_me"]),
    ("user_domains", &["id"], &["m_email", "domain"]),
    ("payments", &["id", "user_id", "amount"], &["card"]),
    ("payments_2025", &["id", "user_id"], &["card"]),
    ("\"UserProfiles\"", &["\"Id\"", "\"Bio\""], &["\"Email\""]),
    ("hr.salaries", &["user_id"], &["amount", "ssn"]),
    ("hr.users", &["id"], &["email"]),
    ("orders", &["id", "user_id", "amount", "status", "note"], &[]),
    ("notes", &["id", "body", "author"], &[]),
    ("safe_orders", &["id", "amount", "status"], &[]),
    ("tickets", &["id", "user_id", "note"], &[]),
];

/// Tables that are written to: a number and a text of each.
const TARGETS: &[(&str, &str, &str)] = &[
    ("notes", "id", "body"),
    ("orders", "user_id", "note"),
    ("orders", "amount", "status"),
    ("tickets", "user_id", "note"),
    ("note_log", "null", "what"),
    ("users", "manager_id", "name"),
    ("user_directory", "id", "name"),
];

/// A source of FROM: its alias and what can be taken from it.
#[derive(Debug, Clone, Default)]
struct Columns {
    aliases: Vec<String>,
    plain: Vec<String>,
    masked: Vec<String>,
}

/// Makes one statement.
pub(crate) struct Grammar<'a> {
    dice: &'a mut StdRng,
    names: usize,
    ctes: Vec<(String, Columns)>,
}

impl<'a> Grammar<'a> {
    pub(crate) fn new(dice: &'a mut StdRng) -> Self {
        Self { dice, names: 0, ctes: Vec::new() }
    }

    pub(crate) fn statement(&mut self) -> String {
        match self.dice.random_range(0..20) {
            0 => {
                let query = self.query(2);
                format!("explain {}{query}", self.pick(&["", "(verbose, costs off) ", "(analyze, timing off) "]))
            }
            1 => {
                let query = self.query(2);
                format!("select exists ({query})")
            }
            2 => {
                let query = self.query(2);
                format!("select count(*) from ({query}) x")
            }
            3 => {
                let query = self.query(2);
                format!("create table made as {query}")
            }
            4 => self.insert(),
            5 => self.update(),
            6 => self.delete(),
            7 => self.merge(),
            8 => {
                let name = self.name();
                let write = match self.dice.random_range(0..3) {
                    0 => self.insert(),
                    1 => self.update(),
                    _ => self.delete(),
                };
                let returning = if write.contains(" returning ") { "" } else { " returning 1 as r" };
                let query = self.simple(1, false).0;
                match self.dice.random_range(0..3) {
                    0 => format!("with {name} as ({write}{returning}) select * from {name}"),
                    1 => format!("with {name} as ({write}) {query}"),
                    _ => format!("with {name} as ({query}) {write}"),
                }
            }
            9 => self.call(),
            10 => format!("table {}", self.relation().0.trim_start_matches("only ")),
            _ => self.query(3),
        }
    }

    fn pick<'p>(&mut self, choices: &[&'p str]) -> &'p str {
        choices.choose(self.dice).copied().unwrap_or_default()
    }

    fn chance(&mut self, of: f64) -> bool {
        self.dice.random_bool(of)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }

    fn relation(&mut self) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
        RELATIONS.choose(self.dice).copied().unwrap_or(("notes", &["id"], &[]))
    }

    fn query(&mut self, depth: usize) -> String {
        if depth > 1 && self.chance(0.15) {
            let (left, right) = (self.single(depth - 1), self.single(depth - 1));
            return format!("({left}) {} ({right})", self.pick(&["union all", "union", "intersect", "except"]));
        }
        if depth > 1 && self.chance(0.2) {
            let cte = self.name();
            let recursive = self.chance(0.2);
            let (mut inner, columns) = self.simple(depth - 1, true);
            if recursive {
                inner = format!("({inner}) union all (select * from {cte} where false)");
            }
            self.ctes.push((cte.clone(), columns));
            let outer = self.simple(depth - 1, false).0;
            self.ctes.pop();
            let word = if recursive { "recursive " } else { "" };
            let kept = self.pick(&["", "materialized ", "not materialized "]);
            return format!("with {word}{cte} as {kept}({inner}) {outer}");
        }
        self.simple(depth, false).0
    }

    fn source(&mut self, depth: usize) -> (String, Columns) {
        let alias = self.name();
        let under = |columns: &Columns, alias: &str| {
            let named = |names: &[String]| names.iter().map(|name| format!("{alias}.{}", last(name))).collect();
            Columns { aliases: vec![alias.to_owned()], plain: named(&columns.plain), masked: named(&columns.masked) }
        };
        if !self.ctes.is_empty() && self.chance(0.4) {
            let (cte, columns) = self.ctes.choose(self.dice).cloned().unwrap_or_default();
            return (format!("{cte} {alias}"), under(&columns, &alias));
        }
        if depth > 1 && self.chance(0.3) {
            let (inner, columns) = self.simple(depth - 1, true);
            let lateral = self.pick(&["", "lateral "]);
            return (format!("{lateral}({inner}) {alias}"), under(&columns, &alias));
        }
        if self.chance(0.05) {
            let columns =
                Columns { plain: vec!["id".into(), "name".into()], masked: vec!["email".into()], ..Columns::default() };
            return (format!("app.get_users() {alias}"), under(&columns, &alias));
        }
        let (relation, plain, masked) = self.relation();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let columns = Columns { aliases: Vec::new(), plain: owned(plain), masked: owned(masked) };
        if self.chance(0.1) {
            // Under new names nobody knows which is which.
            let all = Columns { aliases: Vec::new(), plain: Vec::new(), masked: vec!["c0".into(), "c1".into()] };
            return (format!("{relation} as {alias}(c0, c1)"), under(&all, &alias));
        }
        (format!("{relation} {alias}"), under(&columns, &alias))
    }

    fn from(&mut self, depth: usize) -> (String, Columns) {
        let (mut text, mut columns) = self.source(depth);
        let more = if depth > 1 { self.dice.random_range(0..3) } else { 0 };
        for _ in 0..more {
            if !columns.masked.is_empty() && self.chance(0.15) {
                let (name, value) = (self.name(), self.one(&columns.masked));
                text += &format!(", lateral (select {value} as hidden, 1 as one) {name}");
                columns.masked.push(format!("{name}.hidden"));
                columns.plain.push(format!("{name}.one"));
                continue;
            }
            let (other, theirs) = self.source(depth - 1);
            let kind = self.pick(&["join", "left join", "full join", "cross join", "natural join", "using"]);
            match kind {
                "cross join" | "natural join" => text += &format!(" {kind} {other}"),
                "using" => text += &format!(" join {other} using (id)"),
                _ => {
                    let (mine, yours) = (self.one(&columns.plain), self.one(&theirs.plain));
                    text += &format!(" {kind} {other} on {mine}::text = {yours}::text");
                }
            }
            columns.aliases.extend(theirs.aliases);
            columns.plain.extend(theirs.plain);
            columns.masked.extend(theirs.masked);
        }
        // Sources whose columns have to be counted as the server counts them.
        if self.chance(0.15) {
            let (alias, value) = (self.one(&columns.aliases), self.value(&columns));
            let name = self.name();
            text += &match self.dice.random_range(0..3) {
                0 => format!(", lateral (values ({alias}.*, {value})) {name}"),
                1 => format!(", unnest(array[{alias}]) {name}"),
                _ => format!(", lateral (select {alias}, {value}) {name}"),
            };
            columns.aliases.push(name);
        }
        (text, columns)
    }

    /// A query of one column of text.
    fn single(&mut self, depth: usize) -> String {
        let (from, columns) = self.from(depth);
        let value = self.expression(&columns, depth);
        let condition = self.clauses(&columns, depth);
        format!("select ({value})::text as x from {from}{condition} limit 20")
    }

    /// A query, and what its columns are called and hold; names only where they are asked for.
    fn simple(&mut self, depth: usize, named: bool) -> (String, Columns) {
        let (from, columns) = self.from(depth);
        let mut made = Columns::default();
        let mut targets = Vec::new();
        for at in 0..self.dice.random_range(1..5) {
            let value = self.expression(&columns, depth);
            if named {
                let hidden =
                    columns.masked.iter().any(|column| value.contains(column.as_str())) || value.contains("select");
                if hidden { &mut made.masked } else { &mut made.plain }.push(format!("k{at}"));
                targets.push(format!("{value} as k{at}"));
            } else {
                targets.push(value);
            }
        }
        if !named && self.chance(0.2) {
            let alias = self.one(&columns.aliases);
            let star = [
                "*".to_owned(),
                format!("{alias}.*"),
                alias.clone(),
                format!("({alias}).*"),
                format!("row_to_json({alias})"),
                format!("row({alias}.*)"),
                format!("row(1, {alias}.*, {})", self.value(&columns)),
                format!("row({alias}, row({}))", self.value(&columns)),
                format!("(row({alias}.*, {})).*", self.value(&columns)),
                format!("case when true then {alias} else {alias} end"),
            ];
            targets.push(self.one(&star));
        }
        let mut clauses = self.clauses(&columns, depth);
        let all: Vec<String> = columns.plain.iter().chain(&columns.masked).cloned().collect();
        let mut distinct = "";
        match self.dice.random_range(0..12) {
            0 if !named => {
                let (by, value) = (self.one(&columns.plain), self.one(&all));
                let function = self.pick(&[
                    "count",
                    "max",
                    "min",
                    "array_agg",
                    "json_agg",
                    "count(distinct",
                    "mode() within group (order by",
                ]);
                let close = if function.contains('(') && function != "mode()" { "))" } else { ")" };
                let open = if function.contains('(') { " " } else { "(" };
                targets =
                    vec![by.clone(), format!("{function}{open}{value}{}", if close == "))" { ")" } else { close })];
                clauses += &format!(" group by {by}");
            }
            1 => clauses += &format!(" order by {}", self.one(&all)),
            2 => distinct = "distinct ",
            3 if !named => clauses += self.pick(&[" for update", " for share", " for no key update skip locked"]),
            _ => {}
        }
        let limit =
            if clauses.contains(" for ") { String::new() } else { format!(" limit {}", self.dice.random_range(1..30)) };
        (format!("select {distinct}{} from {from}{clauses}{limit}", targets.join(", ")), made)
    }

    fn clauses(&mut self, columns: &Columns, depth: usize) -> String {
        if self.chance(0.5) { format!(" where {}", self.condition(columns, depth)) } else { String::new() }
    }

    fn one(&mut self, names: &[String]) -> String {
        names.choose(self.dice).cloned().unwrap_or_else(|| "1".to_owned())
    }

    fn value(&mut self, columns: &Columns) -> String {
        if columns.masked.is_empty() || self.chance(0.4) { self.one(&columns.plain) } else { self.one(&columns.masked) }
    }

    fn expression(&mut self, columns: &Columns, depth: usize) -> String {
        let value = self.value(columns);
        let alias = self.one(&columns.aliases);
        match self.dice.random_range(0..36) {
            0 => format!("{value}::text"),
            1 => format!("lower({value}::text)"),
            2 => format!("coalesce({value}::text, 'x')"),
            3 => format!("({value} is null)"),
            4 => format!("case when {value} is null then 'n' else {value}::text end"),
            5 => format!("array[{value}::text]"),
            6 => format!("row({value}, 1)"),
            7 => format!("nullif({value}::text, 'x')"),
            8 => format!("greatest({value}::text, 'a')"),
            9 => format!("({value}::text || 'x')"),
            10 => format!("to_json({value})"),
            11 => format!("json_build_object('k', {value})"),
            12 => format!("format('%s', {value})"),
            13 => format!("({value})"),
            14 => format!("first_value({value}) over ()"),
            15 => format!("string_agg({value}::text, ',') over ()"),
            16 => format!("md5({value}::text)"),
            17 if depth > 1 => format!("({})", self.scalar()),
            18 if depth > 1 => format!("array(select {value}::text)"),
            19 if depth > 1 => format!("(select {value})"),
            20 if depth > 1 => format!("exists (select {value})"),
            21 => format!("row_to_json({alias})"),
            22 => format!("to_jsonb({alias}) ->> 'email'"),
            23 => format!("({alias}::text)"),
            24 => format!("count({value}) over ()"),
            25 => format!("lag({value}::text) over (order by {})", self.value(columns)),
            26 => format!("substring({value}::text from 2)"),
            27 => format!("({value}::text like 'a%')"),
            28 => format!("xmlelement(name x, {value})"),
            29 => format!("hstore('k', {value}::text)"),
            30 => format!("quote_literal({value})"),
            31 if depth > 1 => {
                let (from, theirs) = self.from(1);
                format!("({value}::text in (select {}::text from {from}))", self.value(&theirs))
            }
            _ => value,
        }
    }

    fn scalar(&mut self) -> String {
        let (from, columns) = self.from(1);
        let value = self.expression(&columns, 1);
        format!("select {value} from {from} limit 1")
    }

    fn condition(&mut self, columns: &Columns, depth: usize) -> String {
        let (value, plain) = (self.value(columns), self.one(&columns.plain));
        match self.dice.random_range(0..9) {
            0 => format!("{value} is not null"),
            1 => format!("{value} is null"),
            2 => format!("{value}::text like 'a%'"),
            3 => format!("{value}::text = 'x'"),
            4 if depth > 1 => format!("exists ({})", self.scalar()),
            5 if depth > 1 => format!("{plain}::text in (select {plain}::text)"),
            6 => format!("{plain}::text <> 'x' and {value}::text < 'b'"),
            _ => format!("{plain}::text >= '1'"),
        }
    }

    fn target(&mut self) -> (&'static str, &'static str, &'static str) {
        TARGETS.choose(self.dice).copied().unwrap_or(("notes", "id", "body"))
    }

    fn returning(&mut self, names: &[&str]) -> String {
        if self.chance(0.5) { String::new() } else { format!(" returning {}", self.pick(names)) }
    }

    fn insert(&mut self) -> String {
        let (table, number, text) = self.target();
        let (from, columns) = self.from(2);
        let value = self.expression(&columns, 2);
        let rest = self.clauses(&columns, 1);
        let conflict = if table == "notes" && self.chance(0.2) {
            format!(" on conflict (id) do update set body = excluded.body || ({})", self.scalar())
        } else {
            String::new()
        };
        let returning = self.returning(&["1", "*", text]);
        if number == "null" || self.chance(0.5) {
            return format!(
                "insert into {table} ({text}) select ({value})::text from {from}{rest} limit 3{conflict}{returning}"
            );
        }
        format!(
            "insert into {table} ({number}, {text}) select 1, ({value})::text from {from}{rest} limit 3{conflict}{returning}"
        )
    }

    fn update(&mut self) -> String {
        let (table, _, text) = self.target();
        let (from, columns) = self.from(1);
        let value = self.expression(&columns, 1);
        let condition = self.condition(&columns, 1);
        let returning = self.returning(&["1", "*", "email", text]);
        if self.chance(0.3) {
            return format!("update {table} set {text} = ({})::text where true{returning}", self.scalar());
        }
        format!("update {table} set {text} = ({value})::text from {from} where {condition}{returning}")
    }

    fn delete(&mut self) -> String {
        let (table, ..) = self.target();
        let (from, columns) = self.from(1);
        let condition = self.condition(&columns, 1);
        let value = self.expression(&columns, 1);
        if self.chance(0.5) {
            return format!("delete from {table} using {from} where {condition} returning {value}");
        }
        format!("delete from {table} using {from} where {condition}")
    }

    fn merge(&mut self) -> String {
        let (from, columns) = self.from(1);
        let (value, other) = (self.expression(&columns, 1), self.expression(&columns, 1));
        format!(
            "merge into notes n using (select 1 as id, ({value})::text as body from {from} limit 1) s on n.id = s.id \
             when matched then update set body = s.body when not matched then insert (body) values (({}))",
            if other.contains('.') { "s.body".to_owned() } else { other }
        )
    }

    fn call(&mut self) -> String {
        let value = self.pick(&["1", "(select max(id) from users)", "id"]);
        let from = if value == "id" { " from notes" } else { "" };
        let call = self.pick(&[
            "app.find_contact",
            "app.find_contact_imm",
            "app.add_tax",
            "abs",
            "app.touch",
            "nextval('counter')",
            "app.run('select email from users')",
            "query_to_xml('select email from users', true, true, '')",
            "pg_advisory_xact_lock",
            "set_config('application_name', 'x', true)",
        ]);
        let arguments = match call {
            "app.touch" => "()".to_owned(),
            call if call.contains('(') => String::new(),
            _ => format!("({value})"),
        };
        format!("select {call}{arguments}{from}")
    }
}

/// The name of a column without its relation's alias.
fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}
