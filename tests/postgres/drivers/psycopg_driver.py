"""psycopg 3: sync, async, pipelines, COPY, binary, cursors on the server."""
import asyncio, datetime, decimal, os, threading, time, uuid
import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

DSN = os.environ["DSN"]
db = psycopg.connect(DSN, autocommit=True)
print("tls", db.pgconn.ssl_in_use)
notices = []
db.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))

# Types, both formats, simple and extended and prepared.
want = (1, "grün 🐘", decimal.Decimal("12.50"), ["a", "b c"], {"k": [1, None]},
        datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc), b"\x00\xff", True, datetime.date(2026, 1, 31),
        uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"), "glad", 9007199254740993, 0.1)
for binary in (False, True):
    row = db.cursor(binary=binary).execute("select * from item where id = %s", (1,)).fetchone()
    # A type that psycopg does not know is bytes in binary.
    assert row == want[:10] + ((b"glad",) if binary else ("glad",)) + want[11:], row
for prepare in (None, True, True):
    assert db.execute("select name from item where id = %s", (2,), prepare=prepare).fetchone() == ("",)
assert db.execute("select 1 where false").fetchall() == []
assert db.execute("").statusmessage in ("", None)
print("types ok", db.cursor(row_factory=dict_row).execute("select id, active from item order by id").fetchall())

# Notices, errors with their fields, and the connection lives on.
print(db.execute("select shout(%s)", ("hey",)).fetchone(), notices)
for statement, values in (("select 1/%s", (0,)), ("insert into item (name) values (%s)", ("",)), ("selec 1", None),
                          ("select * from nowhere", None), ("select secret from vault", None)):
    try:
        db.execute(statement, values)
    except psycopg.Error as error:
        print(type(error).__name__, error.sqlstate, error.diag.message_primary, "|", error.diag.message_detail, "|", error.diag.constraint_name)

# Transactions and savepoints.
with db.transaction():
    db.execute("insert into item (id, name) values (10, 'ten')")
    try:
        with db.transaction():
            db.execute("insert into item (id, name) values (11, 'ten')")
    except errors.UniqueViolation:
        pass
    db.execute("insert into item (id, name) values (12, 'twelve')")
print("committed", db.execute("select array_agg(id order by id) from item where id >= 10").fetchone())
db.execute("delete from item where id >= 10")

# Pipelines with a refusal in the middle.
with db.pipeline():
    many = [db.execute("select %s::int * 2", (n,)) for n in range(1000)]
print("pipeline", sum(cursor.fetchone()[0] for cursor in many))
try:
    with db.pipeline() as pipeline:
        good = db.execute("select 1 + %s", (1,))
        pipeline.sync()
        bad = db.execute("select secret from vault where secret <> %s", ("",))
        after = db.execute("select 3 + %s", (1,))
        pipeline.sync()
        last = db.execute("select 4 + %s", (1,))
except psycopg.Error as error:
    print("pipeline refused", error.sqlstate, good.fetchone(), db.execute("select 'alive'").fetchone())

# COPY, text and binary, both ways, and an error half-way.
with db.cursor() as cursor:
    with cursor.copy("copy part (id, item_id, note) from stdin") as copy:
        for n in range(1, 5001):
            copy.write_row((n, 1, f"n{n}" if n % 2 else None))
    print("copied in", cursor.rowcount)
    with cursor.copy("copy part (id, item_id) from stdin (format binary)") as copy:
        copy.set_types(["int4", "int4"])
        for n in range(5001, 6001):
            copy.write_row((n, 2))
    with cursor.copy("copy (select id, note from part order by id limit 3) to stdout") as copy:
        print("copied out", list(copy.rows()))
    with cursor.copy("copy (select id from part) to stdout (format binary)") as copy:
        copy.set_types(["int4"])
        print("binary out", sum(row[0] for row in copy.rows()))
    try:
        with cursor.copy("copy part (id, item_id) from stdin") as copy:
            for n in range(20000):
                copy.write_row((7000, 1) if n < 10000 else ("x", 1))
    except psycopg.Error as error:
        print("copy failed", error.sqlstate)
    try:
        with cursor.copy("copy part (id, item_id) from stdin") as copy:
            copy.write_row((9000, 1))
            raise ZeroDivisionError
    except ZeroDivisionError:
        print("copy given up", cursor.execute("select count(*) from part").fetchone())

# A cursor on the server, and one that scrolls.
with db.transaction():
    with db.cursor("reader") as cursor:
        cursor.itersize = 700
        cursor.execute("select id from part order by id")
        print("server-side", sum(1 for _ in cursor))
    with db.cursor("scroller", scrollable=True) as cursor:
        cursor.execute("select generate_series(1, 10)")
        cursor.fetchmany(6)
        cursor.scroll(-3)
        print("scrolled", cursor.fetchone())

# Composed SQL, executemany with results, JSON.
db.cursor().executemany("update part set note = %s where id = %s", [("e", 1), ("f", 2), ("g", 3)])
print(db.execute(sql.SQL("select note from {} where id < 4 order by id").format(sql.Identifier("part"))).fetchall())
print(db.execute("select %s::jsonb -> 'a'", (Jsonb({"a": [1]}),)).fetchone())
db.execute("delete from part")

# Notifications and cancelling.
# Longer than the daemon takes a Bind whole.
print("long value", db.execute("select length(%s::bytea), repeat('x', 80000000)", (bytes(68 << 20),)).fetchone()[0])
db.execute("listen news")
other = psycopg.connect(DSN, autocommit=True)
other.execute("notify news, 'fresh'")
print([(note.channel, note.payload) for note in db.notifies(timeout=5, stop_after=1)])
threading.Timer(0.5, db.cancel_safe).start()
try:
    db.execute("select pg_sleep(30)")
except errors.QueryCanceled as error:
    print("cancelled", error.sqlstate, db.execute("select 1").fetchone())


async def main():
    async with await psycopg.AsyncConnection.connect(DSN, autocommit=True) as db:
        async with db.cursor() as cursor:
            await cursor.execute("select id from item where active = %s", (True,))
            print("async", await cursor.fetchall())
            async with db.pipeline():
                cursors = [await db.execute("select %s::text", (str(n),)) for n in range(50)]
            print("async pipeline", len([await c.fetchone() for c in cursors]))
            async with cursor.copy("copy (select 1) to stdout") as copy:
                print([row async for row in copy.rows()])
            task = asyncio.ensure_future(db.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.3)
            await db.cancel_safe()
            try:
                await task
            except errors.QueryCanceled:
                print("async cancelled")

asyncio.run(main())
