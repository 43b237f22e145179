"""asyncpg: binary by default, prepared by default, portals in portions."""
import asyncio, datetime, decimal, io, os, ssl, uuid
import asyncpg


def context():
    mode = os.environ["MODE"]
    if mode == "disable":
        return False
    if mode == "require":
        made = ssl.create_default_context()
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made
    return ssl.create_default_context(cafile=os.environ["CA"])


async def main():
    db = await asyncpg.connect(ssl=context())
    print("tls", db._transport.get_extra_info("cipher") is not None)
    row = await db.fetchrow("select * from item where id = $1", 1)
    assert tuple(row) == (1, "grün 🐘", decimal.Decimal("12.50"), ["a", "b c"], '{"k": [1, null]}',
                          datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc), b"\x00\xff", True,
                          datetime.date(2026, 1, 31), uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"), "glad",
                          9007199254740993, 0.1), row
    print("types ok", await db.fetchval("select array_agg(id order by id) from item where id = any($1::int[])", [1, 2]))
    heard = []
    db.add_log_listener(lambda _, message: heard.append((message.severity, message.message)))
    print(await db.fetchval("select shout($1)", "hey"), heard)
    for statement, values in (("select 1 / $1::int", [0]), ("insert into item (name) values ($1)", [""]), ("selec 1", []),
                              ("select * from nowhere", []), ("select secret from vault", [])):
        try:
            await db.fetch(statement, *values)
        except asyncpg.PostgresError as error:
            print(type(error).__name__, error.sqlstate, error.message, "|", error.detail, "|", error.constraint_name)
    prepared = await db.prepare("select $1::int + $2::int")
    print("prepared", [await prepared.fetchval(n, 1) for n in range(3)], [a.type.name for a in prepared.get_attributes()],
          [p.name for p in prepared.get_parameters()])
    async with db.transaction():
        numbers = [row[0] async for row in db.cursor("select generate_series(1, $1::int)", 1000, prefetch=90)]
        cursor = await db.cursor("select generate_series(1, 100)")
        await cursor.forward(10)
        print("cursor", sum(numbers), [row[0] for row in await cursor.fetch(3)])
    try:
        async with db.transaction(isolation="serializable"):
            await db.execute("insert into part values (1, 1, 'x')")
            async with db.transaction():
                await db.execute("insert into part values (2, 1, 'y')")
            raise ZeroDivisionError
    except ZeroDivisionError:
        print("rolled back", await db.fetchval("select count(*) from part"))
    print(await db.copy_records_to_table("part", records=[(n, 1, f"r{n}") for n in range(1, 3001)]))
    out = io.BytesIO()
    print(await db.copy_from_query("select id, note from part where id < $1 order by id", 3, output=out), out.getvalue())
    print(await db.copy_from_table("part", columns=["id"], output=io.BytesIO(), format="binary"))
    print(await db.executemany("update part set note = $2 where id = $1", [(1, "a"), (2, "b")]),
          await db.fetchval("select string_agg(note, ',' order by id) from part where id < 4"))
    await db.execute("delete from part")
    got = asyncio.get_running_loop().create_future()
    await db.add_listener("news", lambda *said: got.done() or got.set_result(said[2:]))
    await db.execute("notify news, 'fresh'")
    print("notified", await asyncio.wait_for(got, 5))
    try:
        await db.fetch("select pg_sleep(30)", timeout=0.5)
    except asyncio.TimeoutError:
        print("timed out and cancelled", await db.fetchval("select 1"))
    await db.reset()
    await db.close()
    async with asyncpg.create_pool(ssl=context(), min_size=2, max_size=4) as pool:
        print("pool", sum(await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(20)))))

asyncio.run(main())
