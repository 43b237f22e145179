"""psycopg in pipeline mode with temporary tables: statement after statement, and nobody waits for an answer."""
import psycopg

c = psycopg.connect("")


def block(name, f):
    try:
        print(name, f())
    except Exception as error:
        print(name, type(error).__name__, str(error).split("\n")[0])
    finally:
        c.rollback()


def made():
    with c.pipeline():
        c.execute("create temp table customers (id int, name text)")
        c.execute("insert into customers values (1,'mine'),(2,'two')")
        cur = c.execute("select count(*), min(name) from customers")
        c.execute("delete from customers where id = %s", (1,))
        cur2 = c.execute("select count(*) from customers")
    return cur.fetchone(), cur2.fetchone()


block("made", made)


def gone():
    with c.pipeline():
        c.execute("create temp table customers (id int, name text)")
        c.execute("insert into customers values (1,'mine')")
        c.execute("drop table customers")
        c.execute("delete from customers")


block("gone", gone)


def failing():
    with c.pipeline() as p:
        c.execute("create temp table customers (id int primary key)")
        c.execute("insert into customers values (1)")
        c.execute("insert into customers values (1)")
        c.execute("select 1")


block("failing", failing)


def many():
    with c.pipeline():
        c.execute("create temp table mine (id int)")
        with c.cursor() as cur:
            cur.executemany("insert into mine values (%s)", [(n,) for n in range(500)])
        cur = c.execute("select count(*), sum(id) from mine")
        c.execute("create temp table theirs as select * from mine")
        cur2 = c.execute("select count(*) from theirs")
    return cur.fetchone(), cur2.fetchone()


block("many", many)


def savepoints():
    with c.pipeline():
        with c.transaction():
            c.execute("create temp table mine (id int)")
            c.execute("insert into mine values (1)")
            with c.transaction(force_rollback=True):
                c.execute("drop table mine")
                c.execute("create temp table customers (id int)")
                c.execute("delete from customers")
            cur = c.execute("select count(*) from mine")
    return cur.fetchone()


block("savepoints", savepoints)
c.autocommit = True


def auto():
    with c.pipeline():
        c.execute("create temp table auto1 (id int)")
        c.execute("insert into auto1 values (1)")


block("auto", auto)


def auto2():
    with c.pipeline() as p:
        c.execute("create temp table auto2 (id int)")
        p.sync()
        c.execute("insert into auto2 values (1)")
        cur = c.execute("select count(*) from auto2")
    return cur.fetchone()


block("auto2", auto2)
print("left", c.execute("select count(*) > 100 from customers").fetchone())
