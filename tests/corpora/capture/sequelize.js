// Sequelize: sync, queries of each kind, the query interface that its migrations use.
const { DataTypes, Op, QueryTypes, Sequelize, Transaction } = require("sequelize");

const db = new Sequelize(process.env.DATABASE_URL, { dialect: "postgres", logging: false });
const tried = async (name, step) => { try { await step(); } catch (error) { console.error(`${name}: ${error.message}`.slice(0, 300)); } };

async function main() {
  const Author = db.define("SqAuthor", { name: { type: DataTypes.STRING(100), unique: true, allowNull: false }, born: DataTypes.DATEONLY }, { comment: "who writes" });
  const Book = db.define("SqBook", {
    id: { type: DataTypes.UUID, defaultValue: DataTypes.UUIDV4, primaryKey: true },
    title: { type: DataTypes.TEXT, allowNull: false }, price: { type: DataTypes.DECIMAL(8, 2), defaultValue: 0 },
    labels: DataTypes.ARRAY(DataTypes.TEXT), data: DataTypes.JSONB, state: DataTypes.ENUM("draft", "published"), sale: DataTypes.RANGE(DataTypes.DATEONLY), cover: DataTypes.BLOB,
  }, { paranoid: true, version: true, indexes: [{ fields: ["title"] }, { fields: ["data"], using: "gin" }, { fields: ["price"], where: { price: { [Op.gt]: 1 } } }] });
  const Tag = db.define("SqTag", { name: DataTypes.STRING }, { timestamps: false });
  Author.hasMany(Book, { as: "books", foreignKey: "authorId", onDelete: "CASCADE" });
  Book.belongsTo(Author, { as: "author", foreignKey: "authorId" });
  Book.belongsToMany(Tag, { through: "SqBookTag", as: "tags" });
  Tag.belongsToMany(Book, { through: "SqBookTag", as: "books" });
  await db.authenticate();
  await db.sync({ force: true });
  await db.sync({ alter: true });
  const authors = await Author.bulkCreate([{ name: "A1" }, { name: "A2", born: "1970-01-01" }, { name: "A3" }], { returning: true });
  const tags = await Tag.bulkCreate([{ name: "t1" }, { name: "t2" }], { returning: true });
  const books = [];
  for (let n = 0; n < 6; n++) books.push(await Book.create({ title: `B${n}`, price: n, labels: ["a", "b"], data: { n, deep: { x: [1] } }, state: "draft", sale: ["2026-01-01", "2026-02-01"], authorId: authors[n % 3].id, cover: Buffer.from("x") }));
  for (const book of books) await book.addTags(tags);
  await books[0].removeTag(tags[0]); await books[1].setTags([tags[1]]); await books[2].countTags(); await books[2].hasTag(tags[0]); await authors[0].getBooks(); await authors[0].createBook({ title: "made" });
  const steps = {
    where: () => Book.findAll({ where: { price: { [Op.gte]: 1, [Op.lt]: 9 }, title: { [Op.iLike]: "%b%" }, [Op.or]: [{ state: "draft" }, { state: null }], [Op.not]: { title: "x" } }, order: [["price", "DESC NULLS LAST"], "title"], limit: 3, offset: 1 }),
    arrays: () => Book.findAll({ where: { labels: { [Op.contains]: ["a"], [Op.overlap]: ["b"] }, data: { n: { [Op.gt]: 1 } }, sale: { [Op.contains]: "2026-01-05" } } }),
    json: () => Book.findAll({ where: { "data.n": 3 }, attributes: ["id", [db.json("data.deep.x"), "x"]] }),
    jsonContains: () => Book.findAll({ where: { data: { [Op.contains]: { n: 1 } } } }),
    ins: () => Book.findAll({ where: { title: ["B1", "B2"], price: { [Op.between]: [1, 3], [Op.notIn]: [7] }, id: { [Op.ne]: null } } }),
    regexp: () => Book.findAll({ where: { title: { [Op.regexp]: "^B", [Op.startsWith]: "B", [Op.substring]: "1" } } }),
    include: () => Author.findAll({ include: [{ model: Book, as: "books", where: { price: { [Op.gt]: 0 } }, required: false, include: [{ model: Tag, as: "tags" }] }], limit: 2, order: [["name", "ASC"], [{ model: Book, as: "books" }, "price", "DESC"]] }),
    separate: () => Author.findAll({ include: [{ model: Book, as: "books", separate: true, limit: 2 }] }),
    nested: () => Book.findAll({ where: { "$author.name$": "A1" }, include: ["author"], subQuery: false }),
    groups: () => Book.findAll({ attributes: ["authorId", [db.fn("COUNT", db.col("id")), "n"], [db.fn("AVG", db.col("price")), "mean"]], group: "authorId", having: db.where(db.fn("COUNT", db.col("id")), Op.gt, 1), raw: true }),
    count: () => Book.findAndCountAll({ where: { state: "draft" }, include: ["author"], distinct: true, limit: 2 }),
    aggregates: async () => { await Book.sum("price"); await Book.max("price"); await Book.min("title"); await Book.count({ group: ["state"] }); },
    literal: () => Book.findAll({ attributes: { include: [[db.literal('(SELECT count(*) FROM "SqBookTag" t WHERE t."SqBookId" = "SqBook"."id")'), "tagged"]], exclude: ["cover"] } }),
    one: async () => { await Book.findByPk(books[0].id); await Book.findOne({ where: { title: "B1" }, paranoid: false }); await Author.findOrCreate({ where: { name: "F" } }); await Author.findOrBuild({ where: { name: "F" } }); await Author.findCreateFind({ where: { name: "F" } }); },
    updates: async () => { await Book.update({ price: db.literal("price + 1"), state: "published" }, { where: { title: "B2" }, returning: true }); await books[3].update({ title: "changed" }); await books[3].increment("price", { by: 2 }); await Book.increment({ price: 1 }, { where: { title: "B4" } }); await books[3].reload(); },
    upsert: async () => { await Author.upsert({ name: "A1", born: "1980-01-01" }, { conflictFields: ["name"] }); await Author.bulkCreate([{ name: "A1" }, { name: "A9" }], { updateOnDuplicate: ["updatedAt"], conflictAttributes: ["name"] }); await Tag.bulkCreate([{ name: "x" }], { ignoreDuplicates: true }); },
    deletes: async () => { for (const n of [4, 5]) await books[n].reload(); await books[4].destroy(); await books[4].restore(); await books[5].destroy({ force: true }); await Book.destroy({ where: { title: "no" } }); await Tag.destroy({ where: { name: "x" }, limit: 1 }); },
    transactions: () => db.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE }, async (t) => { await Book.findAll({ transaction: t, lock: t.LOCK.UPDATE, skipLocked: true, limit: 1 }); await Book.findAll({ transaction: t, lock: { level: t.LOCK.SHARE, of: Book }, include: [{ model: Author, as: "author", required: true }], limit: 1 }); const inner = await db.transaction({ transaction: t }); await inner.rollback(); }),
    raw: async () => { await db.query("SELECT id, total FROM order_totals WHERE total > :t AND status IN (:s)", { replacements: { t: 5, s: ["new", "paid"] }, type: QueryTypes.SELECT }); await db.query("SELECT * FROM customers WHERE id = $1", { bind: [1] }); await db.query("UPDATE orders SET note = 'x' WHERE id = 1", { type: QueryTypes.UPDATE }); },
    interface: async () => {
      const q = db.getQueryInterface();
      await tried("showAllTables", () => q.showAllTables());
      await tried("showAllSchemas", () => q.showAllSchemas());
      await tried("describeTable", () => q.describeTable("orders"));
      await tried("describeTable", () => q.describeTable({ tableName: "stock", schema: "warehouse" }));
      await tried("showIndex", () => q.showIndex("orders"));
      await tried("getForeignKeyReferencesForTable", () => q.getForeignKeyReferencesForTable("orders"));
      await tried("showConstraint", () => q.showConstraint("SqBooks"));
      await tried("databaseVersion", () => q.databaseVersion());
      await tried("tableExists", () => q.tableExists("orders"));
      await tried("createTable", () => q.createTable("sq_later", { id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true }, a: { type: DataTypes.STRING, defaultValue: "x", comment: "c" } }));
      await tried("addColumn", () => q.addColumn("sq_later", "b", { type: DataTypes.JSONB, allowNull: true }));
      await tried("changeColumn", () => q.changeColumn("sq_later", "a", { type: DataTypes.TEXT, allowNull: false, defaultValue: "y" }));
      await tried("renameColumn", () => q.renameColumn("sq_later", "a", "c"));
      await tried("removeColumn", () => q.removeColumn("sq_later", "b"));
      await tried("addIndex", () => q.addIndex("sq_later", ["c"], { unique: true, concurrently: true }));
      await tried("removeIndex", () => q.removeIndex("sq_later", ["c"]));
      await tried("addConstraint", () => q.addConstraint("sq_later", { fields: ["c"], type: "unique", name: "sq_u" }));
      await tried("addConstraint", () => q.addConstraint("sq_later", { fields: ["c"], type: "check", where: { c: ["y", "z"] }, name: "sq_c" }));
      await tried("removeConstraint", () => q.removeConstraint("sq_later", "sq_u"));
      await tried("bulkInsert", () => q.bulkInsert("sq_later", [{ c: "y" }, { c: "z" }]));
      await tried("bulkUpdate", () => q.bulkUpdate("sq_later", { c: "y" }, { c: "z" }).catch(() => 0));
      await tried("bulkDelete", () => q.bulkDelete("sq_later", { c: "z" }));
      await tried("createFunction", () => q.createFunction("sq_fn", [{ type: "integer", name: "n" }], "integer", "plpgsql", "RETURN n + 1;"));
      await tried("dropFunction", () => q.dropFunction("sq_fn", [{ type: "integer", name: "n" }]));
      await tried("renameTable", () => q.renameTable("sq_later", "sq_last"));
      await tried("dropTable", () => q.dropTable("sq_last"));
      await tried("createSchema", () => q.createSchema("sq"));
      await tried("dropSchema", () => q.dropSchema("sq"));
    },
    truncate: () => Tag.truncate({ cascade: true, restartIdentity: true }),
  };
  for (const [name, step] of Object.entries(steps)) await tried(name, step);
  await db.close();
}
main();
