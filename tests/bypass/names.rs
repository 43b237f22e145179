//! The same name for something else: other schemas, quoting, cutting at 63 bytes, Unicode escapes.

use interceptor_tests::Scene;

#[test]
fn names_mean_what_the_server_takes_them_for() {
    let init = std::env::temp_dir().join(format!("interceptor-names-{}.sql", std::process::id()));
    let long = "long_name_of_a_table_whose_rows_are_none_of_an_agents_business_";
    assert_eq!(long.len(), 63);
    std::fs::write(
        &init,
        format!(
            "create schema hr; create table hr.salaries (id int, amount int); insert into hr.salaries values (1, 4711);
             create table public.salaries_open (id int); create table public.{long} (v text); insert into {long} values ('4711');
             create table public.api_keys (id int, key text); insert into api_keys values (1, '4711');
             create view public.innocent as select key as id from public.api_keys;
             create table public.events (day date, note text) partition by range (day);
             create table public.api_events partition of events for values from ('2026-01-01') to ('2027-01-01');"
        ),
    )
    .unwrap();
    let policies = std::env::temp_dir().join(format!("interceptor-names-{}", std::process::id()));
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(
        policies.join("a.cedar"),
        format!(
            "@id(\"c\") permit (principal, action == PG::Action::\"connect\", resource);
             @id(\"r\") permit (principal, action in [PG::Action::\"read\"], resource in PG::Schema::\"shop.public\");
             @id(\"k\") forbid (principal, action, resource in PG::Relation::\"shop.public.api_keys\");
             @id(\"e\") forbid (principal, action, resource in PG::Relation::\"shop.public.api_events\");
             @id(\"l\") forbid (principal, action, resource in PG::Relation::\"shop.public.{long}\");"
        ),
    )
    .unwrap();
    let script = format!(
        r#"
        try() {{ psql -XAt -v VERBOSITY=terse -c "$1" 2>&1 | head -1; }}
        try 'select * from hr.salaries'
        try 'select * from salaries'
        try 'select * from {long}and_more'
        try 'select * from "{long}"'
        try 'select * from innocent'
        try 'select * from events'
        try 'select * from U&"api_key\0073"'
        try 'select * from API_KEYS'
        try 'select count(*) from salaries_open'"#
    );
    let outcome = Scene::demo().with("--init", &init).with("--policies", &policies).run(&script);
    std::fs::remove_file(&init).unwrap();
    std::fs::remove_dir_all(&policies).unwrap();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 9, "{}\n{}", outcome.stdout, outcome.stderr);
    for line in &lines[..8] {
        assert!(line.starts_with("ERROR:"), "{line}\n{}", outcome.stdout);
    }
    assert_eq!(lines[8], "0");
    assert!(!outcome.stdout.contains("4711"), "{}", outcome.stdout);
    assert!(lines[4].contains("policy forbids something that this statement reaches"), "{}", lines[4]);
}
