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
