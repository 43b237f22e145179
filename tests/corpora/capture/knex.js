// Knex: migrations, the query builder, a stream.
const fs = require("fs");
const knex = require("knex");

const tried = async (name, step) => { try { await step(); } catch (error) { console.error(`${name}: ${error.message}`.slice(0, 300)); } };

async function main() {
  fs.mkdirSync("knex-migrations", { recursive: true });
  fs.writeFileSync("knex-migrations/1_first.js", `
exports.up = async (k) => {
  await k.schema.createTable("kx_author", (t) => { t.increments(); t.string("name", 100).notNullable().unique(); t.date("born"); t.timestamps(true, true); t.comment("who writes"); });
  await k.schema.createTable("kx_book", (t) => {
    t.uuid("id").primary().defaultTo(k.raw("gen_random_uuid()")); t.text("title").notNullable().index(); t.decimal("price", 8, 2).defaultTo(0); t.jsonb("data"); t.specificType("labels", "text[]");
    t.enu("state", ["draft", "published"]).defaultTo("draft"); t.enu("kind", ["a", "b"], { useNative: true, enumName: "kx_kind" }); t.integer("author_id").references("id").inTable("kx_author").onDelete("CASCADE"); t.unique(["author_id", "title"]); t.binary("cover"); t.check("?? >= 0", ["price"], "kx_price");
  });
  await k.schema.createView("kx_cheap", (v) => { v.columns(["id", "title"]); v.as(k("kx_book").select("id", "title").where("price", "<", 5)); });
};
exports.down = async (k) => { await k.schema.dropView("kx_cheap"); await k.schema.dropTable("kx_book"); await k.schema.dropTableIfExists("kx_author"); await k.raw("DROP TYPE kx_kind"); };`);
  fs.writeFileSync("knex-migrations/2_second.js", `
exports.config = { transaction: false };
exports.up = async (k) => {
  await k.schema.alterTable("kx_book", (t) => { t.string("isbn");  t.renameColumn("isbn", "code"); t.index(["price"], "kx_price_index", { predicate: k.whereNotNull("price") }); t.setNullable("title"); t.dropNullable("title"); });
  await k.schema.alterTable("kx_author", (t) => { t.string("name", 300).notNullable().alter(); t.timestamp("born").alter({ alterNullable: false }); });
  await k.schema.raw("CREATE INDEX CONCURRENTLY IF NOT EXISTS kx_data ON kx_book USING gin (data)");
  await k.schema.createTable("kx_old", (t) => { t.bigIncrements(); t.specificType("ip", "inet"); });
  await k.schema.renameTable("kx_old", "kx_older"); await k.schema.dropTable("kx_older");
};
exports.down = async (k) => { await k.schema.alterTable("kx_book", (t) => { t.dropIndex([], "kx_price_index"); t.dropColumn("code"); }); };`);
  const k = knex({ client: "pg", connection: process.env.DATABASE_URL, migrations: { directory: "./knex-migrations" } });
  await k.migrate.latest(); await k.migrate.status(); await k.migrate.rollback(undefined, true); await k.migrate.up(); await k.migrate.latest(); await k.migrate.list();
  const authors = await k("kx_author").insert([{ name: "A1" }, { name: "A2" }, { name: "A3" }]).returning("*");
  const books = await k.batchInsert("kx_book", [0, 1, 2, 3, 4].map((n) => ({ title: `B${n}`, price: n, data: { n }, labels: ["x"], author_id: authors[n % 3].id })), 2).returning("id");
  const steps = {
    where: () => k("kx_book").where({ state: "draft" }).andWhere("price", ">", 1).orWhere((q) => q.whereIn("title", ["B1", "B2"]).whereNotNull("data")).whereNot("title", "x").orderBy([{ column: "price", order: "desc", nulls: "last" }, "title"]).limit(3).offset(1),
    more: () => k("kx_book").whereBetween("price", [1, 3]).whereILike("title", "%b%").whereLike("title", "B%").whereRaw("length(title) > ?", [1]).whereExists(k("kx_author").whereRaw("kx_author.id = kx_book.author_id")).whereNotIn("title", []),
    json: () => k("kx_book").whereJsonPath("data", "$.n", ">", 1).whereJsonSupersetOf("data", { n: 2 }).whereJsonObject("data", { n: 2 }).jsonExtract("data", "$.n", "n"),
    jsonSet: () => k("kx_book").jsonSet("data", "$.n", "9", "changed").jsonInsert("data", "$.m", "1", "more").jsonRemove("data", "$.n", "less"),
    joins: () => k("kx_book as b").join("kx_author as a", "a.id", "b.author_id").leftJoin("kx_cheap as c", (j) => j.on("c.id", "=", "b.id").andOnVal("b.price", ">", 0)).select("b.title", "a.name as who", k.ref("c.id").as("cheap")),
    using: () => k("kx_book").fullOuterJoin("kx_cheap", (j) => j.using(["id"])).crossJoin("kx_author").select("kx_author.name").limit(2),
    groups: () => k("kx_book").select("author_id").count("* as n").sum("price as total").avg({ mean: "price" }).countDistinct("title").groupBy("author_id").having(k.raw("count(*)"), ">", 1),
    windows: () => k("kx_book").select("title").rank("place", (q) => q.partitionBy("author_id").orderBy("price", "desc")).rowNumber("row", "title").denseRank("d", ["price"]),
    with: () => k.with("dear", k("kx_book").where("price", ">", 1)).withMaterialized("m", k("kx_author").select("id")).select("*").from("dear").whereIn("author_id", k("m")),
    recursive: () => k.withRecursive("tree", (q) => q.select("id", "parent_id").from("categories").whereNull("parent_id").unionAll((u) => u.select("c.id", "c.parent_id").from("categories as c").join("tree", "tree.id", "c.parent_id"))).from("tree").select(),
    unions: () => k("kx_book").select("title").union([k("kx_author").select("name")]).unionAll(k.select(k.raw("'x'"))).intersect(k.raw("select 'x'")).except(k.raw("select 'y'")),
    distinct: () => k("kx_book").distinctOn("author_id").orderBy(["author_id", "price"]), first: () => k("kx_book").first("id", "title").distinct(), pluck: () => k("kx_book").pluck("title"), sub: () => k.select(k("kx_book").count().as("n"), k.fn.now()), lateral: () => k.raw("select a.name, b.title from kx_author a cross join lateral (select title from kx_book where author_id = a.id limit ?) b", [1]),
    writes: async () => { await k("kx_book").where("title", "B1").update({ price: k.raw("?? + ?", ["price", 1]), data: JSON.stringify({ a: 1 }) }, ["id", "price"]); await k("kx_book").where("title", "B2").increment("price", 2).decrement({ price: 1 }); await k("kx_book").updateFrom("kx_author").where("kx_author.id", k.ref("kx_book.author_id")).update({ title: k.ref("name") }).where("kx_book.title", "no"); },
    upsert: async () => { await k("kx_author").insert({ name: "A1", born: "1970-01-01" }).onConflict("name").merge().returning("id"); await k("kx_author").insert({ name: "A1" }).onConflict("name").merge(["name"]).where("kx_author.id", ">", 0); await k("kx_author").insert([{ name: "A1" }, { name: "A8" }]).onConflict().ignore(); },
    select: () => k("kx_author").insert(k("customers").select(k.raw("name || ' x'")).limit(2)).into(k.raw("?? (??)", ["kx_author", "name"])), deletes: async () => { await k("kx_book").where("title", "B4").del("id"); await k("kx_author").using("kx_book").where("kx_book.author_id", k.ref("kx_author.id")).where("kx_book.title", "none").del(); },
    transactions: () => k.transaction(async (t) => { await t("kx_book").forUpdate().skipLocked().first(); await t("kx_book").forShare("kx_book").noWait().limit(1); await t("kx_author").forNoKeyUpdate().limit(1); await t("kx_author").forKeyShare().limit(1); await t.transaction(async (inner) => { await inner("kx_author").insert({ name: "inner" }); await inner.rollback(new Error("no")); }).catch(() => 0); const save = await t.savepoint(async () => 1); }, { isolationLevel: "repeatable read", readOnly: false }),
    existing: async () => { await k("orders").join("customers", "customers.id", "orders.customer_id").where("orders.status", "paid").select("orders.id", "customers.email").limit(5); await k.withSchema("warehouse").from("stock").limit(1); await k("order_totals").max("total"); await k.raw("select * from customers where email = :email", { email: "customer1@shop.example" }); await k.raw("call restock(?, ?)", [2, 3]); },
    schema: async () => { await k.schema.hasTable("orders"); await k.schema.hasColumn("orders", "note"); await k("orders").columnInfo(); await k.schema.createSchemaIfNotExists("kx"); await k.schema.dropSchemaIfExists("kx", true); await k.schema.createTableLike("kx_copy", "kx_author"); await k.schema.dropTable("kx_copy"); await k.schema.createMaterializedView("kx_m", (v) => v.as(k("kx_book").count())); await k.schema.refreshMaterializedView("kx_m"); await k.schema.dropMaterializedView("kx_m"); await k.schema.createExtensionIfNotExists?.("citext"); },
    stream: async () => { for await (const row of k("order_items").select().stream()) void row; },
    truncate: () => k("kx_book").truncate(),
  };
  for (const [name, step] of Object.entries(steps)) await tried(name, step);
  await k.destroy();
}
main();
