// TypeORM: schema synchronisation twice (the second finds everything there), migrations, repositories, the query builder.
require("reflect-metadata");
const { Between, Brackets, DataSource, EntitySchema, ILike, In, IsNull, LessThan, Like, MoreThan, Not, Raw, ArrayContains, ArrayOverlap, Any, Table, TableColumn, TableForeignKey, TableIndex, TableUnique, TableCheck } = require("typeorm");

const tried = async (name, step) => { try { await step(); } catch (error) { console.error(`${name}: ${error.message}`.slice(0, 300)); } };

const Author = new EntitySchema({ name: "Author", tableName: "to_author", columns: { id: { type: Number, primary: true, generated: true }, name: { type: String, unique: true, comment: "as printed" }, born: { type: "date", nullable: true } }, relations: { books: { type: "one-to-many", target: "Book", inverseSide: "author", cascade: true } } });
const Tag = new EntitySchema({ name: "Tag", tableName: "to_tag", columns: { id: { type: Number, primary: true, generated: true }, name: { type: String } } });
const Book = new EntitySchema({
  name: "Book", tableName: "to_book",
  columns: { id: { type: "uuid", primary: true, generated: "uuid" }, title: { type: String, length: 200 }, price: { type: "numeric", precision: 8, scale: 2, default: 0 }, labels: { type: "text", array: true, default: "{}" }, data: { type: "jsonb", nullable: true }, state: { type: "enum", enum: ["draft", "published"], default: "draft" }, sale: { type: "daterange", nullable: true }, cover: { type: "bytea", nullable: true, select: false }, made: { type: "timestamptz", createDate: true }, changed: { type: "timestamptz", updateDate: true }, gone: { type: "timestamptz", deleteDate: true }, version: { type: "int", version: true }, twice: { type: "numeric", generatedType: "STORED", asExpression: "price * 2", nullable: true } },
  relations: { author: { type: "many-to-one", target: "Author", inverseSide: "books", onDelete: "CASCADE", nullable: true }, tags: { type: "many-to-many", target: "Tag", joinTable: { name: "to_book_tag" } } },
  indices: [{ columns: ["title"] }, { columns: ["price"], where: '"price" > 1' }], uniques: [{ columns: ["author", "title"] }], checks: [{ expression: "price >= 0" }],
});
const Category = new EntitySchema({ name: "Category", tableName: "to_category", columns: { id: { type: Number, primary: true, generated: true }, name: { type: String } }, trees: [{ type: "closure-table" }], relations: { parent: { type: "many-to-one", target: "Category", treeParent: true }, children: { type: "one-to-many", target: "Category", treeChildren: true, inverseSide: "parent" } } });
const Cheap = new EntitySchema({ name: "Cheap", type: "view", tableName: "to_cheap", expression: 'SELECT id, title FROM to_book WHERE price < 5', columns: { id: { type: String }, title: { type: String } } });

class First1700000000000 {
  name = "First1700000000000";
  async up(q) {
    await q.createTable(new Table({ name: "to_later", columns: [{ name: "id", type: "int", isPrimary: true, isGenerated: true, generationStrategy: "increment" }, { name: "a", type: "varchar", length: "20", default: "'x'" }, { name: "e", type: "enum", enum: ["a", "b"] }, { name: "author_id", type: "int", isNullable: true }] }), true);
    await q.addColumn("to_later", new TableColumn({ name: "b", type: "jsonb", isNullable: true })); await q.changeColumn("to_later", "a", new TableColumn({ name: "c", type: "text", isNullable: true })); await q.createIndex("to_later", new TableIndex({ columnNames: ["c"], isUnique: true })); await q.createForeignKey("to_later", new TableForeignKey({ columnNames: ["author_id"], referencedTableName: "to_author", referencedColumnNames: ["id"], onDelete: "SET NULL" })); await q.createUniqueConstraint("to_later", new TableUnique({ columnNames: ["c", "author_id"] })); await q.createCheckConstraint("to_later", new TableCheck({ expression: "id > 0" })); await q.query("INSERT INTO to_later (c, e) VALUES ($1, $2)", ["one", "a"]); await q.renameTable("to_later", "to_last"); await q.dropColumn("to_last", "b");
    await q.hasTable("to_last"); await q.hasColumn("to_last", "c"); await q.getTable("orders"); await q.getTables(["customers", "items"]); await q.getViews([]); await q.getSchemas().catch(() => 0); await q.hasDatabase("shop"); await q.hasSchema("warehouse"); await q.getCurrentSchema(); await q.getCurrentDatabase();
  }
  async down(q) { await q.dropTable("to_last"); await q.query('DROP TYPE IF EXISTS "to_later_e_enum", "to_last_e_enum"'); }
}

