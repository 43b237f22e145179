-- What agents do with relations of their own: keys, children, partitions, defaults, triggers, policies, maintenance.
\echo fk
create temp table parent (id int primary key, name text default 'x' || now()::text);
create temp table child (id serial primary key, parent int references parent(id) on delete cascade);
insert into parent values (1), (2);
insert into child (parent) values (1), (2), (2);
delete from parent where id = 2;
select count(*) from child;
update parent set id = 5 where id = 1;
\echo fk to permanent, which only temp to temp may
create temp table bad (id int references orders(id));
\echo inherits
create temp table base (id int);
create temp table derived (more text) inherits (base);
insert into derived values (1, 'a');
select * from base;
delete from only base;
delete from base;
select count(*) from derived;
create temp table kid () inherits (customers);
create temp table kid2 () inherits (orders);
\echo partitions
create temp table parted (id int, at date) partition by range (at);
create temp table parted_1 partition of parted for values from ('2026-01-01') to ('2027-01-01');
insert into parted values (1, '2026-05-05');
select count(*) from parted;
create index on parted (id);
drop table parted;
select count(*) from parted_1;
\echo defaults
create temp table d (id int default 1, key text default (select 'x'));
create temp table d2 (id int default nextval('orders_id_seq'), b text default lower('A'), c int generated always as (id * 2) stored, u uuid default gen_random_uuid());
insert into d2 (b) values ('x') returning b;
create temp sequence sq;
create temp table d3 (id int default nextval('sq'), v int check (v > 0));
insert into d3 (v) values (1), (2) returning id, v;
insert into d3 (v) values (-1);
\echo triggers
create function tf() returns trigger language plpgsql as 'begin return new; end';
create trigger t before insert on d3 for each row execute function tf();
create trigger tt before update on d3 for each row execute function suppress_redundant_updates_trigger();
update d3 set v = v;
\echo rules, policies
create rule r as on insert to d3 do also delete from customers;
alter table d3 enable row level security;
create policy p on d3 using (v > 0);
select count(*) from d3;
\echo like, as, view, index, comment, analyze
create temp table l (like customers including all);
select count(*) from l;
create temp table cl (like api_keys);
create temp table a as select id, name from customers;
select count(*) > 100 from a;
create temp view v as select count(*) as n from a;
select n > 100 from v;
create unique index on a (id);
comment on table a is 'mine';
comment on column a.id is 'interceptor: label=x';
analyze a;
vacuum a;
reindex table a;
cluster a using a_id_idx;
truncate a;
select n from v;
drop table a;
drop table a cascade;
select n from v;
create materialized view pg_temp.mv as select 1;
create temp table if not exists l (x int);
create temp table oc (id int) on commit delete rows;
insert into oc values (1);
select count(*) from oc;
copy l (id, name) from stdin;
\.
copy l to stdout;
select * from pg_temp.l;
lock table l;
begin;
lock table l in exclusive mode;
declare c cursor for select * from l;
fetch c;
drop table l;
commit;
grant select on d3 to public;
alter table d3 owner to current_user;
alter table d3 add column more text default 'x';
alter table d3 alter column v type bigint;
alter table d3 drop column more;
alter table d3 rename column v to w;
alter table d3 rename to d4;
select w from d4;
select count(*) from d3;
alter table d4 set schema public;
alter sequence sq owned by d4.id;
alter sequence sq restart;
select nextval('sq'), setval('sq', 5), currval('sq');
select * from sq;
drop sequence sq;
drop sequence sq cascade;
create type pg_temp.mood as enum ('a');
create temp table m (m int);
create function pg_temp.f() returns int language sql as 'select 1';
select pg_temp.f();
drop schema pg_temp cascade;
discard temp;
select count(*) > 5 from customers;
select * from d4;
