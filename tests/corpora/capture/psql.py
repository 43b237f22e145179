"""psql: every backslash command, tab completion at a terminal, variables, \\copy, \\gset, \\gexec, \\crosstabview and \\watch."""
import os
import subprocess

import pexpect

LISTS = "d da dA dAc dAf dAo dAp db dc dC dconfig dd dD ddp des det deu dew df dFd dF dFp dFt dg di dl dL dm dn do dO dp dP drds dRp dRs ds dt dT du dv dx dX dy l sf sv z".split()
PLAIN = r"""
\set ON_ERROR_STOP off
\conninfo
\encoding
\encoding UTF8
\d+ customers
\d orders
\d+ orders
\d+ order_items
\d+ items
\d+ events
\d+ events_2026
\d+ price_changes
\d+ audit_base
\d+ order_totals
\d+ best_sellers
\d+ invoice_number
\d+ customers_search
\d+ warehouse.stock
\d+ warehouse.*
\d "customers"
\d *.orders
\d nothing_like_it
\dt public.*
\dtvmsi+ *.*
\dS pg_class
\d+ pg_catalog.pg_stat_activity
\dT+ order_status
\dD+ positive
\df+ order_total
\dfa+
\dfn
\dfp
\dft
\dfw
\df order_total bigint
\do + integer integer
\dO+ *
\dC+ money_amount
\dconfig+ work*
\dconfig *
\drds * *
\dx+ citext
\dRp+ shop_changes
\dP+
\dPit
\dy+
\dp order*
\dAf+ btree integer
\dAo+ btree integer_ops
\dAp+ gin
\dL+
\l+
\dg+
\dn+
\db+
\sf order_total
\sf+ note_price
\sv order_totals
\sv+ active_customers
\lo_list
\z customers
\! true
\timing on
select * from customers order by id limit 3;
\x auto
table categories;
\x off
\pset null '-'
\pset format csv
select id, status, placed_at from orders limit 2 \g
select id, status from orders limit 2 \gx
\pset format aligned
select count(*) as many, max(id) as last from orders \gset
\echo :many :last
select :'last'::int + 1, :"many" from (select 1 as "200") t;
select * from orders where id = :last;
select format('select count(*) from %I', relname) from pg_class where relname in ('orders', 'items') \gexec
select status, active, count(*) from orders join customers c on c.id = customer_id group by 1, 2 \crosstabview
select id, name, tags from customers where id = 1 \gdesc
values (1, 'a'), (2, 'b') \gdesc
select 1 \; select 2 \; select 3;
\set FETCH_COUNT 20
select * from order_items order by 1, 2;
\unset FETCH_COUNT
\copy customers (email, name) to 'customers.csv' csv header
\copy (select id, note from orders where id < 10) to program 'cat > /dev/null'
\copy categories (name, slug) from stdin csv
More,more
Less,less
\.
copy categories (name, slug) to stdout with (format csv, header, force_quote *);
copy (select 1) to stdout (format binary);
\set AUTOCOMMIT off
insert into categories (name, slug) values ('Auto', 'auto') returning id;
savepoint one;
select 1/0;
rollback to one;
commit;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
begin;
insert into categories (name, slug) values ('Twice', 'books');
update categories set name = 'Again' where slug = 'auto';
end;
\set ON_ERROR_ROLLBACK off
begin isolation level repeatable read read only;
select * from order_totals limit 1;
abort;
prepare by_status(order_status) as select id from orders where status = $1 limit 3;
execute by_status('paid');
deallocate by_status;
declare c cursor with hold for select id from orders order by id;
fetch forward 5 from c;
move backward 2 in c;
fetch all c;
close c;
explain (analyze, costs off, timing off, summary off) select * from orders where customer_id = 3;
explain verbose select name from active_customers;
with spend as (select customer_id, sum(total) s from order_totals group by 1)
  select c.name, s, rank() over (order by s desc) from spend join customers c on c.id = customer_id limit 5;
select name from customers where profile @> '{"level": 2}' and 'all' = any(tags) order by name collate "C" limit 3;
select date_trunc('month', placed_at) as month, status, count(*) filter (where note is null)
  from orders group by rollup (1, 2) order by 1 nulls last, 2;
insert into warehouse.stock values (1, '10.0.0.2', 5) on conflict (item_id) do update set quantity = excluded.quantity returning *;
update orders o set note = 'late' from customers c where c.id = o.customer_id and c.email = 'customer3@shop.example';
delete from order_items using orders where orders.id = order_id and orders.status = 'cancelled' and quantity > 100;
merge into warehouse.stock s using (values (1, 2), (3, 4)) v(item, many) on s.item_id = v.item
  when matched then update set quantity = s.quantity + many when not matched then insert (item_id, quantity) values (item, many);
call restock(4, 2);
do $$ begin perform order_total(1); end $$;
select order_total(1), product(price) from order_items where order_id < 3;
create temp table scratch as select * from orders where false;
insert into scratch (customer_id, status) values (1, 'new');
drop table scratch;
create table leftovers (id int primary key, what text);
alter table leftovers add column more jsonb, alter column what set not null;
create index concurrently leftovers_what on leftovers (what);
comment on table leftovers is 'nothing';
grant select on leftovers to public;
vacuum (analyze) leftovers;
reindex table leftovers;
truncate leftovers;
drop table leftovers cascade;
refresh materialized view concurrently best_sellers;
listen changes;
notify changes, 'hello';
unlisten *;
set search_path to warehouse, public;
select * from stock order by 1 limit 1;
reset search_path;
show server_version;
set local statement_timeout = '5s';
show all;
lock table orders in share mode;
select pg_sleep(0), current_user, now() - interval '1 day', version();
select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a where attrelid = 'orders'::regclass and attnum > 0;
select table_name, column_name, data_type from information_schema.columns where table_schema = 'public' order by 1, ordinal_position;
select pid, state, query from pg_stat_activity;
select relname, n_live_tup from pg_stat_user_tables;
select pg_size_pretty(pg_total_relation_size('orders'));
select * from generate_series('2026-01-01'::date, '2026-01-05', '1 day') with ordinality as g(day, n);
select * from orders tablesample system (50) limit 1;
select xmlelement(name a, 1), U&'\0041', E'\n', $q$x$q$, B'101', X'1F';
select o.id, l.* from orders o cross join lateral (select item_id from order_items i where i.order_id = o.id limit 1) l limit 2;
\lo_import psql.py
\set oid :LASTOID
\lo_list+
\lo_export :oid /dev/null
\lo_unlink :oid
\password shop_owner
\connect
\c shop shop_owner
\errverbose
\q
"""
# Typed at a terminal, each followed by two tabs and a cleared line.
KEYS = [
    "select * from or", "select * from orders where ", "select * from public.", "select * from warehouse.", "insert into cust",
    "insert into orders (", "update it", "update items set ", "delete from ev", "truncate ", "drop table ", "drop view ", "drop index ",
    "drop function ", "drop function order_total(", "drop type ", "drop trigger ", "drop trigger items_price on ", "drop policy ",
    "drop materialized view ", "drop sequence ", "drop schema ", "drop database ", "drop role ", "drop extension ", "drop domain ",
    "drop rule ", "drop publication ", "drop cast (", "drop operator ", "drop collation ", "drop access method ", "drop event trigger ",
    "alter table ", "alter table orders alter column ", "alter table orders drop constraint ", "alter table orders add constraint x foreign key (customer_id) references ",
    "alter table orders enable trigger ", "alter table events detach partition ", "alter table events attach partition ", "alter table orders validate constraint ",
    "alter table orders set tablespace ", "alter table orders replica identity using index ", "alter table orders owner to ", "alter table items rename column ",
    "alter index ", "alter type order_status rename value ", "alter type ", "alter domain positive drop constraint ", "alter extension citext update to ", "alter sequence ", "alter view ",
    "alter function ", "alter role ", "alter database ", "alter publication shop_changes add table ", "alter default privileges for role ", "alter schema ", "alter system set ",
    "alter statistics ", "alter policy everyone on ", "analyze ", "cluster ", "cluster orders using ", "comment on column orders.", "comment on constraint orders_pkey on ", "comment on table ",
    "copy ", "copy orders (", "create index on ", "create index on orders (", "create index on orders using ", "create trigger t before update on ", "create trigger t before update of ",
    "create table x (y ", "create extension ", "create policy p on ", "create policy p on orders to ", "create role r in role ", "create database d template ", "create table x partition of ", "create sequence s owned by ",
    "declare c cursor for select * from ", "execute ", "explain select * from ", "fetch from ", "grant select on ", "grant select on orders to ", "grant usage on schema ", "grant execute on function ", "revoke ", "lock table ", "listen ",
    "reassign owned by ", "refresh materialized view ", "reindex table ", "reindex index ", "security label on table ", "set role ", "set session authorization ", "set search_path to ", "set timezone to ", "show ", "reset ",
    "set datestyle to ", "table ", "unlisten ", "vacuum ", "select order_", "call ", "merge into ", "merge into items using ", "select * from orders join ", "select * from orders o where o.", "deallocate ", "import foreign schema x from server ",
    "alter user mapping for ", "alter server ", "alter foreign table ", "alter large object ", "alter text search configuration ", "alter operator ", "alter aggregate ", "alter group ", "drop owned by ",
    "\\d ", "\\dt ", "\\df ", "\\dT ", "\\dv ", "\\dn ", "\\du ", "\\di ", "\\dm ", "\\ds ", "\\dp ", "\\dF ", "\\da ", "\\dD ", "\\db ", "\\dc ", "\\dC ", "\\des ", "\\deu ", "\\dew ", "\\dE ", "\\dP ", "\\dRp ", "\\dx ", "\\dX ", "\\dconfig work",
    "\\drds ", "\\dy ", "\\dO ", "\\dL ", "\\dAc ", "\\dAf ", "\\sf ", "\\sv ", "\\ef ", "\\ev ", "\\c ", "\\encoding ", "\\password ", "\\z ", "\\copy ", "\\l ", "\\h ",
]

