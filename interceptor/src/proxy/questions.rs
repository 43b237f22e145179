//! What a database is asked about itself.
//!
//! Half of the answers are about what every server comes with. They are asked for when what they hang on has changed; what is
//! asked after each change of a schema is the rest.

use std::sync::LazyLock;

/// Functions that run where a thing stands in an expression that the server keeps, by the thing's class and number in
/// `pg_depend`: functions themselves, operators, and the operator classes of indexes. What is written in C is the server's or an
/// extension's; nobody but a superuser makes, or changes, such.
macro_rules! code_behind {
    () => {
        "(select 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, oid from pg_catalog.pg_proc
        union all select 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid, p.oid
          from pg_catalog.pg_operator o join pg_catalog.pg_proc p on p.oid = o.oprcode
          join pg_catalog.pg_language l on l.oid = p.prolang where l.lanname not in ('internal', 'c')
        union all select 'pg_catalog.pg_opclass'::pg_catalog.regclass, c.oid, p.oid
          from pg_catalog.pg_opclass c join pg_catalog.pg_amproc a on a.amprocfamily = c.opcfamily
          join pg_catalog.pg_proc p on p.oid = a.amproc join pg_catalog.pg_language l on l.oid = p.prolang
         where l.lanname not in ('internal', 'c')) v(class, id, function)"
    };
}

/// Begins a transaction, so that all answers are of one moment.
const BEGIN: &str = "begin isolation level repeatable read read only;";

/// The first question. Behind it the search path is empty, so that the server prints every name in full.
const PATH: &str = "
set local search_path to default;
select pg_catalog.unnest(pg_catalog.current_schemas(false))
union all select 'pg_temp' where pg_catalog.current_setting('search_path') like '%pg\\_temp%';
set local search_path to '';
set local quote_all_identifiers to off;
";

/// What is the same while nobody has changed what the server came with: each change to a row of its catalogues gives it another
/// `xmin`.
const FINGERPRINT: &str = "
select pg_catalog.concat(pg_catalog.version(), ' ', pg_catalog.string_agg(part, ' ')) from (
  select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(oid, '.', xmin), 0)))
    from pg_catalog.pg_class where oid < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(attrelid, '.', attnum, '.', xmin), 0)))
    from pg_catalog.pg_attribute where attrelid < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(oid, '.', xmin), 0)))
    from pg_catalog.pg_type where oid < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(oid, '.', xmin), 0)))
    from pg_catalog.pg_proc where oid < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(oid, '.', xmin), 0)))
    from pg_catalog.pg_rewrite where ev_class < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(oid, '.', xmin), 0)))
    from pg_catalog.pg_namespace where oid < 16384
  union all select pg_catalog.concat(pg_catalog.count(*), '/', pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat(objoid, '.', xmin), 0)))
    from pg_catalog.pg_description where classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and objoid < 16384
) of_server(part);
";

/// Whose objects a question is about. What `initdb` makes has numbers below 16384 (`FirstNormalObjectId` of the server's
/// `access/transam.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    /// What the server came with.
    Server,
    /// What somebody has made, and beside a function of theirs the server's of the same name.
    Others,
}

/// Which questions have a part about what the server came with, by their places.
const OF_SERVER: [usize; 5] = [2, 3, 4, 9, 11];

static ALL: LazyLock<String> = LazyLock::new(|| text(Of::All));

/// All questions in one transaction.
pub(super) fn all() -> String {
    format!("{BEGIN}{PATH}{}commit", *ALL)
}

/// All questions in a transaction that is open already; `before` and `after` see to it that nothing stays behind.
pub(super) fn within(before: &str, after: &str) -> String {
    format!("{before};{PATH}{}{after}", *ALL)
}

/// The first round: the search path, and what [`of_server`] hangs on.
pub(super) fn begin() -> String {
    format!("{BEGIN}{PATH}{FINGERPRINT}")
}

/// What the server came with; and the place of each of these questions among all.
pub(super) fn of_server() -> (String, &'static [usize]) {
    let text = text(Of::Server);
    let questions: Vec<_> = OF_SERVER.iter().filter_map(|place| text.split(";\n").nth(place - 1)).collect();
    (questions.join(";\n"), &OF_SERVER)
}

/// The last round: all but the first question about what somebody has made.
pub(super) fn of_others() -> String {
    format!("{}commit", text(Of::Others))
}

