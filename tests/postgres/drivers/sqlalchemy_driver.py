"""SQLAlchemy over psycopg, psycopg2 and asyncpg: reflection, ORM, DDL, savepoints, streaming."""
import asyncio, os, ssl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

mode, ca = os.environ["MODE"], os.environ["CA"]
tls = f"?sslmode={mode}" + (f"&sslrootcert={ca}" if mode == "verify-full" else "")
host = f"agent:not-the-password@{os.environ['PGHOST']}:5432/shop"


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sa_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sa_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("sa_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


for driver in ("psycopg", "psycopg2"):
    engine = sa.create_engine(f"postgresql+{driver}://{host}{tls}")
    inspector = sa.inspect(engine)
    print(driver, sorted(inspector.get_table_names()), inspector.get_view_names())
    print([(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns("item")][:5])
    print(inspector.get_pk_constraint("part")["constrained_columns"], inspector.get_foreign_keys("part")[0]["referred_table"],
          [i["name"] for i in inspector.get_indexes("part")], inspector.get_check_constraints("part")[0]["sqltext"],
          inspector.get_unique_constraints("item")[0]["column_names"], [e["name"] for e in inspector.get_enums()])
    reflected = sa.MetaData()
    reflected.reflect(engine, only=["item", "part"])
    item = reflected.tables["item"]
    with engine.connect() as db:
        print(db.execute(sa.select(item.c.name, item.c.price).where(item.c.id == 1)).one())
        print(db.execute(sa.select(sa.func.count()).select_from(reflected.tables["part"])).scalar_one())
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Author(name=f"A{n}", books=[Book(title=f"B{n}.{m}") for m in range(3)]) for n in range(40)])
        session.commit()
        authors = session.scalars(sa.select(Author).options(selectinload(Author.books)).order_by(Author.id)).all()
        print(len(authors), sum(len(author.books) for author in authors))
        try:
            with session.begin_nested():
                session.add(Author(name="A1"))
                session.flush()
        except sa.exc.IntegrityError as error:
            print("integrity", error.orig.sqlstate if driver == "psycopg" else error.orig.pgcode)
        authors[0].books.pop()
        session.delete(authors[1])
        session.commit()
        print(session.scalar(sa.select(sa.func.count(Book.id))))
    with engine.connect() as db:
        rows = db.execution_options(stream_results=True, max_row_buffer=10).execute(sa.text("select generate_series(1, 500)"))
        print("streamed", sum(row[0] for row in rows))
    Base.metadata.drop_all(engine)
    print(sorted(sa.inspect(engine).get_table_names()))
    engine.dispose()


async def main():
    context = False
    if mode != "disable":
        context = ssl.create_default_context(cafile=ca)
        if mode == "require":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    engine = create_async_engine(f"postgresql+asyncpg://{host}", connect_args={"ssl": context})
    async with engine.connect() as db:
        print("asyncpg", sorted(await db.run_sync(lambda sync: sa.inspect(sync).get_table_names())))
        print((await db.execute(sa.text("select name from item where id = :id"), {"id": 1})).scalar_one())
    await engine.dispose()

asyncio.run(main())
