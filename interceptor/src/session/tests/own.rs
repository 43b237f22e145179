//! The session's own relations: when they are asked for, and what is judged by them.

use super::*;
use crate::sql::{TEMPORARY, Temporary};

/// Orders may be read and nothing else; with its own relations an agent may do as it likes.
const POLICIES: &str = r#"
@id("read") permit (principal, action in [PG::Action::"read"], resource in PG::Schema::"shop.public");
@id("own") permit (principal, action in [PG::Action::"read", PG::Action::"write", PG::Action::"ddl"], resource in PG::Schema::"shop.pg_temp");
@id("call") permit (principal, action == PG::Action::"execute", resource);
"#;

/// Temporary tables by name; a number behind `#` tells one from an earlier one of the same name.
pub(super) fn temporary(names: &[String], catalog: &Catalog) -> Temporary {
    let mut own = CatalogBuilder::default();
    for name in names {
        let (name, number) = name.split_once('#').unwrap_or((name, "1"));
        let oid = name.bytes().map(u32::from).sum::<u32>() * 100 + number.parse::<u32>().unwrap();
        own.relation(oid, TEMPORARY, name, RelationKind::Table, false);
        own.column(oid, 1, "id", ("bigint", 20));
    }
    catalog.temporary_of(own)
}

#[track_caller]
fn check(script: &str, expected: &str) {
    check_under(POLICIES, script, expected);
}

#[track_caller]
fn check_under(policies: &str, script: &str, expected: &str) {
    let mut stage = Stage::under(policies);
    let said = stage.play(script);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said, expected.join("\n"));
}

const NO_DELETE: &str = "< E 42501 no policy permits to delete on public.orders";
const DOUBT: &str = "< E 42501 the session's temporary relations are not known at this point";
const MADE: &str = "> Q create temp table orders (id int)\n< C CREATE TABLE\n< Z I\no orders\n";
const MADE_SAID: &str = "> Q create temp table orders (id int)\n< C CREATE TABLE\n< Z I\n";

#[test]
fn nobody_asks_who_has_none() {
    check(
        "> Q select id from orders\n< T\n< C SELECT 0\n< Z I\n> Q begin\n< C BEGIN\n< Z T\n> Q rollback\n< C ROLLBACK\n< Z I",
        "> Q select id from orders\n< T\n< C SELECT 0\n< Z I\n> Q begin\n< C BEGIN\n< Z T\n> Q rollback\n< C ROLLBACK\n< Z I",
    );
}

#[test]
fn they_are_asked_for_once_after_they_have_changed() {
    check(
        &format!("{MADE}> Q delete from orders\n< C DELETE 0\n< Z I\n> Q delete from orders\n< C DELETE 0\n< Z I"),
        &format!(
            "{MADE_SAID}?\n> Q delete from orders\n< C DELETE 0\n< Z I\n> Q delete from orders\n< C DELETE 0\n< Z I"
        ),
    );
    // What names nothing need not know; a transaction that changes none of them ends as it began.
    check(
        &format!(
            "{MADE}> Q begin\n< C BEGIN\n< Z T\n> Q delete from orders\n< C DELETE 0\n< Z T\n> Q commit\n< C COMMIT\n< Z I\n> Q delete from orders"
        ),
        &format!(
            "{MADE_SAID}> Q begin\n< C BEGIN\n< Z T\n?\n> Q delete from orders\n< C DELETE 0\n< Z T\n> Q commit\n< C COMMIT\n< Z I\n> Q delete from orders"
        ),
    );
}

#[test]
fn a_name_means_the_other_relation_again_once_the_temporary_one_is_gone() {
    for gone in ["drop table orders", "discard temp", "discard all", "alter table orders rename to x"] {
        check(
            &format!(
                "{MADE}> Q delete from orders\n< C DELETE 0\n< Z I\n> Q {gone}\n< C OK\n< Z I\no x\n> Q delete from orders"
            ),
            &format!(
                "{MADE_SAID}?\n> Q delete from orders\n< C DELETE 0\n< Z I\n> Q {gone}\n< C OK\n< Z I\n?\n{NO_DELETE}\n< Z I"
            ),
        );
        // Nor in one text.
        check(&format!("{MADE}> Q {gone}; delete from orders"), &format!("{MADE_SAID}?\n{DOUBT}\n< Z I"));
    }
}

