// Drizzle: migrations, the query builder, relational queries, and drizzle-kit's introspection and push.
const fs = require("fs");
const { execFileSync } = require("child_process");
const { drizzle } = require("drizzle-orm/node-postgres");
const { migrate } = require("drizzle-orm/node-postgres/migrator");
const { and, asc, avg, between, count, countDistinct, desc, eq, exists, gt, gte, ilike, inArray, isNull, max, ne, not, notInArray, or, relations, sql, sum, arrayContains, arrayOverlaps } = require("drizzle-orm");
const pg = require("drizzle-orm/pg-core");
const { Pool } = require("pg");

const tried = async (name, step) => { try { await step(); } catch (error) { console.error(`${name}: ${error.cause?.message ?? error.message}`.slice(0, 300)); } };

async function main() {
  fs.writeFileSync("drizzle-schema.ts", fs.readFileSync("drizzle-schema.js", "utf8"));
  fs.writeFileSync("drizzle.config.json", JSON.stringify({ dialect: "postgresql", schema: "./drizzle-schema.ts", out: "./drizzle-out", dbCredentials: { url: process.env.DATABASE_URL } }));
  // Push drops all that it does not know, which is what it is known for; so it gets a database where that is nothing.
  fs.writeFileSync("drizzle-push.config.json", JSON.stringify({ dialect: "postgresql", schema: "./drizzle-schema.ts", dbCredentials: { url: process.env.DATABASE_URL.replace(/shop$/, "pushed") } }));
  const kit = (...args) => { try { execFileSync("drizzle-kit", args, { stdio: ["ignore", "ignore", "inherit"], timeout: 60000 }); } catch (error) { console.error(`drizzle-kit ${args[0]}: ${error.message}`.slice(0, 300)); } };
  kit("generate", "--config", "drizzle.config.json");
  const pool = new Pool({ connectionString: process.env.DATABASE_URL });
  const schema = require("./drizzle-schema.js");
  const db = drizzle(pool, { schema });
  await migrate(db, { migrationsFolder: "./drizzle-out" });
  await migrate(db, { migrationsFolder: "./drizzle-out" });
  const { authors, books, bookTags, tags, cheap } = schema;
  const made = await db.insert(authors).values([{ name: "A1" }, { name: "A2", born: "1970-01-01" }]).returning();
  await db.insert(tags).values([{ name: "t1" }, { name: "t2" }]);
  const some = await db.insert(books).values([1, 2, 3, 4].map((n) => ({ title: `B${n}`, price: `${n}`, data: { n }, labels: ["x"], authorId: made[n % 2].id }))).returning({ id: books.id });
  await db.insert(bookTags).values(some.map((book) => ({ bookId: book.id, tagId: 1 }))).onConflictDoNothing();
  const per = db.$with("per").as(db.select({ author: books.authorId, n: count().as("n") }).from(books).groupBy(books.authorId));
  const sq = db.select({ id: books.id, title: books.title }).from(books).where(gt(books.price, "1")).as("sq");
  const steps = {
    where: () => db.select().from(books).where(and(or(ilike(books.title, "%b%"), eq(books.state, "draft")), not(eq(books.title, "x")), between(books.price, "1", "9"), inArray(books.title, ["B1", "B2"]), notInArray(books.title, ["z"]), gte(books.price, "0"), ne(books.title, "q"))).orderBy(desc(books.price), asc(books.title)).limit(2).offset(1),
    arrays: () => db.select().from(books).where(and(arrayContains(books.labels, ["x"]), arrayOverlaps(books.labels, ["x", "y"]), sql`${books.data}->>'n' = ${"1"}`)), joins: () => db.select({ title: books.title, who: authors.name }).from(books).leftJoin(authors, eq(books.authorId, authors.id)).innerJoin(bookTags, eq(bookTags.bookId, books.id)).fullJoin(tags, eq(tags.id, bookTags.tagId)),
    groups: () => db.select({ author: books.authorId, n: count(), d: countDistinct(books.title), s: sum(books.price), a: avg(books.price), m: max(books.price) }).from(books).groupBy(books.authorId).having(({ n }) => gt(n, 0)), with: () => db.with(per).select().from(per).innerJoin(authors, eq(authors.id, per.author)), sub: () => db.select().from(sq).where(exists(db.select().from(authors).where(eq(authors.id, 1)))), distinct: () => db.selectDistinctOn([books.authorId]).from(books).orderBy(books.authorId), plain: () => db.selectDistinct({ t: books.title }).from(books), count: () => db.$count(books, gt(books.price, "1")), lateral: () => db.select().from(authors).leftJoinLateral(db.select().from(books).where(eq(books.authorId, authors.id)).limit(1).as("one"), sql`true`), view: () => db.select().from(cheap),
    unions: () => pg.union(db.select({ t: books.title }).from(books), db.select({ t: authors.name }).from(authors)).orderBy(sql`1`).limit(3), except: () => pg.exceptAll(db.select({ t: books.title }).from(books), db.select({ t: authors.name }).from(authors)), intersect: () => pg.intersect(db.select({ t: books.title }).from(books), db.select({ t: authors.name }).from(authors)),
    relational: () => db.query.authors.findMany({ columns: { id: true, name: true }, with: { books: { where: gt(books.price, "0"), orderBy: [desc(books.price)], limit: 2, with: { bookTags: { with: { tag: true } } }, extras: { low: sql`lower(${books.title})`.as("low") } } }, where: (a, { like }) => like(a.name, "A%"), limit: 2, offset: 0 }), first: () => db.query.books.findFirst({ with: { author: true } }),
    writes: async () => { await db.update(books).set({ price: sql`${books.price} + 1`, state: "published" }).where(eq(books.title, "B1")).returning(); await db.update(books).set({ title: authors.name }).from(authors).where(and(eq(books.authorId, authors.id), eq(books.title, "no"))); await db.delete(books).where(isNull(books.title)).returning(); await db.with(per).delete(tags).where(sql`${tags.id} in (select n from per where n > 1000)`); await db.insert(authors).select(db.select({ id: sql`nextval('dz_author_id_seq')`.as("id"), name: sql`name || ' d'`.as("name"), born: sql`null::date`.as("born") }).from(sql`customers`).limit(2)); },
    upsert: async () => { await db.insert(authors).values({ name: "A1" }).onConflictDoUpdate({ target: authors.name, set: { born: "1971-01-01", name: sql`excluded.name` }, setWhere: gt(authors.id, 0) }).returning(); await db.insert(authors).values({ name: "A1" }).onConflictDoNothing({ target: authors.name }); },
    transactions: () => db.transaction(async (t) => { await t.select().from(books).for("update", { skipLocked: true }).limit(1); await t.select().from(books).for("share", { of: books, noWait: true }).limit(1); await t.transaction(async (inner) => { await inner.insert(tags).values({ name: "inner" }); inner.rollback(); }).catch(() => 0); }, { isolationLevel: "serializable", accessMode: "read write", deferrable: true }),
    prepared: async () => { const prepared = db.select().from(books).where(eq(books.title, sql.placeholder("t"))).prepare("by_title"); await prepared.execute({ t: "B1" }); await prepared.execute({ t: "B2" }); }, raw: async () => { await db.execute(sql`select o.id, c.email from orders o join customers c on c.id = o.customer_id where o.status = ${"paid"} limit 3`); await db.refreshMaterializedView(pg.pgMaterializedView("best_sellers", {}).existing()); await db.execute(sql`select ${sql.identifier("total")} from order_totals limit 1`); },
  };
  for (const [name, step] of Object.entries(steps)) await tried(name, step);
  await pool.query("CREATE DATABASE pushed");
  kit("pull", "--config", "drizzle.config.json");
  kit("push", "--force", "--config", "drizzle-push.config.json");
  kit("push", "--force", "--config", "drizzle-push.config.json");
  await pool.query("DROP DATABASE pushed WITH (FORCE)");
  await pool.end();
}
main().catch((error) => { console.error(error); process.exit(1); });