subprocess.run(["psql", "-X", "-q"], input="select 1;\n\\q\n", text=True)
lists = "".join(f"\\{name}\n\\{name}+\n\\{name}S+ or*\n" for name in LISTS)
with open("plain.sql", "w") as file:
    file.write(lists + PLAIN)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
# \password asks a terminal, which is not there.
subprocess.run(["psql", "-X", "-f", "plain.sql"], env={**os.environ, "PSQL_PAGER": "cat"}, **quiet)
subprocess.run(["psql", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-c", "select 1", "-c", "select count(*) from items"], **quiet)
subprocess.run(["psql", "-X", "-l"], **quiet)
subprocess.run(["psql", "-X", "-Atc", "select id from orders where id = 1"], **quiet)
subprocess.run(["psql", "-X", "-E", "-c", "\\d orders"], **quiet)

# No questions, no pages: only what is typed is sent.
with open("inputrc", "w") as file:
    file.write("set completion-query-items 0\nset page-completions off\nset bell-style none\nset enable-bracketed-paste off\n")
terminal = pexpect.spawn("psql -X", env={**os.environ, "PSQL_PAGER": "cat", "TERM": "dumb", "INPUTRC": "inputrc"}, timeout=5, encoding="utf8")
terminal.expect("shop=# ")
for keys in KEYS:
    terminal.send(keys + "\t\t")
    terminal.expect(pexpect.TIMEOUT, timeout=0.1)
    # To the end, and away with the line.
    terminal.send("\x05\x15")
terminal.send("\\password shop_owner\n")
for _ in range(2):
    terminal.expect(": $")
    terminal.send("a-new-one\n")
terminal.send("select count(*) from orders \\watch 0.2\n")
terminal.expect("every 0.2s")
terminal.sendintr()
terminal.sendline("\\q")
terminal.expect(pexpect.EOF)
