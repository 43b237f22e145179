import json, os
import psycopg

prepare = bool(os.environ.get("PREPARE"))
connection = psycopg.connect("", autocommit=True)
for statement in json.loads(os.environ["STATEMENTS"]):
    try:
        # With parameters psycopg speaks the extended protocol, without them the simple one.
        connection.execute(statement, prepare=True) if prepare else connection.execute(statement)
        print(json.dumps({"sqlstate": None}))
    except psycopg.Error as error:
        print(json.dumps({"sqlstate": error.sqlstate, "detail": error.diag.message_detail, "hint": error.diag.message_hint}))
count = lambda table: connection.execute(f"select count(*) from {table} where id > %s", (0,), prepare=prepare).fetchone()[0]
print(json.dumps({"orders": count("orders")}))
print(json.dumps({"customers": count("customers")}))