async function main() {
  const options = { type: "postgres", url: process.env.DATABASE_URL, entities: [Author, Book, Tag, Category, Cheap], synchronize: true, migrations: [First1700000000000], migrationsTransactionMode: "each" };
  let db = await new DataSource(options).initialize();
  await db.synchronize();
  await db.runMigrations(); await db.showMigrations(); await db.undoLastMigration(); await db.runMigrations();
  const [authors, books, tags, categories] = ["Author", "Book", "Tag", "Category"].map((name) => (name === "Category" ? db.getTreeRepository(name) : db.getRepository(name)));
  const made = await authors.save([{ name: "A1", books: [{ title: "B1", price: 1, labels: ["a"], data: { n: 1 } }, { title: "B2", price: 2 }] }, { name: "A2", books: [{ title: "B3", price: 3, sale: "[2026-01-01,2026-02-01)" }] }]);
  const tag = await tags.save([{ name: "t1" }, { name: "t2" }]);
  const root = await categories.save({ name: "root" }); await categories.save({ name: "leaf", parent: root });
  const one = await books.findOne({ where: { title: "B1" }, relations: { tags: true, author: true } });
  one.tags = tag; await books.save(one); one.tags = [tag[0]]; one.price = 9; await books.save(one);
  const q = () => books.createQueryBuilder("b");
  const steps = {
    find: () => books.find({ where: [{ price: MoreThan(1), title: ILike("%b%") }, { state: "draft", author: { name: "A1" } }, { price: LessThan(3), gone: IsNull(), title: Not(Like("x%")) }], relations: { author: true, tags: true }, order: { price: { direction: "DESC", nulls: "LAST" }, author: { name: "ASC" } }, take: 2, skip: 1 }),
    operators: () => books.find({ where: { price: Between(1, 5), title: In(["B1", "B2"]), labels: ArrayContains(["a"]), version: Any([1, 2, 3]), state: Raw((c) => `${c} = :s`, { s: "draft" }) } }), overlap: () => books.find({ where: { labels: ArrayOverlap(["a"]) }, select: { id: true, title: true, author: { name: true } }, relations: { author: true }, withDeleted: true, relationLoadStrategy: "query" }),
    counts: async () => { await books.findAndCount({ where: { state: "draft" }, take: 1 }); await books.countBy({ price: MoreThan(1) }); await books.exists({ where: { title: "B1" } }); await books.existsBy({ title: "B2" }); await books.sum("price"); await books.average("price"); await books.maximum("price", { state: "draft" }); await books.minimum("price"); await books.findOneBy({ title: "B1" }); await authors.findBy({ name: "A1" }); },
    joins: () => q().leftJoinAndSelect("b.author", "a").innerJoin("b.tags", "t", "t.name = :n", { n: "t1" }).where("b.price > :p", { p: 0 }).andWhere(new Brackets((w) => w.where("a.name = :x", { x: "A1" }).orWhere("b.title ILIKE :y", { y: "%b%" }))).orderBy("b.price", "DESC", "NULLS LAST").addOrderBy("b.id").skip(0).take(2).getManyAndCount(),
    groups: () => q().select("b.authorId", "author").addSelect("COUNT(*)", "n").addSelect("SUM(b.price)", "s").groupBy("b.authorId").having("COUNT(*) > :m", { m: 0 }).getRawMany(), sub: () => q().where((w) => "b.authorId IN " + w.subQuery().select("a.id").from("Author", "a").where("a.name = :n", { n: "A1" }).getQuery()).getMany(), cte: () => q().addCommonTableExpression("SELECT id FROM to_author", "who").where('b."authorId" IN (SELECT id FROM who)').getMany(), distinct: () => q().distinctOn(["b.authorId"]).orderBy("b.authorId").getMany(),
    map: () => authors.createQueryBuilder("a").loadRelationCountAndMap("a.n", "a.books").loadAllRelationIds().getMany().catch(() => authors.createQueryBuilder("a").loadRelationCountAndMap("a.n", "a.books").getMany()), json: () => q().where("b.data ->> 'n' = :n", { n: "1" }).andWhere("b.data @> :o", { o: { n: 1 } }).getMany(), window: () => q().select("b.title", "t").addSelect("RANK() OVER (PARTITION BY b.\"authorId\" ORDER BY b.price DESC)", "place").getRawMany(), stream: async () => { for await (const row of await db.createQueryBuilder().select("o").from("orders", "o").limit(3).getRawMany()) void row; },
    writes: async () => { await books.update({ title: "B2" }, { price: () => "price + 1" }); await books.increment({ title: "B2" }, "price", 2); await books.decrement({ title: "B2" }, "price", 1); await q().update().set({ state: "published" }).where("title = :t", { t: "B2" }).returning("*").execute(); await q().insert().into("Tag").values([{ name: "x" }, { name: "y" }]).returning(["id"]).execute(); await books.insert({ title: "ins", price: 1 }); await q().delete().where("title = :t", { t: "ins" }).execute(); },
    upsert: async () => { await authors.upsert([{ name: "A1", born: "1970-01-01" }, { name: "A7" }], ["name"]); await authors.upsert({ name: "A1", born: "1971-01-01" }, { conflictPaths: ["name"], skipUpdateIfNoValuesChanged: true }); await db.createQueryBuilder().insert().into("Author").values({ name: "A1" }).orIgnore().execute(); },
    removes: async () => { const gone = await books.findOneByOrFail({ title: "B3" }); await books.softRemove(gone); await books.recover(gone); await books.softDelete({ title: "B3" }); await books.restore({ title: "B3" }); await books.remove(gone); await tags.delete([99]); },
    relation: async () => { await db.createQueryBuilder().relation("Book", "tags").of(one).add(tag[1]); await db.createQueryBuilder().relation("Book", "tags").of(one).remove(tag[1]); await db.createQueryBuilder().relation("Author", "books").of(made[0]).loadMany(); await db.createQueryBuilder().relation("Book", "author").of(one).set(made[1]); },
    trees: async () => { await categories.findTrees(); await categories.findRoots(); await categories.findDescendants(root); await categories.findAncestors(root); await categories.countDescendants(root); await categories.findDescendantsTree(root); },
    transactions: () => db.transaction("SERIALIZABLE", async (m) => { await m.find(Book, { lock: { mode: "pessimistic_write" }, take: 1 }); await m.findOne(Book, { where: { title: "B2" }, lock: { mode: "pessimistic_read" } }); await m.createQueryBuilder(Book, "b").setLock("pessimistic_write", undefined, ["b"]).setOnLocked("skip_locked").getMany(); await m.createQueryBuilder(Book, "b").setLock("for_no_key_update").setOnLocked("nowait").getMany(); await m.transaction(async (inner) => { await inner.save(Tag, { name: "inner" }); throw new Error("no"); }).catch(() => 0); }),
    existing: async () => { await db.query("SELECT id, total FROM order_totals WHERE total > $1 LIMIT 3", [5]); await db.query("SELECT * FROM customers WHERE email = $1", ["customer1@shop.example"]); await db.getRepository("Cheap").find({ take: 1 }); await db.createQueryBuilder().select(["o.id", "c.email"]).from("orders", "o").innerJoin("customers", "c", "c.id = o.customer_id").where("o.status = :s", { s: "paid" }).limit(2).getRawMany(); },
    clear: async () => { await db.query("TRUNCATE to_tag CASCADE"); await tags.clear().catch(() => 0); },
  };
  for (const [name, step] of Object.entries(steps)) await tried(name, step);
  await db.destroy();
  db = await new DataSource({ ...options, dropSchema: false }).initialize();
  await db.destroy();
}
main().catch((error) => { console.error(error); process.exit(1); });
