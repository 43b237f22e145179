"""One statement with values, as a driver sends it; gives up after two seconds and closes its connection."""
import signal
import sys

import psycopg

what, sql, *values = sys.argv[1:]
notices = []
connection = psycopg.connect("", autocommit=True)
connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))


class GivenUp(Exception):
    pass


def give_up(*_):
    raise GivenUp


signal.signal(signal.SIGALRM, give_up)
signal.alarm(2)
try:
    print(f"{what}: {connection.execute(sql, [int(v) if v.isdigit() else v for v in values]).rowcount} rows")
except GivenUp:
    held = any(text.startswith("held until") for text in notices)
    print(f"{what}: {'held' if held else 'not held'}, no answer")
    connection.pgconn.finish()
except psycopg.Error as error:
    print(f"{what}: {error.sqlstate} {error}")
