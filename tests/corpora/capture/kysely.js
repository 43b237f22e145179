// Kysely: schema, migrator, introspection, queries of each kind.
const { Kysely, Migrator, PostgresDialect, sql } = require("kysely");
const { jsonArrayFrom, jsonObjectFrom } = require("kysely/helpers/postgres");
const { Pool } = require("pg");

const tried = async (name, step) => { try { await step(); } catch (error) { console.error(`${name}: ${error.message}`.slice(0, 300)); } };

async function main() {
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: process.env.DATABASE_URL }) }) });
  const migrations = {
    a: {
      up: async (k) => {
        await k.schema.createType("ky_kind").asEnum(["a", "b"]).execute();
        await k.schema.createTable("ky_author").ifNotExists().addColumn("id", "serial", (c) => c.primaryKey()).addColumn("name", "varchar(100)", (c) => c.notNull().unique()).addColumn("made", "timestamptz", (c) => c.defaultTo(sql`now()`)).execute();
        await k.schema.createTable("ky_book").addColumn("id", "bigint", (c) => c.primaryKey().generatedAlwaysAsIdentity()).addColumn("title", "text", (c) => c.notNull()).addColumn("price", sql`numeric(8, 2)`, (c) => c.check(sql`price >= 0`)).addColumn("data", "jsonb").addColumn("labels", sql`text[]`).addColumn("kind", sql`ky_kind`)
          .addColumn("twice", "numeric", (c) => c.generatedAlwaysAs(sql`price * 2`).stored()).addColumn("author_id", "integer", (c) => c.references("ky_author.id").onDelete("cascade")).addUniqueConstraint("ky_title", ["author_id", "title"]).execute();
        await k.schema.createIndex("ky_book_title").on("ky_book").expression(sql`lower(title)`).where("price", ">", 0).execute();
        await k.schema.createView("ky_cheap").orReplace().as(k.selectFrom("ky_book").select(["id", "title"]).where("price", "<", sql.lit(5))).execute();
      },
      down: async (k) => { await k.schema.dropView("ky_cheap").execute(); await k.schema.dropTable("ky_book").cascade().execute(); await k.schema.dropTable("ky_author").ifExists().execute(); await k.schema.dropType("ky_kind").execute(); },
    },
    b: {
      up: async (k) => {
        await k.schema.alterTable("ky_book").addColumn("isbn", "varchar(20)").execute(); await k.schema.alterTable("ky_book").alterColumn("isbn", (c) => c.setDataType("text")).alterColumn("title", (c) => c.setDefault("")).execute(); await k.schema.alterTable("ky_book").renameColumn("isbn", "code").execute();
        await k.schema.alterTable("ky_book").addCheckConstraint("ky_code", sql`code <> ''`).execute(); await k.schema.createTable("ky_old").addColumn("a", "integer").execute(); await k.schema.alterTable("ky_old").renameTo("ky_older").execute(); await k.schema.dropTable("ky_older").execute(); await k.schema.createSchema("ky").ifNotExists().execute(); await k.schema.dropSchema("ky").execute();
      },
      down: async (k) => { await k.schema.alterTable("ky_book").dropConstraint("ky_code").execute(); await k.schema.alterTable("ky_book").dropColumn("code").execute(); },
    },
  };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  for (const step of ["migrateToLatest", "migrateDown", "migrateDown", "migrateToLatest", "getMigrations"]) { const done = await migrator[step](); if (done.error) console.error(done.error); }
  await db.introspection.getTables({ withInternalKyselyTables: true }); await db.introspection.getSchemas();
  const authors = await db.insertInto("ky_author").values([{ name: "A1" }, { name: "A2" }]).returning(["id", "name"]).execute();
  await db.insertInto("ky_book").values([0, 1, 2, 3].map((n) => ({ title: `B${n}`, price: n, data: JSON.stringify({ n }), labels: ["x"], kind: "a", author_id: authors[n % 2].id }))).returningAll().execute();
  const steps = {
    where: () => db.selectFrom("ky_book").selectAll().where("price", ">", 1).where((e) => e.or([e("title", "ilike", "%b%"), e("id", "in", [1, 2]), e.not(e("kind", "is", null))])).orderBy("price", (o) => o.desc().nullsLast()).limit(2).offset(1).execute(),
    joins: () => db.selectFrom("ky_book as b").innerJoin("ky_author as a", "a.id", "b.author_id").leftJoin("ky_cheap as c", (j) => j.onRef("c.id", "=", "b.id").on("b.price", ">", 0)).select(["b.title", "a.name as who", "c.id as cheap"]).execute(),
    lateral: () => db.selectFrom("ky_author as a").leftJoinLateral((e) => e.selectFrom("ky_book as b").select("b.title").whereRef("b.author_id", "=", "a.id").limit(1).as("one"), (j) => j.onTrue()).select(["a.name", "one.title"]).execute(),
    nested: () => db.selectFrom("ky_author as a").select((e) => ["a.id", jsonArrayFrom(e.selectFrom("ky_book as b").select(["b.id", "b.title"]).whereRef("b.author_id", "=", "a.id").orderBy("b.title")).as("books"), jsonObjectFrom(e.selectFrom("ky_book as b").select("b.title").whereRef("b.author_id", "=", "a.id").limit(1)).as("first")]).execute(),
    groups: () => db.selectFrom("ky_book").select((e) => ["author_id", e.fn.countAll().as("n"), e.fn.sum("price").filterWhere("price", ">", 1).as("s"), e.fn.avg("price").as("m"), e.fn.agg("array_agg", ["title"]).as("t")]).groupBy("author_id").having((e) => e.fn.count("id"), ">", 1).execute(),
    windows: () => db.selectFrom("ky_book").select((e) => ["title", e.fn.agg("rank").over((o) => o.partitionBy("author_id").orderBy("price", "desc")).as("place"), e.case().when("price", ">", 1).then("dear").else("cheap").end().as("k"), e.fn.coalesce("price", sql.lit(0)).as("p"), e.ref("data", "->>").key("n").as("n"), e.cast("price", "integer").as("i")]).execute(),
    with: () => db.with("dear", (q) => q.selectFrom("ky_book").selectAll().where("price", ">", 1)).with("gone", (q) => q.deleteFrom("ky_book").where("title", "=", "none").returning("id")).selectFrom("dear").selectAll().where("id", "not in", (q) => q.selectFrom("gone").select("id")).execute(),
    recursive: () => db.withRecursive("tree(id, depth)", (q) => q.selectFrom("categories").select(["id", sql`0`.as("depth")]).where("parent_id", "is", null).unionAll(q.selectFrom("categories as c").innerJoin("tree", "tree.id", "c.parent_id").select(["c.id", sql`depth + 1`.as("depth")]))).selectFrom("tree").selectAll().execute(),
    unions: () => db.selectFrom("ky_book").select("title").union(db.selectFrom("ky_author").select("name as title")).unionAll(db.selectFrom("ky_cheap").select("title")).intersect(db.selectFrom("ky_book").select("title")).except(db.selectFrom("ky_author").select("name as title")).orderBy("title").execute(),
    distinct: () => db.selectFrom("ky_book").distinctOn("author_id").selectAll().orderBy("author_id").execute(), exists: () => db.selectFrom("ky_author").selectAll().where((e) => e.exists(e.selectFrom("ky_book").whereRef("ky_book.author_id", "=", "ky_author.id").select(sql.lit(1).as("x")))).execute(), one: () => db.selectFrom("ky_book").selectAll().where("id", "=", "1").executeTakeFirst(),
    tuples: () => db.selectFrom("ky_book").selectAll().where((e) => e(e.refTuple("id", "title"), "in", [e.tuple(1, "B0"), e.tuple(2, "B1")])).execute(), any: () => db.selectFrom("ky_book").selectAll().where((e) => e(e.val("x"), "=", e.fn.any("labels"))).where("data", "@>", JSON.stringify({ n: 1 })).execute(), values: () => sql`select * from ${sql.join([sql`generate_series(1, ${3})`])} as g`.execute(db),
    writes: async () => { await db.updateTable("ky_book").set((e) => ({ price: e("price", "+", 1), title: sql`upper(title)` })).where("title", "=", "B1").returningAll().execute(); await db.updateTable("ky_book").from("ky_author").set((e) => ({ title: e.ref("ky_author.name") })).whereRef("ky_author.id", "=", "ky_book.author_id").where("ky_book.title", "=", "no").execute(); await db.deleteFrom("ky_book").using("ky_author").whereRef("ky_author.id", "=", "ky_book.author_id").where("ky_author.name", "=", "no").returning("ky_book.id").execute(); },
    upsert: async () => { await db.insertInto("ky_author").values({ name: "A1" }).onConflict((c) => c.column("name").doUpdateSet((e) => ({ name: e.ref("excluded.name") })).where("ky_author.id", ">", 0)).returningAll().execute(); await db.insertInto("ky_author").values({ name: "A1" }).onConflict((c) => c.doNothing()).execute(); await db.insertInto("ky_author").columns(["name"]).expression((e) => e.selectFrom("customers").select(sql`name || ' k'`.as("name")).limit(2)).execute(); await db.insertInto("ky_author").defaultValues().execute().catch(() => 0); },
    merge: () => db.mergeInto("ky_author as t").using("customers as s", "s.name", "t.name").whenMatched().thenDelete().whenNotMatchedAnd("s.id", "<", 2).thenInsertValues((e) => ({ name: e.ref("s.name") })).execute(),
    transactions: () => db.transaction().setIsolationLevel("serializable").execute(async (t) => { await t.selectFrom("ky_book").selectAll().forUpdate().skipLocked().limit(1).execute(); await t.selectFrom("ky_book").selectAll().forShare(["ky_book"]).noWait().limit(1).execute(); await t.selectFrom("ky_book").selectAll().forNoKeyUpdate().limit(1).execute(); }),
    controlled: async () => { const t = await db.startTransaction().setAccessMode("read only").execute(); const s = await t.savepoint("one").execute(); await s.rollbackToSavepoint("one").execute(); await s.releaseSavepoint("one").execute(); await t.rollback().execute(); },
    existing: async () => { await db.selectFrom("orders as o").innerJoin("customers as c", "c.id", "o.customer_id").select(["o.id", "c.email"]).where("o.status", "=", "paid").limit(3).execute(); await db.withSchema("warehouse").selectFrom("stock").selectAll().limit(1).execute(); await db.selectFrom("order_totals").selectAll().limit(2).execute(); await db.selectFrom("best_sellers").selectAll().limit(1).execute(); await db.selectFrom("orders").selectAll().limit(1).explain("json", sql`analyze`); },
    views: async () => { await db.schema.createView("ky_m").materialized().as(db.selectFrom("ky_book").select("id")).execute(); await db.schema.refreshMaterializedView("ky_m").concurrently().execute().catch(() => 0); await db.schema.refreshMaterializedView("ky_m").execute(); await db.schema.dropView("ky_m").materialized().execute(); await db.schema.createTable("ky_as").as(db.selectFrom("ky_book").select("id")).execute(); await db.schema.dropTable("ky_as").execute(); await db.schema.createTable("ky_temp").temporary().onCommit("preserve rows").addColumn("a", "integer").execute(); },
  };
  for (const [name, step] of Object.entries(steps)) await tried(name, step);
  await db.destroy();
}
main();
