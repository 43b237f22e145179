"""Django: introspection, migrations (its own and contrib's), the ORM."""
import io, os, sys, pathlib, tempfile
import django
from django.conf import settings
from django.core.management import call_command

mode, ca = os.environ["MODE"], os.environ["CA"]
options = {"sslmode": mode}
if mode == "verify-full":
    options["sslrootcert"] = ca
place = pathlib.Path(tempfile.mkdtemp())
(place / "shelf").mkdir()
(place / "shelf/__init__.py").write_text("")
(place / "shelf/models.py").write_text("""
from django.db import models
class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
class Book(models.Model):
    title = models.CharField(max_length=50, db_index=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    data = models.JSONField(default=dict)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    class Meta:
        constraints = [models.UniqueConstraint(fields=["title", "author"], name="once")]
        indexes = [models.Index(fields=["-price"], name="dear")]
""")
sys.path.insert(0, str(place))
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "agent", "PASSWORD": "wrong",
                           "HOST": os.environ["PGHOST"], "PORT": "5432", "OPTIONS": options}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shelf"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True)
django.setup()
from django.db import connection, transaction, IntegrityError, models

quiet = {"verbosity": 0}
call_command("makemigrations", "shelf", **quiet)
call_command("migrate", **quiet)
with connection.cursor() as cursor:
    about = connection.introspection
    print(sorted(about.table_names(cursor)))
    print(sorted((name, sorted(found["columns"]), found["primary_key"], found["unique"], found["index"], found["check"], bool(found["foreign_key"]))
                 for name, found in about.get_constraints(cursor, "part").items()))
    print(about.get_relations(cursor, "part"), about.get_sequences(cursor, "item")[0]["column"])
out = io.StringIO()
call_command("inspectdb", "item", "part", stdout=out, **quiet)
print([line.strip() for line in out.getvalue().splitlines() if " = models." in line][:6])
from shelf.models import Author, Book
for n in range(20):
    author = Author.objects.create(name=f"A{n}")
    Book.objects.bulk_create([Book(title=f"B{m}", price=m, author=author, data={"m": m}) for m in range(5)])
print(Book.objects.filter(author__name__startswith="A1", price__gt=1).exclude(title="B2").count(),
      Author.objects.annotate(n=models.Count("books")).order_by("id").first().n, Book.objects.filter(data__m__gte=3).count())
print([b.title for b in Book.objects.select_related("author").order_by("-price", "author_id")[:3]], Book.objects.aggregate(models.Sum("price")))
try:
    with transaction.atomic():
        Author.objects.create(name="A1")
except IntegrityError as error:
    print("integrity", error.__cause__.sqlstate)
print(Author.objects.update_or_create(name="A1", defaults={})[1], Book.objects.update(price=models.F("price") + 1), len(list(Book.objects.iterator(chunk_size=7))))
with transaction.atomic():
    print(Book.objects.select_for_update(skip_locked=True).first().title)
print(Author.objects.filter(name="A3").delete()[0])
# A second migration: fields come, change and go.
(place / "shelf/migrations/0002_more.py").write_text("""
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shelf", "0001_initial")]
    operations = [
        migrations.AddField("author", "born", models.DateField(null=True)),
        migrations.AlterField("book", "title", models.TextField()),
        migrations.RenameField("book", "price", "cost"),
        migrations.AddConstraint("book", models.CheckConstraint(condition=models.Q(cost__gte=0), name="free_at_least")),
        migrations.RunSQL("update shelf_author set born = '1970-01-01'", migrations.RunSQL.noop),
        migrations.RemoveField("book", "data"),
    ]
""")
call_command("migrate", **quiet)
with connection.cursor() as cursor:
    print([c.name for c in connection.introspection.get_table_description(cursor, "shelf_book")])
call_command("migrate", "shelf", "zero", **quiet)
call_command("migrate", "auth", "zero", **quiet)
call_command("migrate", "contenttypes", "zero", **quiet)
with connection.cursor() as cursor:
    cursor.execute("drop table django_migrations")
    print(sorted(connection.introspection.table_names(cursor)))