#[test]
fn transactions_take_them_along() {
    let begun = "> Q begin\n< C BEGIN\n< Z T\n> Q savepoint s\n< C SAVEPOINT\n< Z T\n> Q create temp table orders (id int) on commit drop\n\
                 < C CREATE TABLE\n< Z T\n";
    let used = "> Q delete from orders\n< C DELETE 0\n< Z T\n";
    for end in ["commit", "rollback", "end", "abort"] {
        check(
            &format!("{begun}o orders\n{used}> Q {end}\n< C ROLLBACK\n< Z I\no -\n> Q delete from orders")
                .replace("o -", "o x"),
            &format!("{begun}?\n{used}> Q {end}\n< C ROLLBACK\n< Z I\n?\n{NO_DELETE}\n< Z I"),
        );
        check(
            &format!("{begun}o orders\n{used}> Q {end}; delete from orders"),
            &format!("{begun}?\n{used}> Q <refused by interceptor>"),
        );
    }
    check(
        &format!(
            "{begun}o orders\n{used}> Q rollback to s\n< C ROLLBACK\n< Z T\no x\n> Q delete from orders\n< E 42601\n< Z E"
        ),
        &format!(
            "{begun}?\n{used}> Q rollback to s\n< C ROLLBACK\n< Z T\n?\n> Q <refused by interceptor>\n{NO_DELETE}\n< Z E"
        ),
    );
    // In a failed transaction nobody can ask, and the server runs nothing.
    let failed = "> Q select id from nowhere\n< E 42601\n< Z E\n";
    check(
        &format!(
            "{begun}o orders\n{used}{failed}> Q delete from orders\n> Q rollback\n< C ROLLBACK\n< Z I\no x\n> Q delete from orders"
        ),
        &format!(
            "{begun}?\n{used}> Q <refused by interceptor>\n< E 42P01 relation \"nowhere\" does not exist\n< Z E\n\
             < E 25P02 current transaction is aborted, commands ignored until end of transaction block\n< Z E\n\
             > Q rollback\n< C ROLLBACK\n< Z I\n?\n{NO_DELETE}\n< Z I"
        ),
    );
    check(
        &format!("{begun}o orders\n{used}{failed}> Q rollback; delete from orders"),
        &format!(
            "{begun}?\n{used}> Q <refused by interceptor>\n< E 42P01 relation \"nowhere\" does not exist\n< Z E\n{DOUBT}\n< Z E"
        ),
    );
}

#[test]
fn an_error_in_the_middle_of_a_text_undoes_what_came_before() {
    check(
        "> Q create temp table orders (id int); select id from orders\n< C CREATE TABLE\n< E 22012\n< Z I\no x\n> Q delete from orders",
        &format!(
            "> Q create temp table orders (id int); select id from orders\n< C CREATE TABLE\n< E 22012 server\n< Z I\n?\n{NO_DELETE}\n< Z I"
        ),
    );
}

