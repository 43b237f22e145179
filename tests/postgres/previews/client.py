"""A driver's ways to send one UPDATE: by itself, in a transaction, prepared by name, in a pipeline behind a query."""
import sys

import psycopg

what = sys.argv[1]
connection = psycopg.connect("", autocommit=what != "block")
update = "update people set note = %s where id = %s returning id, note"
try:
    if what == "pipeline":
        with connection.pipeline():
            first = connection.execute("select count(*) from people")
            second = connection.execute(update, [what, 21])
            third = connection.execute("select note from people where id = 21")
        rows = [first.fetchone(), second.fetchone(), third.fetchone()]
    elif what == "block":
        before = connection.execute("select count(*) from people").fetchone()
        rows = [before, connection.execute(update, [what, 22]).fetchone()]
        connection.commit()
    else:
        rows = [connection.execute(update, [what, 23], prepare=what == "named").fetchone()]
    print(what, rows)
except psycopg.Error as error:
    print(what, error.sqlstate, str(error).splitlines()[0])
    connection.rollback()
print(connection.info.transaction_status.name, connection.execute("select 1").fetchone())
