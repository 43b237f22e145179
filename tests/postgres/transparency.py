"""Sends scripts of raw messages to the database and prints what comes back, message by message."""
import json, socket, sys
from raw import FLUSH, SYNC, bind, describe, execute, message, parse, query, raw, read, text


NO_SQL = [
    "selec 1", "select 1 frm t", "select a from b where where c", "select ')', )", "select 'ü' frm t", "select (1", "select 'abc",
    'select "abc', "select $1 from from x", "select 1; select 2 2 3; select 3", "select 1 /* abc", "create table t (a int,, b int)",
    "select 1\nfrom x\nwhere a = = 2", "update t set where a", "select 1 from x order by order", "insert into t values", "select 1 1",
]
SCRIPTS = {
    "simple": [query("select 1")],
    "empty": [query(""), query(";")],
    "several": [query("select 1; select 'two'; select null, 3.5")],
    "error": [query("select 1/0"), query("select 1")],
    "error among several": [query("select 1; select 1/0; select 2")],
    "types": [query("select 1::int2, 2::int8, 3.25::numeric, 'a'::text, true, now() > '2000-01-01', array[1,2], '{\"a\":1}'::jsonb")],
    "many rows": [query("select g, repeat('x', g % 100) from generate_series(1, 5000) g")],
    "wide row": [query("select repeat('y', 3000000)")],
    "transaction": [query("begin"), query("select 1/0"), query("select 1"), query("rollback"), query("select 2")],
    "savepoint": [query("begin"), query("savepoint a"), query("select 1/0"), query("rollback to a"), query("select 3"), query("commit")],
    "extended": [parse("select $1::int + 1") + bind(values=[b"41"]) + describe("P") + execute() + SYNC],
    "binary": [parse("select $1::int8, 'x'::text") + bind(values=[b"7"], formats=[1]) + describe("P") + execute() + SYNC],
    "null parameter": [parse("select $1::text is null") + bind(values=[None]) + execute() + SYNC],
    "named": [parse("select $1::text", "s") + describe("S", "s") + SYNC, bind("", "s", [b"a"]) + execute() + bind("", "s", [b"b"]) + execute() + SYNC],
    "named twice": [parse("select 1", "s") + SYNC, parse("select 2", "s") + SYNC, bind("", "s") + execute() + SYNC],
    "close": [parse("select 1", "s") + message("C", b"S" + text("s")) + SYNC, bind("", "s") + SYNC][:1],
    "suspended": [query("begin"), parse("select generate_series(1, 10)") + bind("p") + execute("p", 3) + execute("p", 3) + execute("p", 0) + SYNC, query("commit")],
    "two portals": [query("begin"), parse("select generate_series(1, 6)", "s") + bind("a", "s") + bind("b", "s") + execute("a", 2) + execute("b", 2) + execute("a", 2) + SYNC, query("commit")],
    "pipeline": [b"".join(parse(f"select {n}") + bind() + execute() for n in range(200)) + SYNC],
    "pipeline with an error": [parse("select 1") + bind() + execute() + parse("select 1/0") + bind() + execute() + parse("select 2") + bind() + execute() + SYNC + query("select 3")],
    "two batches at once": [parse("select 1/0") + bind() + execute() + SYNC + parse("select 2") + bind() + execute() + SYNC],
    "query in a batch": [parse("select 1") + bind() + execute() + query("select 2") + SYNC],
    "flush": [parse("select 1") + describe("S") + FLUSH + bind() + execute() + SYNC],
    "empty statement": [parse("") + bind() + describe("P") + execute() + SYNC],
    "cursor": [query("begin"), query("declare c cursor for select generate_series(1, 9)"), query("fetch 4 from c"), query("move 2 in c"), query("fetch all from c"), query("commit")],
    "sql prepare": [query("prepare q as select $1::int"), query("execute q(5)"), bind("", "q", [b"6"]) + execute() + SYNC, query("deallocate q")],
    "copy out": [query("copy (select generate_series(1, 1000)) to stdout")],
    "copy out binary": [query("copy (select 1, 'a'::text) to stdout (format binary)")],
    "copy out extended": [parse("copy (select 1) to stdout") + bind() + execute() + SYNC],
    "copy in": [query("begin"), query("copy orders (customer_id, status) from stdin") + message("d", b"1\tnew\n") + message("d", b"2\tnew\n") + message("c"), query("rollback")],
    "copy in fails": [query("copy orders (customer_id, status) from stdin") + message("d", b"nonsense\n") + message("c"), query("select 1")],
    "copy in given up": [query("copy orders (customer_id, status) from stdin") + message("f", text("enough")), query("select 1")],
    "copy in extended": [query("begin"), parse("copy orders (customer_id, status) from stdin") + bind() + execute() + SYNC + message("d", b"1\tnew\n") + message("c") + SYNC, query("rollback")],
    "notice": [query("rollback"), query("set client_min_messages = debug1"), query("select 1"), query("reset all")],
    "settings": [query("set datestyle = 'German'"), query("select date '2026-01-31'"), query("set timezone = 'Asia/Tokyo'"), query("show timezone"), query("discard all")],
    "explain": [query("explain (costs off) select * from products")],
    "syntax": [b"".join(query(sql) for sql in NO_SQL)],
    "syntax, parsed": [b"".join(parse(sql) + SYNC for sql in NO_SQL)],
    "syntax in a transaction": [query("begin"), query(NO_SQL[0]), query("select 1"), query("rollback")],
    "utf8": [query("select 'grün 漢字 🐘', length('🐘')")],
}



