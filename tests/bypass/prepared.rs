//! One name space: what SQL prepares, the protocol binds, and the other way round; a verb hidden in an earlier message.

use interceptor_tests::Scene;

#[test]
fn a_statement_is_judged_where_it_runs() {
    let script = r#"
        psql -XAt -v VERBOSITY=terse 2>&1 <<'EOF'
prepare hidden as delete from customers;
explain analyze execute hidden;
execute hidden;
execute nobody;
prepare fine as select 1;
execute fine;
deallocate fine;
execute fine;
begin;
declare c cursor for select * from api_keys;
commit;
select count(*) > 0 from customers;
EOF"#;
    let outcome = Scene::demo().run(script);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let errors = lines.iter().filter(|line| line.starts_with("ERROR:")).count();
    assert_eq!(errors, 6, "{}", outcome.stdout);
    assert_eq!(lines.last(), Some(&"t"), "{}", outcome.stdout);
    assert!(lines.contains(&"1"), "{}", outcome.stdout);
}