/// A question that a database is asked about all relations; the one of place 0 is the first.
pub(super) fn of_all(question: usize) -> Option<&'static str> {
    ALL.split(";\n").nth(question.checked_sub(1)?).filter(|text| !text.trim().is_empty())
}

/// The questions behind the first.
fn text(of: Of) -> String {
    let (number, overload) = match of {
        Of::All => ("is not null", "is not null"),
        Of::Server => ("< 16384", "< 16384"),
        Of::Others => (
            ">= 16384",
            "in (select p.oid from pg_catalog.pg_proc o join pg_catalog.pg_proc p
                  on p.pronamespace = o.pronamespace and p.proname = o.proname where o.oid >= 16384)",
        ),
    };
    QUESTIONS.replace("$number", number).replace("$overload", overload)
}

/// `$number` and `$overload` say of the number before them whether it is among those asked about.
const QUESTIONS: &str = concat!(
    "select nspname, pg_catalog.has_schema_privilege(oid, 'usage') from pg_catalog.pg_namespace where nspname not like 'pg\\_toast%' and nspname not like 'pg\\_temp%';
select c.oid, n.nspname, c.relname, c.relkind,
       exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN'),
       pg_catalog.obj_description(c.oid, 'pg_class')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid $number and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%'
   and not (c.relkind in ('i', 'I') and n.nspname in ('pg_catalog', 'information_schema'));
select a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       case when n.nspname not in ('pg_catalog', 'information_schema') then pg_catalog.col_description(c.oid, a.attnum) end,
       case when t.typtype = 'd' then t.typbasetype else t.oid end
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_type t on t.oid = a.atttypid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where a.attrelid $number and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname not like 'pg\\_toast%'
 order by a.attrelid, a.attnum;
select distinct r.ev_class, d.refobjid
  from pg_catalog.pg_rewrite r
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
   and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> r.ev_class
 where r.ev_class $number and r.rulename = '_RETURN';
select c.oid, pg_catalog.pg_get_viewdef(c.oid)
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('v', 'm') and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%';
select inhrelid, inhparent from pg_catalog.pg_inherits;
select t.tgrelid, n.nspname,
       -- Transition tables have names that a body reads as if they were relations: no function is called so.
       case when t.tgoldtable is null and t.tgnewtable is null then p.proname else p.proname || ' with transition tables' end, false
  from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where not t.tgisinternal and t.tgenabled <> 'D'
union
select e.relation, n.nspname, p.proname, true
  from (select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid, adrelid from pg_catalog.pg_attrdef
        union all select 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, conrelid from pg_catalog.pg_constraint where conrelid <> 0
        union all select 'pg_catalog.pg_class'::pg_catalog.regclass, partrelid, partrelid from pg_catalog.pg_partitioned_table
        union all select 'pg_catalog.pg_trigger'::pg_catalog.regclass, oid, tgrelid from pg_catalog.pg_trigger where tgqual is not null
        union all select 'pg_catalog.pg_policy'::pg_catalog.regclass, oid, polrelid from pg_catalog.pg_policy
        union all select 'pg_catalog.pg_class'::pg_catalog.regclass, indexrelid, indrelid from pg_catalog.pg_index) e(class, id, relation)
  join pg_catalog.pg_depend d on d.classid = e.class and d.objid = e.id
  join ",
    code_behind!(),
    " on v.class = d.refclassid and v.id = d.refobjid
  join pg_catalog.pg_proc p on p.oid = v.function join pg_catalog.pg_namespace n on n.oid = p.pronamespace
union
-- The server's own functions leave no trace in pg_depend.
select relation, 'pg_catalog', 'an expression of the table', true
  from (select adrelid, pg_catalog.pg_get_expr(adbin, adrelid) from pg_catalog.pg_attrdef
        union all select conrelid, pg_catalog.pg_get_expr(conbin, conrelid) from pg_catalog.pg_constraint where conrelid <> 0 and conbin is not null
        union all select tgrelid, pg_catalog.pg_get_triggerdef(oid) from pg_catalog.pg_trigger where tgqual is not null
        union all select polrelid, pg_catalog.concat(pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid)) from pg_catalog.pg_policy) x(relation, said)
 where said operator(pg_catalog.~) '(\\mset_config|_to_xml|\\mts_stat|\\mts_rewrite|\\mpg_read_|\\mpg_ls_|\\mlo_)[a-z_]*\\('
