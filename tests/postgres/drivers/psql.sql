\set ON_ERROR_STOP off
\pset pager off
\echo :ENCODING
select id, name, price, tags, data, raw, active, day, uid, feeling, amount, ratio from item order by id;
select shout('hey');
select 1 / 0;
\echo :SQLSTATE :LAST_ERROR_MESSAGE
insert into item (name) values ('');
selec 1;
select *
from nowhere;
select secret from vault;
\echo :SQLSTATE
\d part
\dt
\dv
\df shout
\dT mood
\sf shout
select count(*) as n from part \gset
\echo n is :n
select format('select %s', g) from generate_series(1, 3) g \gexec
select 1 as one \; select 2 as two;
begin;
savepoint a;
insert into part values (1, 1, 'x');
select 1 / 0;
rollback to a;
select count(*) from part;
copy part from stdin;
1	1	one
2	1	\N
\.
\copy (select * from part order by id) to stdout
copy part from stdin;
x	1	one
\.
rollback;
\set FETCH_COUNT 3
select generate_series(1, 7) as portions;
\unset FETCH_COUNT
select 'a' as r, 'b' as c, 1 as v \crosstabview
select 1 as a, 'x'::text as b \gdesc
prepare q as select $1::int + 1 as sum;
execute q(1);
deallocate q;
listen news;
notify news, 'fresh';
\errverbose
\timing off