#[test]
fn what_is_pipelined_behind_waits() {
    check(
        "> Q create temp table orders (id int)\n> Q delete from orders\n< C CREATE TABLE\n< Z I\no orders\n> Q delete from orders",
        "> Q create temp table orders (id int)\nwait\n< C CREATE TABLE\n< Z I\n?\n> Q delete from orders",
    );
    // In a batch that is a transaction by itself nobody can ask in between.
    check(
        "> P _ create temp table orders (id int)\n> B _ _\n> E _\n> P _ delete from orders\n< 1\n< 2\n< C CREATE TABLE\n> P _ delete from orders",
        "> P create temp table orders (id int)\n> B\n> E\nwait\n> H\n< 1\n< 2\n< C CREATE TABLE\n> P interceptor refused <refused by interceptor>",
    );
    // In a transaction block a Sync of ours ends the batch for as long as that takes; the client hears nothing of it.
    let begun = "> P _ begin\n> B _ _\n> E _\n> P _ create temp table orders (id int)\n> B _ _\n> E _\n> P _ delete from orders\n";
    let sent = "> P begin\n> B\n> E\n> P create temp table orders (id int)\n> B\n> E\nwait\n> H\n";
    let answered = "< 1\n< 2\n< C BEGIN\n< 1\n< 2\n< C CREATE TABLE\n";
    let again = "> P _ delete from orders\n";
    check(
        &format!("{begun}{answered}{again}o orders\n< Z T\n{again}> B _ _\n> E _\n> S\n< 1\n< 2\n< C DELETE 0\n< Z T"),
        &format!("{sent}{answered}wait\n> S\n?\n> P delete from orders\n> B\n> E\n> S\n< 1\n< 2\n< C DELETE 0\n< Z T"),
    );
    // What is judged then is what there is then.
    check(
        &format!("{begun}{answered}{again}o x\n< Z T\n{again}> E _\n> S\n< E 42601\n< Z E"),
        &format!(
            "{sent}{answered}wait\n> S\n?\n> P interceptor refused <refused by interceptor>\n> S\n{NO_DELETE}\n< Z E"
        ),
    );
    // Not behind the end of the block, nor where the server says that there is none.
    for end in ["commit", "rollback", "rollback to s"] {
        let tag = end.split(' ').next().unwrap().to_uppercase();
        check(
            &format!(
                "{begun}{answered}{again}o x\n< Z T\n> P _ {end}\n> B _ _\n> E _\n{again}< 1\n< 2\n< C {tag}\n{again}"
            ),
            &format!(
                "{sent}{answered}wait\n> S\n?\n> P {end}\n> B\n> E\nwait\n> H\n< 1\n< 2\n< C {tag}\n> P interceptor refused <refused by interceptor>"
            ),
        );
    }
    check(
        &format!("{begun}{answered}{again}< Z I"),
        &format!(
            "{sent}{answered}wait\n> S\nend: the database server broke the protocol: it is in no transaction block that it had begun"
        ),
    );
    // To whom nothing can be refused that does not matter.
    check_under(
        "@id(\"all\") permit (principal, action, resource);",
        "> P _ create temp table orders (id int)\n> B _ _\n> E _\n> P _ delete from orders\n< 1\n< 2\n< C CREATE TABLE\n> P _ delete from orders",
        "> P create temp table orders (id int)\n> B\n> E\nwait\n> H\n< 1\n< 2\n< C CREATE TABLE\n> P delete from orders",
    );
    // A driver sends BEGIN and the first statement in one batch: it is asked before.
    check(
        &format!("{MADE}> P _ begin\n> B _ _\n> E _\n> P _ delete from orders"),
        &format!("{MADE_SAID}?\n> P begin\n> B\n> E\n> P delete from orders"),
    );
}

#[test]
fn what_was_prepared_before_may_mean_either() {
    let prepared = "> P s select id from orders\n> S\n< 1\n< Z I\n";
    check(
        &format!("{prepared}{MADE}> B _ s\n> S"),
        &format!(
            "{prepared}{MADE_SAID}?\n< E 42501 a temporary relation stands before one that the prepared statement names\n< Z I"
        ),
    );
    // Prepared anew it means one thing, and so does what only the temporary one can mean, as often as that is made anew.
    check(
        &format!("{prepared}{MADE}> P s select id from orders\n> B _ s\n> S"),
        &format!("{prepared}{MADE_SAID}?\n> P s select id from orders\n> B s\n> S"),
    );
    let notes =
        |number: u32| format!("> Q create temp table notes (id int)\n< C CREATE TABLE\n< Z I\no notes#{number}\n");
    let said = "> Q create temp table notes (id int)\n< C CREATE TABLE\n< Z I\n";
    let first = "> P s delete from notes\n> S\n< 1\n< Z I\n";
    check(
        &format!("{}{first}> Q drop table notes\n< C DROP TABLE\n< Z I\n{}> B _ s\n> S", notes(1), notes(2)),
        &format!("{said}?\n{first}> Q drop table notes\n< C DROP TABLE\n< Z I\n?\n{said}?\n> B s\n> S"),
    );
}