;
select a.attrelid, a.attname, b.attname
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
  join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = a.attrelid
   and (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = f.oid
        or d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = a.attrelid and d.objsubid = a.attnum)
  join pg_catalog.pg_attribute b on b.attrelid = a.attrelid and b.attnum = d.refobjsubid and b.attnum <> a.attnum
 where a.attgenerated <> '';
select n.nspname, p.proname,
       case pg_catalog.max(case p.provolatile when 'v' then 2 when 's' then 1 else 0 end) when 2 then 'volatile' when 1 then 'stable' else 'immutable' end,
       pg_catalog.bool_or(p.prosecdef),
       case when pg_catalog.bool_and(p.prokind = 'a') then 'aggregate'
            when pg_catalog.count(distinct l.lanname) = 1 then pg_catalog.min(l.lanname::pg_catalog.text) else 'several' end,
       case when pg_catalog.count(distinct w.width) = 1 and pg_catalog.bool_and(w.width is not null) then pg_catalog.min(w.width) end,
       case when pg_catalog.bool_and(o.outputs = 1) and pg_catalog.count(distinct o.output) = 1 then pg_catalog.min(o.output) end
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_type t on t.oid = p.prorettype
  cross join lateral (select pg_catalog.count(*), pg_catalog.min(p.proargnames[m.place])
         from pg_catalog.unnest(p.proargmodes) with ordinality m(mode, place) where m.mode in ('o', 'b', 't')) o(outputs, output)
  left join pg_catalog.pg_type b on b.oid = t.typbasetype and t.typtype = 'd'
  cross join lateral (select case when o.outputs > 1 then o.outputs
         when coalesce(b.typtype, t.typtype) in ('b', 'e', 'r', 'm') then 1 end) w(width)
 where p.oid $overload
 group by 1, 2;
