const pg = require("drizzle-orm/pg-core");
const { relations, sql } = require("drizzle-orm");

const state = pg.pgEnum("dz_state", ["draft", "published"]);
const authors = pg.pgTable("dz_author", { id: pg.serial("id").primaryKey(), name: pg.varchar("name", { length: 100 }).notNull().unique(), born: pg.date("born") });
const tags = pg.pgTable("dz_tag", { id: pg.integer("id").primaryKey().generatedAlwaysAsIdentity(), name: pg.text("name") });
const books = pg.pgTable("dz_book", {
  id: pg.uuid("id").primaryKey().defaultRandom(), title: pg.text("title").notNull(), price: pg.numeric("price", { precision: 8, scale: 2 }).default("0"), data: pg.jsonb("data"), labels: pg.text("labels").array(), state: state("state").default("draft"),
  made: pg.timestamp("made", { withTimezone: true }).defaultNow(), authorId: pg.integer("author_id").references(() => authors.id, { onDelete: "cascade" }), twice: pg.numeric("twice").generatedAlwaysAs(sql`price * 2`),
}, (t) => [pg.index("dz_title").on(t.title.desc()), pg.uniqueIndex("dz_lower").on(sql`lower(${t.title})`), pg.check("dz_price", sql`${t.price} >= 0`), pg.index("dz_data").using("gin", t.data)]);
const bookTags = pg.pgTable("dz_book_tag", { bookId: pg.uuid("book_id").references(() => books.id).notNull(), tagId: pg.integer("tag_id").references(() => tags.id).notNull() }, (t) => [pg.primaryKey({ columns: [t.bookId, t.tagId] })]);
const cheap = pg.pgView("dz_cheap").as((q) => q.select({ id: books.id, title: books.title }).from(books).where(sql`${books.price} < 5`));
module.exports = {
  state, authors, tags, books, bookTags, cheap,
  authorRelations: relations(authors, ({ many }) => ({ books: many(books) })),
  bookRelations: relations(books, ({ one, many }) => ({ author: one(authors, { fields: [books.authorId], references: [authors.id] }), bookTags: many(bookTags) })),
  bookTagRelations: relations(bookTags, ({ one }) => ({ book: one(books, { fields: [bookTags.bookId], references: [books.id] }), tag: one(tags, { fields: [bookTags.tagId], references: [tags.id] }) })),
};