#[test]
fn a_portal_means_what_it_meant_when_it_was_bound() {
    let bound = "> P s select id from orders\n> B p s\n> H\n> S\n< 1\n< 2\n< Z T\n";
    let begun = "> Q begin\n< C BEGIN\n< Z T\n";
    let made = MADE.replace("Z I", "Z T");
    let said = MADE_SAID.replace("Z I", "Z T");
    check(
        &format!("{begun}{bound}{made}> E p\n> S"),
        &format!("{begun}{bound}{said}> E p\n> S")
            .replace("> E p\n", "?\n> P interceptor refused <refused by interceptor>\n"),
    );
    let declared = "> Q declare c cursor for select id from orders\n< C DECLARE CURSOR\n< Z T\n";
    check(
        &format!("{begun}{declared}{made}> Q fetch c\n< E 42601\n< Z E"),
        &format!(
            "{begun}{declared}{said}?\n> Q <refused by interceptor>\n< E 42501 what the prepared statement or cursor names may be another relation by now\n< Z E"
        ),
    );
}

#[test]
fn what_cannot_be_seen_through_may_have_made_some() {
    for name in ["opaque", "maker"] {
        let mut stage = Stage::under(POLICIES);
        let mut builder = CatalogBuilder::new("shop", 1, "r", &["public".to_owned()]);
        builder.schema("public");
        builder.type_name("pg_catalog", "int4");
        builder.relation(1, "public", "orders", RelationKind::Table, false);
        for (name, language, body) in
            [("opaque", "plpython3u", None), ("maker", "sql", Some("create temp table orders (id int)"))]
        {
            builder.function(Function {
                schema: "public".into(),
                name: name.into(),
                volatility: "volatile".into(),
                security_definer: false,
                language: language.into(),
                width: Some(1),
                output: None,
            });
            if let Some(body) = body {
                builder.body("public", name, language, body, None);
            }
        }
        stage.catalog = builder.build();
        let call = format!("> Q select {name}()\n< T\n< C SELECT 1\n< Z I\n");
        let used = "> Q delete from orders\n< C DELETE 0\n< Z I\n";
        let said = stage.play(&format!("{call}o orders\n{used}{call}o x\n> Q delete from orders"));
        assert_eq!(said, format!("{call}?\n{used}{call}?\n{NO_DELETE}\n< Z I"));
    }
}

/// What a transaction has made of the schema is asked for where it matters, once for each change, and not behind its end.
#[test]
fn a_schema_in_flux_is_asked_for() {
    let policies = r#"
@id("all") permit (principal, action, resource);
@id("kept") forbid (principal, action == PG::Action::"delete", resource in PG::Relation::"shop.public.orders");
"#;
    let begun = "> Q begin\n< C BEGIN\n< Z T\n> Q create table t (id int)\n< C CREATE TABLE\n< Z T\n";
    let used = "> Q select id from orders\n< T\n< C SELECT 0\n< Z T\n";
    check_under(policies, &format!("{begun}{used}{used}"), format!("{begun}??\n{used}{used}").trim_end());
    // A definition whose names are known waits for nobody, and changes it again.
    let more = "> Q create table u (id int)\n< C CREATE TABLE\n< Z T\n";
    check_under(
        policies,
        &format!("{begun}{more}{used}{more}{used}"),
        format!("{begun}{more}??\n{used}{more}??\n{used}").trim_end(),
    );
    // Gone with the transaction, or back to a savepoint.
    let back = "> Q rollback to s\n< C ROLLBACK\n< Z T\n";
    check_under(
        policies,
        &format!("{begun}{used}{back}{used}"),
        format!("{begun}??\n{used}{back}??\n{used}").trim_end(),
    );
    let end = "> Q commit\n< C COMMIT\n< Z I\n";
    let after = used.replace("Z T", "Z I");
    check_under(policies, &format!("{begun}{used}{end}{after}"), format!("{begun}??\n{used}{end}{after}").trim_end());
    // In a text nobody can ask in between.
    check_under(
        policies,
        "> Q create table t (id int); select id from orders",
        "< E 42501 the schema is being changed in this transaction\n< Z I",
    );
}
