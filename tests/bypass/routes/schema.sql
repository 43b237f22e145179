-- Two schemas with the same names: what stands in `b` is masked or forbidden, what stands in `a` is harmless.
SET ROLE shop_owner;
CREATE SCHEMA a; CREATE SCHEMA b;
GRANT USAGE ON SCHEMA a, b TO PUBLIC;
CREATE TABLE a.t (id int, email text, note text);
INSERT INTO a.t VALUES (1, 'public@list', 'n');
CREATE TABLE b.t (id int, email text, note text);
INSERT INTO b.t VALUES (1, 'secret.canary@corp', 'n');
CREATE TABLE a.d (id int, v text);
INSERT INTO a.d VALUES (1, 'harmless');
CREATE TABLE b.d (id int, v text);
INSERT INTO b.d VALUES (1, 'denied canary');
CREATE TABLE a.d3 (v text);
INSERT INTO a.d3 VALUES ('harmless');
CREATE TABLE public.d3 (v text);
INSERT INTO public.d3 VALUES ('denied canary 3');

CREATE TABLE public.customers (
  id int PRIMARY KEY, name text, email text, country text, UNIQUE (country, email) DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO customers VALUES
  (1, 'Alice', 'dup.canary@corp', 'US'), (2, 'Bob', 'dup.canary@corp', 'DE'), (3, 'Carol', 'carol.canary@corp', 'FR');
CREATE TABLE public.orders (id int PRIMARY KEY, status text, note text);
INSERT INTO orders SELECT g, 'new', 'card 4111 1111 1111 1111' FROM generate_series(1, 5) g;

-- Functions that leave the session another one.
CREATE FUNCTION go_b() RETURNS void LANGUAGE sql AS 'SET search_path = b';
CREATE FUNCTION go_b2() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET search_path = b; END $$;
CREATE FUNCTION go_b3() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'b', false) $$;
CREATE PROCEDURE tenant() LANGUAGE plpgsql AS $$ BEGIN SET search_path = b, public; END $$;
-- Functions whose names mean what the caller's path says.
CREATE FUNCTION readd() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT v FROM d LIMIT 1); END $$;
CREATE FUNCTION readt() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT email FROM t LIMIT 1); END $$;
CREATE FUNCTION a.fi(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION b.fi(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RAISE EXCEPTION '%', (SELECT email FROM b.t LIMIT 1); END $$;
-- What PL/pgSQL's parser does not show.
CREATE FUNCTION rdef() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE r customers := (SELECT c FROM customers c WHERE id = 1); BEGIN RETURN r.email; END $$;
CREATE FUNCTION fib(n int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN IF n < 2 THEN RETURN n; END IF; RETURN fib(n - 1) + fib(n - 2); END $$;

-- Foreign keys that write.
CREATE TABLE items (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE);
INSERT INTO items SELECT g, g FROM generate_series(1, 5) g;
CREATE TABLE parent2 (id int PRIMARY KEY);
INSERT INTO parent2 VALUES (1);
CREATE TABLE child2 (id int, p int NOT NULL REFERENCES parent2 ON DELETE SET NULL, email text);
INSERT INTO child2 VALUES (7, 1, 'child.canary@corp');
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1);
CREATE TABLE child (id int, p int REFERENCES parent ON DELETE CASCADE);
INSERT INTO child SELECT g, 1 FROM generate_series(1, 50) g;
-- Three levels of partitions.
CREATE TABLE top (id int, k int) PARTITION BY RANGE (k);
CREATE TABLE mid PARTITION OF top FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF mid FOR VALUES FROM (0) TO (100);
INSERT INTO top VALUES (1, 1);
-- Code behind types.
CREATE FUNCTION known(x text) RETURNS bool LANGUAGE sql STABLE AS
  'SELECT EXISTS (SELECT FROM public.customers WHERE email = x)';
CREATE DOMAIN dom1 AS text CHECK (public.known(VALUE));
CREATE DOMAIN dom2 AS dom1;
CREATE TYPE comp AS (e dom1);
CREATE TYPE three AS (x int, y int, z int);
CREATE DOMAIN dthree AS three;
CREATE FUNCTION domcomp() RETURNS dthree LANGUAGE sql AS 'SELECT ROW(1, 2, 3)::public.dthree';
-- Rows as values.
CREATE TABLE drp (id int, gone text, email text, z text);
INSERT INTO drp VALUES (1, 'g', 'drp.canary@corp', 'z');
ALTER TABLE drp DROP COLUMN gone;
CREATE TABLE inh (id int, email text);
CREATE TABLE inhc (extra text) INHERITS (inh);
INSERT INTO inhc VALUES (1, 'inh.canary@corp', 'extra');
CREATE TABLE nest (id int, c customers);
INSERT INTO nest SELECT 1, c FROM customers c LIMIT 1;
CREATE VIEW vrow AS SELECT c, 1 AS n FROM customers c;
-- A row per letter, in the order of a masked column by its index.
CREATE TABLE ord (id int, email text NOT NULL);
INSERT INTO ord VALUES (1, 'z@x'), (2, 'b@x'), (3, 'q@x'), (4, 'a@x');
CREATE INDEX ON ord (email) INCLUDE (id);

-- Triggers.
CREATE TABLE docs (id serial PRIMARY KEY, title text, updated_at timestamptz, price numeric, tags text[] DEFAULT '{a,b}');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.updated_at = now(); IF TG_OP = 'INSERT' THEN RETURN NEW; END IF; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO docs (title) VALUES ('hello');
CREATE TABLE log (t text, op text, said jsonb);
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(NEW)); RETURN NEW; END $$;
CREATE TABLE docs2 (id serial PRIMARY KEY, title text);
CREATE TRIGGER log_it AFTER INSERT OR UPDATE ON docs2 FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TABLE people (id int, name text, email text);
INSERT INTO people VALUES (1, 'n', 'logged.canary@corp');
CREATE TRIGGER log_it AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION log_it();

-- What a second review found: comments and names that mislead, rows under other names, columns that rest on masked ones.
CREATE TABLE sink (v text);
CREATE FUNCTION rc1() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE n int := 1; -- how many
     r customers := (SELECT c FROM customers c WHERE id = 1); BEGIN RETURN r.email; END $$;
CREATE FUNCTION rc4() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE x int := (SELECT q.begin FROM (SELECT 1 AS begin) q); r customers := (SELECT c FROM customers c WHERE id = 1);
     BEGIN RETURN r.email; END $$;
CREATE TABLE pa (id int, name text, email text);
INSERT INTO pa VALUES (1, 'n', 'pa.canary@corp');
CREATE FUNCTION alias() RETURNS trigger LANGUAGE plpgsql AS
  $$ DECLARE o ALIAS FOR OLD; BEGIN INSERT INTO sink VALUES (o.email); RETURN NEW; END $$;
CREATE TRIGGER t AFTER UPDATE ON pa FOR EACH ROW EXECUTE FUNCTION alias();
CREATE TABLE pb (id int, name text, email text);
INSERT INTO pb VALUES (1, 'n', 'pb.canary@corp');
CREATE FUNCTION comments() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO sink VALUES (OLD./* c */email); RETURN NEW; END $$;
CREATE TRIGGER t AFTER UPDATE ON pb FOR EACH ROW EXECUTE FUNCTION comments();
CREATE TABLE pk (id int, name text, email text);
CREATE TABLE pkc () INHERITS (pk);
INSERT INTO pkc VALUES (1, 'n', 'pk.canary@corp');
CREATE FUNCTION child() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO sink VALUES (OLD.email); RETURN NEW; END $$;
CREATE TRIGGER t AFTER UPDATE ON pkc FOR EACH ROW EXECUTE FUNCTION child();
CREATE TABLE changed (id int, name text, email text);
CREATE TABLE ph (id int, name text, email text);
INSERT INTO ph VALUES (1, 'n', 'ph.canary@corp');
CREATE FUNCTION transition() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO sink SELECT email FROM changed; RETURN NULL; END $$;
CREATE TRIGGER t AFTER UPDATE ON ph REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION transition();
-- Code that relations and types carry.
CREATE FUNCTION denied() RETURNS text LANGUAGE sql AS 'SELECT v FROM b.d';
CREATE DOMAIN dd AS text DEFAULT denied();
CREATE TABLE wd (id int, v dd);
CREATE FUNCTION boom(x text) RETURNS bool LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'boom %', (SELECT v FROM b.d); END $$;
CREATE FUNCTION touch_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TABLE wa (id int, name text);
INSERT INTO wa VALUES (1, 'n');
CREATE TRIGGER t BEFORE UPDATE ON wa FOR EACH ROW WHEN (boom(NEW.name)) EXECUTE FUNCTION touch_nothing();
CREATE TABLE wc (id int, name text);
INSERT INTO wc VALUES (1, 'n');
ALTER TABLE wc ENABLE ROW LEVEL SECURITY; ALTER TABLE wc FORCE ROW LEVEL SECURITY;
CREATE POLICY x ON wc USING (boom(name));
CREATE FUNCTION iboom(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF x = 'go' THEN RAISE EXCEPTION 'boom %', (SELECT v FROM b.d); END IF; RETURN x; END $$;
CREATE TABLE pp (id int, name text) PARTITION BY LIST (iboom(name));
CREATE TABLE pp1 PARTITION OF pp DEFAULT;
CREATE TABLE sp1 (id int, v text DEFAULT set_config('search_path', 'b, public', false));
CREATE TABLE sp7 (id int, v text CHECK (set_config('search_path', 'b, public', false) IS NOT NULL));
CREATE TABLE sp8 (id int, v text);
ALTER TABLE sp8 ENABLE ROW LEVEL SECURITY; ALTER TABLE sp8 FORCE ROW LEVEL SECURITY;
CREATE POLICY x ON sp8 USING (set_config('search_path', 'b, public', false) IS NOT NULL);
-- Keys that change though the statement does not name them.
CREATE TABLE gpar (x int, k int GENERATED ALWAYS AS (x * 2) STORED UNIQUE);
INSERT INTO gpar (x) VALUES (1);
CREATE TABLE gchild (id int, p int REFERENCES gpar (k) ON UPDATE CASCADE);
INSERT INTO gchild VALUES (1, 2);
CREATE TABLE bpar (id int UNIQUE, name text);
INSERT INTO bpar VALUES (1, 'n');
CREATE FUNCTION moves_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 10; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE UPDATE ON bpar FOR EACH ROW EXECUTE FUNCTION moves_key();
CREATE TABLE bchild (id int, p int REFERENCES bpar (id) ON UPDATE CASCADE);
INSERT INTO bchild VALUES (1, 1);
CREATE TABLE tp (id int PRIMARY KEY);
CREATE TABLE tc (id int REFERENCES tp);
CREATE FUNCTION before_truncate() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO sink SELECT v FROM b.d; RETURN NULL; END $$;
CREATE TRIGGER t BEFORE TRUNCATE ON tc FOR EACH STATEMENT EXECUTE FUNCTION before_truncate();

-- Functions that only a view names, in words that mean something under the path of whoever asks.
CREATE FUNCTION under1() RETURNS text LANGUAGE sql AS 'SELECT v FROM d3 LIMIT 1';
CREATE FUNCTION under2() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT v FROM d3 LIMIT 1); END $$;
CREATE VIEW vunder1 AS SELECT id, under1() AS s FROM customers;
CREATE VIEW vunder2 AS SELECT id, under2() AS s FROM customers;
CREATE TABLE vbase (id int);
CREATE VIEW vcheck AS SELECT id FROM vbase WHERE under1() LIKE 'denied%' WITH CHECK OPTION;
CREATE VIEW vplain AS SELECT id, name FROM customers WHERE id > 0;

CREATE TABLE big AS SELECT g AS id, 'v' || g AS v FROM generate_series(1, 100) g;
CREATE TABLE big2 AS SELECT g AS id, 'v' || g AS v FROM generate_series(1, 100) g;
CREATE FUNCTION fact(n int) RETURNS numeric LANGUAGE sql IMMUTABLE AS
  'SELECT CASE WHEN n <= 1 THEN 1 ELSE n * public.fact(n - 1) END';
CREATE AGGREGATE mysum(int) (sfunc = int4pl, stype = int, initcond = '0');
-- Where agents may make what they like, and where others have left what does more than it seems, once it runs.
CREATE SCHEMA lab; GRANT ALL ON SCHEMA lab TO PUBLIC;
CREATE FUNCTION lab.f() RETURNS int LANGUAGE sql IMMUTABLE AS 'DELETE FROM public.items; SELECT 1';
CREATE FUNCTION lab.g(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'DELETE FROM public.items; SELECT $1';
CREATE FUNCTION lab.op(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'DELETE FROM public.items; SELECT true';
CREATE FUNCTION lab.reads() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT v FROM b.d LIMIT 1';
CREATE FUNCTION lab.tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.items; RETURN new; END';
CREATE FUNCTION lab.copies() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO lab.words VALUES (new.email); RETURN new; END';
CREATE MATERIALIZED VIEW lab.called AS SELECT lab.f() AS n WITH NO DATA;
CREATE MATERIALIZED VIEW lab.reading AS SELECT lab.reads() AS v WITH NO DATA;
CREATE MATERIALIZED VIEW lab.plain AS SELECT id, title FROM public.docs;
CREATE TABLE lab.indexed (n int); CREATE INDEX ON lab.indexed (lab.g(n));
CREATE OPERATOR lab.=== (FUNCTION = lab.op, LEFTARG = int, RIGHTARG = int);
CREATE TABLE lab.checked (n int CHECK (n OPERATOR(lab.===) 1));
CREATE TABLE lab.own (n int); CREATE TABLE lab.words (v text);
CREATE TABLE lab.watched (n int);
CREATE FUNCTION lab.looks() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM note FROM public.orders WHERE id = new.n; RETURN new; END';
CREATE TRIGGER looks BEFORE INSERT ON lab.watched FOR EACH ROW EXECUTE FUNCTION lab.looks();
GRANT ALL ON ALL TABLES IN SCHEMA lab TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA a, b, public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
RESET ROLE;
ANALYZE;
