import asyncio, json, os
import asyncpg

async def main():
    connection = await asyncpg.connect()
    for statement in json.loads(os.environ["STATEMENTS"]):
        try:
            await connection.fetch(statement)
            print(json.dumps({"sqlstate": None}))
        except asyncpg.PostgresError as error:
            print(json.dumps({"sqlstate": error.sqlstate, "detail": error.detail, "hint": error.hint}))
    for table in ("orders", "customers"):
        print(json.dumps({table: await connection.fetchval(f"select count(*) from {table} where id > $1", 0)}))
    await connection.close()

asyncio.run(main())