select n.nspname, p.proname, l.lanname,
       case l.lanname when 'plpgsql' then pg_catalog.pg_get_functiondef(p.oid) else coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) end,
       (select pg_catalog.substr(c, 13) from pg_catalog.unnest(p.proconfig) c where c like 'search\\_path=%')
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
 where l.lanname in ('sql', 'plpgsql') and p.prokind in ('f', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
union all
select n.nspname, p.proname, 'sql', 'select ' || pg_catalog.pg_get_expr(p.proargdefaults, 0), null
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where p.pronargdefaults > 0 and n.nspname not in ('pg_catalog', 'information_schema')
union all
select n.nspname, p.proname, 'sql',
       'select ' || (select pg_catalog.string_agg(pg_catalog.quote_ident(m.nspname) || '.' || pg_catalog.quote_ident(f.proname) || '()', ', ')
          from pg_catalog.pg_proc f join pg_catalog.pg_namespace m on m.oid = f.pronamespace
         where f.oid in (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)), null
  from pg_catalog.pg_aggregate a join pg_catalog.pg_proc p on p.oid = a.aggfnoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname not in ('pg_catalog', 'information_schema');
select n.nspname, t.typname from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
 where t.oid $number and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%';
select distinct n.nspname, o.oprname, f.nspname, p.proname,
       l.lanname not in ('internal', 'c') or p.provolatile = 'v' or p.prosecdef
  from pg_catalog.pg_operator o join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_namespace f on f.oid = p.pronamespace
 where n.nspname <> 'pg_catalog';
with recursive coded(type, schema, function) as (
select t.oid, n.nspname, p.proname
  from pg_catalog.pg_cast c join pg_catalog.pg_proc p on p.oid = c.castfunc join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  join pg_catalog.pg_type t on t.oid in (c.castsource, c.casttarget)
 where l.lanname not in ('internal', 'c')
   and (t.oid = c.casttarget or t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace)
union
select t.oid, n.nspname, p.proname
  from pg_catalog.pg_type t join pg_catalog.pg_constraint c on c.contypid = t.oid
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and d.objid = c.oid
  join ",
    code_behind!(),
    " on v.class = d.refclassid and v.id = d.refobjid
  join pg_catalog.pg_proc p on p.oid = v.function join pg_catalog.pg_namespace n on n.oid = p.pronamespace
union
select t.oid, n.nspname, p.proname
  from pg_catalog.pg_type t
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.objid = t.oid
  join ",
    code_behind!(),
    " on v.class = d.refclassid and v.id = d.refobjid
  join pg_catalog.pg_proc p on p.oid = v.function join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where t.typtype = 'd'
union
select b.whole, coded.schema, coded.function
  from (select oid, typbasetype from pg_catalog.pg_type where typbasetype <> 0
        union all select oid, typelem from pg_catalog.pg_type where typelem <> 0
        union all select t.oid, a.atttypid from pg_catalog.pg_type t join pg_catalog.pg_attribute a on a.attrelid = t.typrelid
                   where a.attnum > 0 and not a.attisdropped
        union all select rngtypid, rngsubtype from pg_catalog.pg_range
        union all select rngmultitypid, rngtypid from pg_catalog.pg_range) b(whole, part)
  join coded on coded.type = b.part
  join pg_catalog.pg_type t on t.oid = coded.type and t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace)
select t.typname, coded.schema, coded.function from coded join pg_catalog.pg_type t on t.oid = coded.type;
select c.conrelid, child.attname, c.confrelid, parent.attname, c.confdeltype, c.confupdtype
  from pg_catalog.pg_constraint c cross join lateral pg_catalog.generate_subscripts(c.conkey, 1) k(at)
  join pg_catalog.pg_attribute child on child.attrelid = c.conrelid and child.attnum = c.conkey[k.at]
  join pg_catalog.pg_attribute parent on parent.attrelid = c.confrelid and parent.attnum = c.confkey[k.at]
 where c.contype = 'f';
select p.polrelid, n.nspname, f.proname
  from pg_catalog.pg_policy p
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid = p.oid
  join ",
    code_behind!(),
    " on v.class = d.refclassid and v.id = d.refobjid
  join pg_catalog.pg_proc f on f.oid = v.function join pg_catalog.pg_namespace n on n.oid = f.pronamespace
union
select polrelid, 'pg_catalog', 'a policy of the table' from pg_catalog.pg_policy
 where pg_catalog.pg_get_expr(polqual, polrelid) operator(pg_catalog.~) '(\\mset_config|_to_xml|\\mts_stat|\\mts_rewrite|\\mpg_read_|\\mpg_ls_|\\mlo_)[a-z_]*\\(';
select n.nspname, p.proname
  from pg_catalog.pg_event_trigger e join pg_catalog.pg_proc p on p.oid = e.evtfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where e.evtenabled <> 'D';
select indexrelid, indrelid from pg_catalog.pg_index
union all
select objid, refobjid from pg_catalog.pg_depend
 where classid = 'pg_catalog.pg_class'::pg_catalog.regclass and refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
   and deptype in ('a', 'i') and refobjsubid > 0 and objsubid = 0
   and objid in (select oid from pg_catalog.pg_class where relkind = 'S');
select i.indrelid, a.attname from pg_catalog.pg_index i
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
 where i.indisprimary and i.indrelid >= 16384;
"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_found_by_their_places() {
        let begins =
            |question: usize, with: &str| assert!(of_all(question).unwrap().trim().starts_with(with), "{question}");
        begins(1, "select nspname");
        begins(2, "select c.oid, n.nspname, c.relname");
        begins(3, "select a.attrelid");
        begins(4, "select distinct r.ev_class");
        begins(6, "select inhrelid, inhparent");
        begins(7, "select t.tgrelid");
        begins(8, "select a.attrelid, a.attname");
        begins(9, "select n.nspname, p.proname,\n       case pg_catalog.max");
        begins(11, "select n.nspname, t.typname");
        begins(14, "select c.conrelid");
        begins(15, "select p.polrelid");
        begins(16, "select n.nspname, p.proname\n  from pg_catalog.pg_event_trigger");
        begins(17, "select indexrelid, indrelid");
        begins(18, "select i.indrelid, a.attname");
        assert_eq!((of_all(0), of_all(19)), (None, None));
    }

    #[test]
    fn within_a_transaction_none_begins_or_ends() {
        let survey = crate::proxy::catalogs::SurveyReading::questions();
        assert!(survey.starts_with("savepoint") && !survey.contains("begin") && !survey.contains("commit"), "{survey}");
        assert_eq!(survey.matches("rollback to savepoint").count(), 1);
    }

    #[test]
    fn what_has_a_part_about_the_server_is_asked_for_it() {
        for question in 1..=18 {
            let marked = QUESTIONS.split(";\n").nth(question - 1).unwrap().contains('$');
            assert_eq!(marked, OF_SERVER.contains(&question), "{question}");
        }
        let (text, places) = of_server();
        assert_eq!(text.matches("< 16384").count(), places.len());
        assert!(![all(), begin(), text, of_others()].iter().any(|text| text.contains('$')));
    }
}