def by_chance(seed):
    """A batch of statements, values and formats made at random; whoever has the same seed makes the same."""
    random = __import__("random").Random(seed)
    values = {"int4": lambda: str(random.randint(-9, 99)), "int8": lambda: str(random.randint(-2**40, 2**40)), "text": lambda: random.choice(["", "a", "grün 🐘", "x" * 3000]),
              "numeric": lambda: f"{random.uniform(-5, 5):.4f}", "bool": lambda: random.choice("tf"), "float8": lambda: random.choice(["0.1", "NaN", "-Infinity"]),
              "date": lambda: f"2026-0{random.randint(1, 9)}-11", "timestamptz": lambda: "2026-01-31 12:00:00+00", "jsonb": lambda: random.choice(['{"a": [1, null]}', "7"]),
              "_int4": lambda: "{1,NULL,3}", "bytea": lambda: "\\x00ff", "interval": lambda: "1 mon 2 days"}
    sources = ["", " from generate_series(1, 3)", " from products where id < 4", " from orders join customers c on c.id = customer_id where orders.id < 3", " where false"]
    batch = b""
    for _ in range(random.randint(1, 12)):
        kinds = random.choices(list(values), k=random.randint(0, 4))
        columns = [f"${n + 1}::{kind}" for n, kind in enumerate(kinds)] + random.choices(["1", "null", "'x'::name", "1/(2-1)", "now() is null", "1/0"], [9, 9, 9, 9, 9, 1], k=1)
        sql = "select " + ", ".join(columns) + random.choice(sources)
        name = random.choice(["", "", "s"])
        given = [None if random.random() < 0.1 else values[kind]().encode() for kind in kinds]
        step = random.random()
        if step < 0.15:
            batch += query("; ".join([random.choice(["select 1", "begin", "commit", "select 'two' as b", ""])] * random.randint(1, 3)))
        elif step < 0.3:
            batch += random.choice([FLUSH, SYNC, describe("S", "s"), message("C", b"S" + text("s"))])
        else:
            batch += parse(sql, name) + (describe("S", name) if random.random() < 0.4 else b"")
            batch += bind("", name, given, random.choice([[], [0], [1], [0] * (len(kinds) + 1), [1] * (len(kinds) + 1)])) + describe("P")
            batch += execute("", random.choice([0, 0, 0, 1, 2]))
        if random.random() < 0.2:
            batch += SYNC
    # What has been begun ends, whatever has become of it.
    return [batch + SYNC, query("rollback")]


SCRIPTS |= {f"by chance {sys.argv[2]} {n}": by_chance(f"{sys.argv[2]} {n}") for n in range(25)}

# Process ids differ, and the direct connection is another role's.
SKIP = {b"K"}


def without_source(body):
    """An error without the place in the server's source: another's version says other lines, and we say none."""
    return b"\0".join(field for field in body.split(b"\0") if field[:1] not in (b"F", b"L", b"R"))


def play(dsn):
    answers = {}
    for name, steps in SCRIPTS.items():
        keep, sock = raw(dsn)
        said = []
        for step in steps:
            sock.sendall(step)
            # One ReadyForQuery for each Query and Sync of the step, fewer where an error or COPY swallows one.
            said += read(sock)
            sock.settimeout(0.15)
            try:
                while True:
                    said += read(sock)
            except (TimeoutError, socket.timeout):
                pass
            sock.settimeout(30)
        answers[name] = [(tag, without_source(body) if name.startswith("syntax") else body) for tag, body in said if tag not in SKIP]
        sock.close()
    return answers


answers = play(sys.argv[1])
print(json.dumps({name: [[tag.decode(), body.hex()] for tag, body in said] for name, said in answers.items()}))
