"""Django: migrations with all contrib apps, queries of each kind, the admin, introspection, and its test runner."""
import os
import pathlib
import subprocess
import sys

if __name__ == "__main__" and len(sys.argv) == 1:
    files = {
        "shopapp/__init__.py": "",
        "shopapp/models.py": '''
from django.contrib.auth.models import User
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, DateRangeField, HStoreField, RangeOperators
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
import uuid

class Note(models.Model):
    text = models.TextField()
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    target = GenericForeignKey()

class Tag(models.Model):
    name = models.SlugField(unique=True)

class Author(models.Model):
    name = models.CharField(max_length=100, db_index=True)
    email = models.EmailField(null=True, blank=True)
    born = models.DateField(null=True)
    user = models.OneToOneField(User, models.SET_NULL, null=True)
    notes = GenericRelation(Note)
    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="author_lower")]

class Publisher(models.Model):
    name = models.CharField(max_length=100)
    founded = models.DurationField(null=True)

class Book(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2, db_default=1)
    pages = models.PositiveSmallIntegerField(default=1)
    authors = models.ManyToManyField(Author, related_name="books")
    publisher = models.ForeignKey(Publisher, models.PROTECT, related_name="books")
    tags = models.ManyToManyField(Tag, through="Tagged")
    labels = ArrayField(models.CharField(max_length=20), default=list)
    data = models.JSONField(default=dict)
    extra = HStoreField(null=True)
    on_sale = DateRangeField(null=True)
    search = SearchVectorField(null=True)
    rating = models.FloatField(null=True)
    created = models.DateTimeField(auto_now_add=True)
    seen = models.DateTimeField(db_default=Now())
    double = models.GeneratedField(expression=F("price") * 2, output_field=models.DecimalField(max_digits=9, decimal_places=2), db_persist=True)
    cover = models.BinaryField(null=True)
    class Meta:
        indexes = [GinIndex(fields=["labels"]), BrinIndex(fields=["created"]), models.Index(F("price").desc(), name="book_price", condition=Q(pages__gt=0), include=["title"])]
        constraints = [models.CheckConstraint(condition=Q(price__gte=0), name="price_positive")]

class Tagged(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)
    weight = models.IntegerField(default=0)
    class Meta:
        unique_together = [("book", "tag")]

class Place(models.Model):
    name = models.CharField(max_length=50)

class Shop(Place):
    open = models.BooleanField(default=True)

class Booking(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE)
    span = DateRangeField()
    class Meta:
        constraints = [ExclusionConstraint(name="no_overlap", expressions=[("span", RangeOperators.OVERLAPS)], index_type="SPGIST", deferrable=None)]

class Customer(models.Model):
    """A table that was there before."""
    id = models.BigAutoField(primary_key=True)
    email = models.TextField()
    name = models.CharField(max_length=200)
    tags = ArrayField(models.TextField())
    active = models.BooleanField()
    class Meta:
        managed = False
        db_table = "customers"
''',
        "shopapp/admin.py": '''
from django.contrib import admin
from . import models
@admin.register(models.Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "price", "publisher", "created"]
    list_filter = ["publisher", "tags", "created"]
    search_fields = ["title", "authors__name"]
    date_hierarchy = "created"
    list_select_related = True
    raw_id_fields = ["publisher"]
admin.site.register([models.Author, models.Publisher, models.Tag])
''',
        "shopapp/tests.py": '''
from django.test import TestCase, TransactionTestCase
from .models import Tag
class Fast(TestCase):
    def test_one(self):
        Tag.objects.create(name="t")
class Slow(TransactionTestCase):
    serialized_rollback = True
    def test_one(self):
        Tag.objects.create(name="t")
    def test_two(self):
        self.assertEqual(Tag.objects.count(), 0)
''',
        "urls.py": "from django.contrib import admin\nfrom django.urls import path\nurlpatterns = [path('admin/', admin.site.urls)]\n",
        "settings.py": '''
import os
SECRET_KEY = "not one"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                  "django.contrib.messages", "django.contrib.sites", "django.contrib.flatpages", "django.contrib.redirects",
                  "django.contrib.postgres", "shopapp"]
SITE_ID = 1
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {"context_processors": [
    "django.template.context_processors.request", "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": os.environ["PGUSER"], "HOST": os.environ["PGHOST"],
                         "PORT": os.environ["PGPORT"], "PASSWORD": "unused",
                         "OPTIONS": {"server_side_binding": os.environ.get("BINDING") == "server"}}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache_entries"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
''',
    }
    for name, text in files.items():
        path = pathlib.Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def manage(*arguments, **environment):
        subprocess.run([sys.executable, "-m", "django", *arguments], stdout=subprocess.DEVNULL,
                       env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": ".", **environment})

    manage("makemigrations", "shopapp")
    migration = pathlib.Path("shopapp/migrations/0001_initial.py")
    text = migration.read_text()
    text = text.replace("operations = [", "operations = [\n        HStoreExtension(), TrigramExtension(), UnaccentExtension(), CryptoExtension(),\n", 1)
    migration.write_text("from django.contrib.postgres.operations import CryptoExtension, HStoreExtension, TrigramExtension, UnaccentExtension\n" + text)
    pathlib.Path("shopapp/migrations/0002_change.py").write_text('''
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models
def fill(apps, schema_editor):
    Publisher = apps.get_model("shopapp", "Publisher")
    Publisher.objects.bulk_create([Publisher(name=f"Publisher {n}") for n in range(3)], ignore_conflicts=True)
class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shopapp", "0001_initial")]
    operations = [
        migrations.AddField("publisher", "city", models.CharField(max_length=40, default="Bremen")),
        migrations.AddField("publisher", "old", models.IntegerField(null=True)),
        migrations.AlterField("publisher", "name", models.TextField(unique=True)),
        migrations.RenameField("publisher", "old", "older"),
        migrations.AlterField("publisher", "older", models.BigIntegerField(default=3)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL("CREATE VIEW cheap_books AS SELECT id, title FROM shopapp_book WHERE price < 5", "DROP VIEW cheap_books"),
        AddIndexConcurrently("publisher", models.Index(fields=["city"], name="publisher_city")),
        AddConstraintNotValid("publisher", models.CheckConstraint(condition=~models.Q(city=""), name="has_city")),
        ValidateConstraint("publisher", "has_city"),
        migrations.RemoveField("publisher", "older"),
        migrations.RemoveConstraint("publisher", "has_city"),
        migrations.RemoveIndex("publisher", "publisher_city"),
        migrations.RemoveField("publisher", "city"),
    ]
''')
    manage("migrate")
    manage("migrate", "shopapp", "0001")
    manage("migrate")
    manage("migrate", "--plan")
    manage("showmigrations")
    manage("sqlmigrate", "shopapp", "0001")
    manage("createcachetable")
    manage("inspectdb", "--include-partitions", "--include-views")
    manage("check", "--database", "default")
    manage("sqlsequencereset", "auth", "shopapp")
    for binding in "client", "server":
        subprocess.run([sys.executable, __file__, "queries"], env={**os.environ, "BINDING": binding, "DJANGO_SETTINGS_MODULE": "settings"})
    manage("dumpdata", "shopapp", "-o", "data.json")
    manage("loaddata", "data.json")
    manage("clearsessions")
    manage("remove_stale_contenttypes", "--no-input")
    manage("test", "--noinput")
    manage("flush", "--noinput")
    sys.exit()

import django

django.setup()
from datetime import date, timedelta

from django.contrib.auth.models import Group, Permission, User
from django.contrib.postgres import aggregates as pga
from django.contrib.postgres import search as pgs
from django.contrib.postgres.expressions import ArraySubquery
from django.core.cache import cache
from django.db import connection, models, transaction
from django.db.models import Avg, Case, Count, Exists, ExpressionWrapper, F, Max, Min, OuterRef, Prefetch, Q, StdDev, Subquery, Sum, Value, When, Window
from django.db.models import functions as fn
from django.test import Client
from django.utils import timezone

from shopapp.models import Author, Book, Booking, Customer, Note, Place, Publisher, Shop, Tag, Tagged

for model in (Note, Tagged, Book, Author, Tag, Publisher, Booking, Shop, Place):
    model.objects.all().delete()
User.objects.all().delete(), Group.objects.all().delete()
admin = User.objects.create_superuser("boss", "boss@shop.example", "boss")
group = Group.objects.create(name="staff")
group.permissions.set(Permission.objects.filter(content_type__app_label="shopapp"))
admin.groups.add(group)
admin.has_perm("shopapp.add_book"), User.objects.create_user("worker").get_all_permissions()
publishers = Publisher.objects.bulk_create([Publisher(name=f"P{n}", founded=timedelta(days=n)) for n in range(3)])
authors = [Author.objects.create(name=f"Author {n}", email=f"a{n}@shop.example", born=date(1960 + n, 1, 2)) for n in range(6)]
tags = [Tag.objects.get_or_create(name=f"tag-{n}")[0] for n in range(3)]
books = [Book.objects.create(title=f"Book {n}", price=n, pages=n * 10, publisher=publishers[n % 3], labels=["x", f"l{n}"], data={"n": n, "deep": {"a": [1, 2]}},
                             extra={"k": "v"}, on_sale=(date(2026, 1, 1), date(2026, 2, 1)), rating=n / 2) for n in range(8)]
for n, book in enumerate(books):
    book.authors.add(authors[n % 6], authors[(n + 1) % 6])
    Tagged.objects.create(book=book, tag=tags[n % 3], weight=n)
books[0].authors.set(authors[:2]), books[0].authors.remove(authors[0]), books[1].authors.clear()
Note.objects.create(text="n", target=authors[0]), list(authors[0].notes.all())
Shop.objects.create(name="Shop"), Shop.objects.filter(name="Shop", open=True).update(open=False, name="Shop 2")
Booking.objects.create(shop=Shop.objects.get(), span=(date(2026, 1, 1), date(2026, 1, 3)))
every = lambda query: list(query)
B = Book.objects
every(B.all()[:3]), B.first(), B.last(), B.count(), B.exists(), B.filter(title="Book 3").exists(), B.get(title="Book 3"), B.in_bulk([books[0].pk]), B.latest("created"), B.earliest("created")
every(B.filter(title__icontains="book", price__gte=1, price__lt=100).exclude(pages=10).order_by("-price", "title"))
every(B.filter(Q(title__startswith="Book") | Q(title__iendswith="x") & ~Q(rating__isnull=True)))
every(B.filter(title__regex="^B", title__iregex="ok", title__in=["a", "b"], pages__range=(1, 50), title__iexact="book 1"))
every(B.filter(created__date=date.today(), created__year=2026, created__month__gte=1, created__week_day=2, created__hour=3, created__quarter=1, created__iso_year=2026))
every(B.filter(labels__contains=["x"], labels__overlap=["l1"], labels__len=2, labels__0="x", labels__contained_by=["x", "l1"]))
every(B.filter(data__n=3, data__deep__a__0=1, data__has_key="n", data__contains={"n": 3}, data__deep__isnull=False, data__n__gt=1, data__has_any_keys=["n"], data__n__in=[1, 2]))
every(B.filter(extra__k="v", extra__has_key="k", extra__values__contains=["v"])), every(B.filter(on_sale__contains=date(2026, 1, 2), on_sale__startswith__lte=date(2026, 1, 3), on_sale__overlap=(date(2026, 1, 1), None), on_sale__isempty=False))
every(B.select_related("publisher").prefetch_related("authors", "tags", Prefetch("tagged_set", Tagged.objects.filter(weight__gt=2).select_related("tag"), to_attr="heavy")))
every(Author.objects.prefetch_related("notes", "books__publisher").filter(books__title__contains="1").distinct())
every(Note.objects.prefetch_related("target")), every(B.only("title")), every(B.defer("data", "cover")), every(B.values("title", "publisher__name")), every(B.values_list("price", flat=True).distinct())
every(B.dates("created", "month")), every(B.datetimes("created", "day")), every(B.none()), every(B.order_by("?")[:1]), every(B.reverse()[:1]), every(B.order_by(F("rating").desc(nulls_last=True)))
B.aggregate(Count("id"), Sum("price"), Avg("rating"), Max("pages"), Min("pages"), StdDev("rating"), cheap=Count("id", filter=Q(price__lt=3)), titles=Count("title", distinct=True))
B.aggregate(a=pga.ArrayAgg("title", ordering="title"), b=pga.StringAgg("title", ", "), c=pga.JSONBAgg("pages"), d=pga.BoolAnd(Q(pages__gt=1)), e=pga.BitOr("pages"), f=pga.Corr("rating", "pages"), g=pga.RegrSlope("rating", "pages"))
every(Publisher.objects.annotate(n=Count("books"), dear=Max("books__price")).filter(n__gt=1).order_by("-n").values("name", "n", "dear"))
every(Author.objects.annotate(n=Count("books", distinct=True)).filter(n__gte=1).alias(m=F("n") + 1).order_by("m"))
every(B.annotate(place=Window(fn.Rank(), partition_by=F("publisher"), order_by=F("price").desc()), before=Window(fn.Lag("price"), order_by="created"), running=Window(Sum("price"), order_by="price", frame=models.RowRange(start=None, end=0))).filter(place__lte=2))
every(B.annotate(kind=Case(When(price__gt=5, then=Value("dear")), When(price=0, then=Value("free")), default=Value("cheap"), output_field=models.CharField())))
every(B.annotate(newest=Subquery(B.filter(publisher=OuterRef("publisher")).order_by("-created").values("title")[:1]), has=Exists(Tagged.objects.filter(book=OuterRef("pk"), weight__gt=1)), names=ArraySubquery(Author.objects.filter(books=OuterRef("pk")).values("name"))))
every(B.annotate(a=fn.Lower("title"), b=fn.Concat("title", Value("-"), "publisher__name"), c=fn.Length("title"), d=fn.Coalesce("rating", 0.0), e=fn.TruncMonth("created"), f=fn.ExtractWeek("created"), g=fn.Cast("price", models.IntegerField()),
               h=fn.Greatest("rating", fn.Cast("pages", models.FloatField())), i=fn.Round("price"), j=fn.Substr("title", 1, 3), k=fn.Now() - F("created"), l=fn.MD5("title"), m=fn.StrIndex("title", Value("o")), n=fn.Replace("title", Value("B"), Value("C")), o=fn.NullIf("pages", 10), p=fn.JSONObject(t="title"),
               q=fn.Left("title", 2), r=fn.LPad("title", 10), s=fn.Trim("title"), t=fn.Power("pages", 2), u=fn.Mod("pages", 3), v=fn.Random(), w=fn.Reverse("title"), x=fn.SHA256("title"), y=fn.Collate("title", "C"), z=ExpressionWrapper(F("price") * F("pages"), output_field=models.FloatField()))[:2])
every(B.filter(price__gt=F("pages") / 10)), every(B.filter(pk__in=Tagged.objects.filter(weight__gt=1).values("book"))), every(B.filter(authors__in=authors[:2]).distinct()), every(B.filter(publisher__books__authors__name="Author 1"))
every(B.values("title").union(Author.objects.values("name"))), every(B.values("pk").intersection(B.filter(price__gt=1).values("pk"))), every(B.values("pk").difference(B.filter(price__gt=1).values("pk")).order_by("pk")[:2])
every(B.annotate(s=pgs.SearchVector("title", "publisher__name", config="simple"), r=pgs.SearchRank(pgs.SearchVector("title"), pgs.SearchQuery("book"))).filter(s=pgs.SearchQuery("book & x", search_type="raw")).order_by("-r"))
every(B.annotate(h=pgs.SearchHeadline("title", pgs.SearchQuery("book")), m=pgs.TrigramSimilarity("title", "bok")).filter(title__trigram_similar="bok", title__unaccent="x", m__gt=0.1)), every(B.filter(title__search="book")), B.update(search=pgs.SearchVector("title"))
B.filter(price__lt=3).update(price=F("price") + 1, title=fn.Upper("title")), B.filter(publisher__name="P1").update(rating=None), B.filter(title="Book 7").delete()
B.bulk_update([books[2], books[3]], ["title", "pages"]), Tag.objects.bulk_create([Tag(name="tag-1"), Tag(name="other")], ignore_conflicts=True)
Tag.objects.bulk_create([Tag(name="tag-1"), Tag(name="new")], update_conflicts=True, unique_fields=["name"], update_fields=["name"]), Tag.objects.update_or_create(name="tag-2", defaults={"name": "tag-two"}), Tag.objects.get_or_create(name="tag-1")
books[3].title = "changed"
books[3].save(), books[3].save(update_fields=["title"]), books[3].refresh_from_db(), books[3].delete()
with transaction.atomic():
    every(B.select_for_update().filter(pk=books[4].pk)), every(B.select_for_update(skip_locked=True, of=("self",)).select_related("publisher")[:1]), every(Tag.objects.select_for_update(nowait=True, no_key=True))
    try:
        with transaction.atomic():
            Tag.objects.create(name="tag-1")
    except Exception:
        pass
    transaction.on_commit(lambda: None)
for book in B.iterator(chunk_size=2):
    book.pk
every(Customer.objects.filter(tags__contains=["all"], active=True).order_by("name")[:5]), every(B.raw("SELECT * FROM shopapp_book WHERE price > %s", [2])), B.filter(price__gt=1).explain(analyze=True)
every(B.extra(select={"even": "pages %% 2 = 0"}, where=["price > %s"], params=[1])), every(B.filter(publisher=Publisher.objects.first()).union(B.filter(pages=1), all=True))
with connection.cursor() as cursor:
    cursor.execute("SELECT id, total FROM order_totals WHERE total > %s LIMIT 3", [5])
    cursor.executemany("INSERT INTO categories (name, slug) VALUES (%s, %s) ON CONFLICT DO NOTHING", [("A", "a"), ("B", "b")])
    cursor.callproc("order_total", [1])
cache.set("k", "v"), cache.get("k"), cache.incr("n") if cache.get("n") else cache.set("n", 1), cache.get_many(["k", "n"]), cache.touch("k"), cache.delete("k"), cache.add("k", 1), cache.clear()
client = Client()
client.post("/admin/login/", {"username": "boss", "password": "boss"}), client.force_login(admin)
for path in ("", "shopapp/book/", "shopapp/book/?q=book&o=-2", "shopapp/book/?publisher__id__exact=1&created__year=2026", f"shopapp/book/{books[4].pk}/change/", f"shopapp/book/{books[4].pk}/delete/", f"shopapp/book/{books[4].pk}/history/", "shopapp/book/add/", "auth/user/", f"auth/user/{admin.pk}/change/", "sites/site/"):
    client.get("/admin/" + path)
client.post("/admin/shopapp/tag/add/", {"name": "by-admin"}), client.post("/admin/shopapp/book/", {"action": "delete_selected", "_selected_action": [str(books[5].pk)], "post": "yes"}), client.post("/admin/logout/")
