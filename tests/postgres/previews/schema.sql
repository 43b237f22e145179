create table people (id int primary key, name text, note text);
insert into people select n, 'person ' || n, 'old' from generate_series(1, 50) n;
create table few (id int primary key, n int);
insert into few select n, 0 from generate_series(1, 100) n;
create table seen (id int, what text);
create function note() returns trigger language plpgsql as
$$ begin insert into public.seen values (old.id, 'gone'); return old; end $$;
create table kept (id int primary key);
insert into kept select generate_series(1, 10);
create trigger noted before delete on kept for each row execute function note();
create function loud() returns int language plpgsql as $$ begin return 1; end $$;
create table told (id int);
create function tell() returns trigger language plpgsql as $$ begin perform pg_notify('x', 'y'); return new; end $$;
create trigger told before insert on told for each row execute function tell();
create table parent (id int primary key, n text);
create table child (id int primary key, parent int references parent on delete cascade);
insert into parent select g, 'p' from generate_series(1, 3) g;
insert into child select g, (g % 3) + 1 from generate_series(1, 9) g;
create table part (id int, what text, primary key (id)) partition by range (id);
create table part_a partition of part for values from (0) to (100);
create table part_b partition of part for values from (100) to (200);
insert into part select g, 'x' from generate_series(1, 150) g;
create table "Odd Name" ("a ""b" int primary key, ts date, arr int[], js jsonb);
insert into "Odd Name" values (1, date '2026-01-31', '{1,2}', '{"a": 1}');
create table jots (id int);
create schema elsewhere;
-- A block with a handler is a transaction of its own within, which holds no lock on its number once it has ended well.
create table risky (id int primary key, n int);
insert into risky select g, 0 from generate_series(1, 5) g;
create table log (id int, what text);
create function careful() returns trigger language plpgsql as $$ begin
  begin
    insert into public.log values (new.id, 'within');
    delete from public.kept where id = new.id + 5;
    begin
      delete from public.kept where id = 10;
      raise unique_violation;
    exception when unique_violation then null;
    end;
  exception when foreign_key_violation then null;
  end;
  return new; end $$;
create trigger careful before update on risky for each row execute function careful();
