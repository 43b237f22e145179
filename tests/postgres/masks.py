"""Masks and limits as a driver meets them: text and binary, cursors, pipelines, transactions. Each check prints a line."""
import os
import sys

import psycopg
from psycopg import errors

failures = 0


def check(name, found, expected):
    global failures
    if found != expected:
        failures += 1
        print(f"FAILED {name}: expected {expected!r}, found {found!r}")


def refused(name, run, sqlstate, part=""):
    global failures
    try:
        found = run()
    except psycopg.Error as error:
        if error.sqlstate != sqlstate or part not in str(error):
            failures += 1
            print(f"FAILED {name}: expected {sqlstate} {part!r}, found {error.sqlstate} {error}")
        return
    failures += 1
    print(f"FAILED {name}: expected {sqlstate}, got {found!r}")


def rows(connection, sql, *values, **options):
    return connection.execute(sql, *values, **options).fetchall()


def copied(sql):
    with connection.cursor().copy(sql) as copy:
        return list(copy)


connection = psycopg.connect("", autocommit=True)
address = "a***@"

# The same mask by every route, in text and in binary.
for binary in (False, True):
    for sql in (
        "select email from customers order by id limit 3",
        "select c.email from (select * from customers order by id limit 3) c",
        "with c as (select * from customers order by id limit 3) select email from c",
        "select contact from (select email as contact from customers order by id limit 3) x",
        "select coalesce(email, 'none') from customers order by id limit 3",
    ):
        found = rows(connection, sql, binary=binary)
        check(f"{sql} binary={binary}", all("***@" in email for (email,) in found) and len(found), 3)
    check("null", rows(connection, "select card_number from customers limit 1", binary=binary), [(None,)])
    direct = rows(connection, "select count(salary) from employees", binary=binary)[0][0]
    check("counted", direct > 0, True)

# Rows as values: the same fields as one by one, in text and in binary.
for binary in (False, True):
    columns = ", ".join(
        name
        for (name,) in rows(
            connection,
            "select column_name::text from information_schema.columns where table_name = 'customers' order by ordinal_position",
        )
    )
    apart = rows(connection, f"select {columns} from customers order by id limit 3", binary=binary)
    for sql in (
        "select c from (select * from customers order by id limit 3) c",
        f"select row({columns}) from (select * from customers order by id limit 3) c",
        "select row(c.*) from (select * from customers order by id limit 3) c",
    ):
        whole = [row for (row,) in rows(connection, sql, binary=binary)]
        masked = [index for index, name in enumerate(columns.split(", ")) if name in ("email", "card_number")]
        check(f"{sql} binary={binary}", len(masked), 2)
        # The types of a row's fields are not known to the driver: texts are compared.
        for field in masked:
            values = [row[field] for row in whole]
            values = [value.decode() if isinstance(value, bytes) else value for value in values]
            expected = [None if row[field] is None else str(row[field]) for row in apart]
            check(f"{sql} field {field} binary={binary}", [value or None for value in values], expected)
    check("row in row", "***@" in str(rows(connection, "select row(1, row(id, email)) from customers limit 1")), True)
    refused("row to text", lambda: rows(connection, "select (c::text) from customers c"), "42501", "masked")
    refused("row to JSON", lambda: rows(connection, "select to_jsonb(c) from customers c"), "42501", "masked")
    refused("rows in an array", lambda: rows(connection, "select array_agg(c) from customers c"), "42501", "masked")
    refused("rows compared", lambda: rows(connection, "select 1 from customers c where c > row(1)"), "42501", "masked")
    refused("rows in order", lambda: rows(connection, "select c from customers c order by c"), "42501", "masked")

with connection.cursor(binary=True) as cursor:
    moved = cursor.execute("select salary from employees limit 1").fetchone()[0]
    check("numeric in binary cannot be shifted and is NULL", moved, None)
with connection.cursor() as cursor:
    check("in text it can", cursor.execute("select salary from employees limit 1").fetchone()[0] is None, False)

# Prepared statements, executed again and again.
for _ in range(8):
    found = rows(connection, "select id, email from customers where id = %s", (1,), prepare=True)
    check("prepared", "***@" in found[0][1], True)
connection.execute("prepare p as select email from customers where id = $1")
check("execute", "***@" in rows(connection, "execute p(1)")[0][0], True)

# Cursors of SQL.
with connection.transaction():
    connection.execute("declare c cursor for select email, id from customers")
    check("fetch", "***@" in rows(connection, "fetch 1 from c")[0][0], True)
    connection.execute("declare b binary cursor for select email from customers")
    check("fetch binary", b"***@" in bytes(rows(connection, "fetch 1 from b")[0][0], "utf8"), True)
with psycopg.connect("") as other:
    with other.cursor("named") as cursor:
        cursor.execute("select email from customers")
        check("server-side cursor", "***@" in cursor.fetchmany(2)[1][0], True)

# A pipeline with a refusal in the middle.
try:
    with connection.pipeline():
        first = connection.execute("select email from customers where id = 1")
        connection.execute("select lower(email) from customers")
        third = connection.execute("select 1")
