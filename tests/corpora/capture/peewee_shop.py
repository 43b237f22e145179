"""Peewee: tables, queries of each kind, introspection."""
import datetime
import os

import peewee as p
from playhouse.migrate import PostgresqlMigrator, migrate
from playhouse.postgres_ext import ArrayField, BinaryJSONField, PostgresqlExtDatabase, TSVectorField
from playhouse.reflection import generate_models

db = PostgresqlExtDatabase("shop", user=os.environ["PGUSER"], host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), register_hstore=False)


class Base(p.Model):
    class Meta:
        database = db


class Author(Base):
    name = p.CharField(unique=True)
    born = p.DateField(null=True)

    class Meta:
        table_name = "pw_author"


class Book(Base):
    author = p.ForeignKeyField(Author, backref="books", on_delete="CASCADE")
    title = p.TextField(index=True)
    price = p.DecimalField(default=1, constraints=[p.Check("price >= 0")])
    labels = ArrayField(p.TextField, null=True)
    data = BinaryJSONField(null=True)
    made = p.DateTimeField(default=datetime.datetime.now)
    search = TSVectorField(null=True)

    class Meta:
        table_name = "pw_book"
        indexes = ((("author", "title"), True),)


with db:
    db.create_tables([Author, Book])
    author = Author.create(name="One", born=datetime.date(1970, 1, 1))
    Author.insert_many([{"name": "Two"}, {"name": "Three"}]).returning(Author.id).execute()
    Author.insert(name="One").on_conflict(conflict_target=[Author.name], update={Author.name: "Uno"}).execute()
    Author.insert(name="Two").on_conflict_ignore().execute()
    Book.bulk_create([Book(author=author, title=f"B{n}", price=n, labels=["a"], data={"n": n}) for n in range(5)])
    list(Book.select(Book, Author).join(Author).where((Book.price > 1) & (Author.name ** "u%")).order_by(Book.price.desc()).limit(2))
    list(Author.select(Author, p.fn.COUNT(Book.id).alias("n")).join(Book, p.JOIN.LEFT_OUTER).group_by(Author).having(p.fn.COUNT(Book.id) > 0))
    list(Book.select().where(Book.data.contains({"n": 1}), Book.labels.contains("a")))
    list(p.prefetch(Author.select(), Book.select()))
    list(Book.select(Book.title, p.fn.RANK().over(partition_by=[Book.author], order_by=[Book.price])))
    Book.update(price=Book.price + 1, search=p.fn.to_tsvector("simple", Book.title)).where(Book.title == "B1").returning(Book).execute()
    list(Book.select().where(Book.search.match("b1")))
    Book.get_or_none(Book.title == "B9"), Book.select().exists(), Book.select().count(), Book.get_by_id(1).author.name
    with db.atomic() as outer:
        with db.atomic() as inner:
            Book.delete().where(Book.title == "B2").execute()
            inner.rollback()
    cte = Book.select(Book.author, p.fn.SUM(Book.price).alias("s")).group_by(Book.author).cte("sums")
    list(Author.select(Author.name, cte.c.s).join(cte, on=(cte.c.author_id == Author.id)).with_cte(cte))
    list(Author.select().where(Author.id.in_(Book.select(Book.author)))), list(Author.select().where(Author.name == "a") | Author.select().where(Author.name == "b"))
    list(Book.select().for_update("FOR UPDATE SKIP LOCKED", of=Book).limit(1))
    author.name = "Changed"
    author.save(), Book.get_by_id(3).delete_instance()
    migrator = PostgresqlMigrator(db)
    migrate(migrator.add_column("pw_author", "email", p.TextField(null=True)), migrator.rename_column("pw_author", "email", "mail"), migrator.add_index("pw_author", ("mail",)), migrator.drop_not_null("pw_book", "title"), migrator.drop_column("pw_author", "mail"))
    generate_models(db), db.get_tables(), db.get_columns("orders"), db.get_indexes("orders"), db.get_foreign_keys("orders"), db.get_views(), db.get_primary_keys("orders"), db.sequence_exists("invoice_number")
    Author.truncate_table(cascade=True, restart_identity=True)
