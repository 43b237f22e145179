"""Tortoise over asyncpg: schema, queries of each kind."""
import asyncio
import os

from tortoise import Tortoise, fields
from tortoise.expressions import Case, F, Q, RawSQL, Subquery, When
from tortoise.functions import Avg, Coalesce, Count, Lower, Max, Sum
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Author(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=100, unique=True)

    class Meta:
        table = "tt_author"


class Tag(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()

    class Meta:
        table = "tt_tag"


class Book(Model):
    id = fields.UUIDField(primary_key=True)
    title = fields.CharField(max_length=200, db_index=True)
    price = fields.DecimalField(8, 2, default=0)
    data = fields.JSONField(default=dict)
    made = fields.DatetimeField(auto_now_add=True)
    author = fields.ForeignKeyField("models.Author", related_name="books")
    tags = fields.ManyToManyField("models.Tag", related_name="books", through="tt_book_tag")

    class Meta:
        table = "tt_book"


async def main():
    await Tortoise.init(db_url=os.environ["DATABASE_URL"].replace("postgresql", "asyncpg"), modules={"models": ["__main__"]})
    await Tortoise.generate_schemas()
    authors = [await Author.create(name=f"A{n}") for n in range(3)]
    tags = [await Tag.create(name=f"t{n}") for n in range(3)]
    books = [await Book.create(title=f"B{n}", price=n, author=authors[n % 3], data={"n": n}) for n in range(6)]
    for book in books:
        await book.tags.add(*tags[:2])
    await books[0].tags.remove(tags[0])
    await Tag.bulk_create([Tag(name="x"), Tag(name="y")])
    await Author.bulk_create([Author(name="A1")], on_conflict=["name"], update_fields=["name"])
    await Author.bulk_create([Author(name="A1")], ignore_conflicts=True)
    await Book.filter(title__icontains="b", price__gte=1).exclude(author__name="A0").order_by("-price").limit(3)
    await Book.filter(Q(title="B1") | Q(price__in=[1, 2])).prefetch_related("tags", "author")
    await Book.all().select_related("author")
    await Book.filter(data__contains={"n": 1})
    await Author.annotate(n=Count("books"), total=Sum("books__price")).filter(n__gt=1).values("name", "n", "total")
    await Book.annotate(low=Lower("title"), k=Case(When(price__gt=2, then="1"), default="0")).values_list("low", "k")
    await Book.all().count(), await Book.filter(title="B1").exists(), await Book.get(title="B1"), await Book.first(), await Book.get_or_none(title="no")
    await Book.filter(author_id__in=Subquery(Author.filter(name="A1").values("id")))
    await Book.annotate(s=RawSQL("price * 2")).values("s"), await Book.annotate(m=Max("price"), a=Avg("price"), c=Coalesce("price", 0)).group_by("author_id").values("author_id", "m", "a")
    await Book.filter(price__lt=2).update(price=F("price") + 1)
    await Book.bulk_update(books, fields=["title"])
    await Author.get_or_create(name="new"), await Author.update_or_create({"name": "newer"}, name="new")
    async with in_transaction() as connection:
        await Book.filter(title="B2").using_db(connection).select_for_update()
        await connection.execute_query("SELECT id, total FROM order_totals WHERE total > $1", [5])
    await books[3].delete(), await Book.filter(title="B4").delete(), await Book.raw("SELECT * FROM tt_book")
    async for book in Book.all():
        await book.fetch_related("tags")
    await Tortoise.close_connections()


asyncio.run(main())