except psycopg.Error as error:
    check("pipeline", error.sqlstate, "42501")
check("pipeline goes on", rows(connection, "select 1"), [(1,)])

# The second net: whatever the column, what looks like a key or an address does not leave.
net = "select 'to sk_live_abcdefgh and a@b.example', '{\"k\": \"sk_live_abcdefgh\"}'::jsonb, id from api_keys limit 1"
for binary in (False, True):
    found = rows(connection, net, binary=binary)[0]
    check("second net", (found[0], found[1], found[2] > 0), ("to [secret] and [email]", {"k": "[secret]"}, True))
refused("copy past the net", lambda: copied("copy api_keys to stdout"), "42501", "looked through")

refused("derived", lambda: rows(connection, "select lower(email) from customers"), "42501", "masked")
refused("compared", lambda: rows(connection, "select id from customers where email = 'x'"), "42501", "masked")
refused("copy", lambda: copied("copy customers to stdout"), "42501", "masked")
refused(
    "constraint errors quote nothing",
    lambda: connection.execute("insert into customers (id, name, email, country) values (1, 'x', 'who@is.it', 'DE')"),
    "23505",
    "withheld",
)

# Limits on rows: exactly as many as may, then the error; the connection lives on.
refused("rows", lambda: rows(connection, "select id from orders"), "54000", "100 rows")
check("rows below the limit", len(rows(connection, "select id from orders limit 100")), 100)
refused("rows behind a BEGIN", lambda: rows(connection, "begin; select id from orders"), "54000")
connection.execute("rollback")
connection.execute("begin")
refused("rows in a transaction", lambda: rows(connection, "select id from orders"), "54000")
refused("the transaction has failed", lambda: rows(connection, "select 1"), "25P02")
connection.execute("rollback")
check("and is over", rows(connection, "select 1"), [(1,)])
refused("bytes", lambda: rows(connection, "select repeat(name, 1000) from products"), "54000", "20000 bytes")
connection.execute("begin")
connection.execute("declare o cursor for select id from orders")
check("a cursor", len(rows(connection, "fetch 60 from o")), 60)
refused("counts over its fetches", lambda: rows(connection, "fetch 60 from o"), "54000")
connection.execute("rollback")
refused("copy out", lambda: copied("copy orders to stdout"), "54000")

# Limits on changes: what is over is rolled back, in autocommit and in transactions, in both protocols.
count = lambda: rows(connection, "select count(*), sum(quantity) from order_items")[0]
before = count()
for prepare in (False, True):
    refused(
        f"affected, prepare={prepare}",
        lambda: connection.execute("update order_items set quantity = quantity + 1", prepare=prepare),
        "54000",
        "rolled back",
    )
    check("nothing has changed", count(), before)
    connection.execute("update order_items set quantity = quantity + 1 where id <= 10", prepare=prepare)
    check("ten may", count()[1], before[1] + 10)
    connection.execute("update order_items set quantity = quantity - 1 where id <= 10", prepare=prepare)
# The simple protocol: no parameters and more than one statement's worth of text would be refused.
raw = psycopg.ClientCursor(connection)
refused("affected, simple", lambda: raw.execute("delete from order_items"), "54000", "rolled back")
check("nothing has gone", count(), before)
raw.execute("update order_items set quantity = quantity where id <= 10")
check("few may", count(), before)
check("the session is idle", connection.info.transaction_status.name, "IDLE")
connection.execute("begin")
connection.execute("update order_items set quantity = 99 where id = 1")
refused("affected, in a transaction", lambda: raw.execute("delete from order_items"), "54000")
refused("which has failed", lambda: rows(connection, "select 1"), "25P02")
connection.execute("commit")
check("and took all with it", count(), before)
refused("together", lambda: raw.execute("delete from order_items where id = 1; select 1"), "42501", "one by one")
with connection.transaction(force_rollback=True):
    returned = rows(connection, "delete from order_items where id <= 3 returning id")
    check("returning", len(returned), 3)

refused("time", lambda: rows(connection, "select count(*) from orders a, orders b, orders c"), "57014", "1 s")
check("alive", rows(connection, "select 1"), [(1,)])

# The search path: followed where it is set by itself.
connection.execute("create schema hidden")
connection.execute("create table hidden.orders as select 1 as id")
connection.execute("set search_path = hidden, public")
check("another table", rows(connection, "select id from orders"), [(1,)])
connection.execute("reset search_path")
refused("and back", lambda: rows(connection, "select id from orders"), "54000")
connection.execute("begin")
connection.execute("set local search_path = hidden")
check("local", rows(connection, "select id from orders"), [(1,)])
connection.execute("savepoint s")
connection.execute("rollback to s")
refused("in doubt", lambda: rows(connection, "select id from orders"), "42501", "search path")
connection.execute("rollback")
connection.execute("drop schema hidden cascade")

print("checked" if failures == 0 else f"{failures} failed")
sys.exit(1 if failures else 0)
