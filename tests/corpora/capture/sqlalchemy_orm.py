"""SQLAlchemy: reflection of everything, then the same model through three drivers, Core and ORM, synchronous and not."""
import asyncio
import enum
import os
import random
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase, Mapped, Session, aliased, column_property, contains_eager, joinedload, mapped_column, raiseload,
    relationship, selectinload, subqueryload, undefer, with_loader_criteria,
)

URL = os.environ["DATABASE_URL"]


class Base(DeclarativeBase):
    pass


class Kind(enum.Enum):
    home = "home"
    office = "office"


tagging = sa.Table(
    "app_product_tag", Base.metadata,
    sa.Column("product_id", sa.ForeignKey("app_product.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("app_tag.id"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "app_tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), unique=True)


class Party(Base):
    __tablename__ = "app_party"
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    type: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str] = mapped_column(comment="as they call themselves")
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "party"}


class Person(Party):
    __tablename__ = "app_person"
    id: Mapped[int] = mapped_column(sa.ForeignKey("app_party.id"), primary_key=True)
    email: Mapped[str | None] = mapped_column(index=True)
    addresses: Mapped[list["Address"]] = relationship(back_populates="person", cascade="all, delete-orphan", order_by="Address.id")
    __mapper_args__ = {"polymorphic_identity": "person"}


class Company(Party):
    __tablename__ = "app_company"
    id: Mapped[int] = mapped_column(sa.ForeignKey("app_party.id"), primary_key=True)
    vat: Mapped[str] = mapped_column(server_default="")
    __mapper_args__ = {"polymorphic_identity": "company"}


class Address(Base):
    __tablename__ = "app_address"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Kind]
    city: Mapped[str]
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("app_person.id", ondelete="CASCADE"))
    person: Mapped[Person] = relationship(back_populates="addresses")


class Product(Base):
    __tablename__ = "app_product"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    title: Mapped[str]
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    taxed: Mapped[Decimal] = mapped_column(sa.Computed("price * 1.2"))
    labels: Mapped[list[str]] = mapped_column(pg.ARRAY(sa.Text), server_default="{}")
    data: Mapped[dict] = mapped_column(pg.JSONB, default=dict)
    sold: Mapped[object | None] = mapped_column(pg.TSTZRANGE)
    blob: Mapped[bytes | None] = mapped_column(deferred=True)
    made: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), server_default=func.now())
    version: Mapped[int] = mapped_column(default=1)
    tags: Mapped[list[Tag]] = relationship(secondary=tagging, backref="products")
    __mapper_args__ = {"version_id_col": version}
    __table_args__ = (
        sa.CheckConstraint("price >= 0", name="price_not_negative"),
        sa.UniqueConstraint("title", name="app_product_title"),
        sa.Index("app_product_data", "data", postgresql_using="gin"),
        sa.Index("app_product_cheap", "price", postgresql_where=sa.text("price < 10"), postgresql_include=["title"]),
    )


Product.title_length = column_property(func.length(Product.title))
ORM = {"expire_on_commit": False}


def reflect(engine):
    inspector = sa.inspect(engine)
    inspector.get_schema_names(), inspector.default_schema_name
    for schema in (None, "public", "warehouse", "information_schema"):
        for what in ("get_table_names", "get_view_names", "get_materialized_view_names", "get_sequence_names", "get_temp_table_names",
                     "get_temp_view_names", "get_foreign_table_names", "get_enums", "get_domains"):
            try:
                getattr(inspector, what)(**({"schema": schema} if "temp" not in what else {}))
            except (AttributeError, TypeError):
                pass
        for kind in sa.engine.reflection.ObjectKind.ANY, sa.engine.reflection.ObjectKind.TABLE:
            for what in ("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment", "table_options"):
                getattr(inspector, f"get_multi_{what}")(schema=schema, kind=kind)
    for table in ("customers", "orders", "items", "events"):
        for what in ("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment", "table_options"):
            getattr(inspector, f"get_{what}")(table)
    inspector.get_view_definition("order_totals")
    inspector.has_table("customers"), inspector.has_table("nothing"), inspector.has_sequence("invoice_number"), inspector.has_schema("warehouse")
    inspector.has_index("orders", "orders_customer"), inspector.get_table_oid("orders")
    meta = sa.MetaData()
    meta.reflect(engine, views=True)
    meta.reflect(engine, schema="warehouse")
    return meta


def core(engine, meta):
    orders, items, customers, order_items = (meta.tables[name] for name in ("orders", "items", "customers", "order_items"))
    stock = meta.tables["warehouse.stock"]
    with engine.begin() as connection:
        run = connection.execute
        run(select(orders.c.id, customers.c.name).join(customers).where(orders.c.status == "paid").order_by(orders.c.placed_at.desc().nulls_last()).limit(5).offset(2)).all()
        run(select(customers.c.id).where(customers.c.email.in_(["a@shop.example", "b@shop.example"]))).all()
        run(select(customers.c.id).where(customers.c.id.not_in([])).limit(1)).all()
        run(select(customers).where(customers.c.name.ilike("%5%"), customers.c.tags.any_() == "t1", customers.c.profile["level"].astext.cast(sa.Integer) > 2)).all()
        run(select(customers.c.id).where(customers.c.profile.contains({"level": 1}) | customers.c.profile.has_key("x"), customers.c.tags.contains(["all"]), customers.c.tags.overlap(["t1"]))).all()
        run(select(customers.c.name.regexp_replace("[0-9]", "x"), customers.c.name.collate("C"), customers.c.search.bool_op("@@")(func.plainto_tsquery("simple", "customer"))).where(customers.c.search.match("customer")).limit(2)).all()
        total = func.sum(order_items.c.quantity * order_items.c.price)
        per = select(order_items.c.order_id, total.label("total")).group_by(order_items.c.order_id).having(total > 5).cte("per_order")
        run(select(orders.c.id, per.c.total, func.rank().over(partition_by=orders.c.status, order_by=per.c.total.desc()), func.count().filter(orders.c.note.is_(None)).over()).join(per, per.c.order_id == orders.c.id).limit(3)).all()
        categories = meta.tables["categories"]
        tree = select(categories.c.id, categories.c.name, sa.literal(0).label("depth")).where(categories.c.parent_id.is_(None)).cte("tree", recursive=True)
        tree = tree.union_all(select(categories.c.id, categories.c.name, tree.c.depth + 1).join(tree, categories.c.parent_id == tree.c.id))
        run(select(tree)).all()
        newest = select(orders.c.id).where(orders.c.customer_id == customers.c.id).order_by(orders.c.id.desc()).limit(1).lateral("newest")
        run(select(customers.c.name, newest.c.id).join(newest, sa.true(), isouter=True).limit(3)).all()
        run(sa.union(select(orders.c.id).where(orders.c.id < 3), select(items.c.id).where(items.c.id < 3)).order_by(sa.text("1")))
        run(sa.except_all(select(orders.c.id), select(items.c.id)).limit(2))
        run(select(sa.case((items.c.price > 10, "dear"), else_="cheap"), sa.cast(items.c.price, sa.Integer), sa.extract("year", sa.func.now()), sa.type_coerce(items.c.title, sa.Text), sa.func.coalesce(items.c.weight, 0)).distinct().limit(3)).all()
        run(select(orders.c.customer_id, orders.c.id).distinct(orders.c.customer_id).order_by(orders.c.customer_id, orders.c.id.desc()).limit(2)).all()
        run(select(func.percentile_cont(0.5).within_group(items.c.price), func.array_agg(pg.aggregate_order_by(items.c.title, items.c.id)), func.string_agg(items.c.title, ","), func.json_agg(items.c.attributes)).group_by(func.rollup(items.c.category_id))).all()
        run(select(items.c.id).where(sa.exists().where(order_items.c.item_id == items.c.id), sa.tuple_(items.c.id, items.c.category_id).in_([(1, 2), (2, 3)]), items.c.price.between(1, 100), items.c.available.op("@>")(sa.cast(datetime(2025, 6, 1).date(), sa.Date)))).all()
        run(select(func.unnest(customers.c.tags).label("tag"), func.count()).group_by(sa.text("1")))
        run(select(sa.func.generate_series(1, 3).table_valued("n", with_ordinality="o").render_derived()))
        run(select(sa.values(sa.column("a", sa.Integer), sa.column("b", sa.String), name="v").data([(1, "x"), (2, "y")])))
        run(select(items.c.id).with_for_update(skip_locked=True, of=items).limit(1)).all()
        run(select(orders.c.id).with_for_update(read=True, nowait=True, key_share=True).limit(1)).all()
        run(select(items.c.title).tablesample(sa.func.bernoulli(50)) if hasattr(items.c.title, "tablesample") else select(sa.tablesample(items, sa.func.bernoulli(50)).c.title)).all()
        made = run(orders.insert().values(customer_id=1, note="by core").returning(orders.c.id, orders.c.status)).one()
        run(orders.insert(), [{"customer_id": n, "note": f"many {n}"} for n in range(1, 6)])
        run(orders.insert().values([{"customer_id": n, "note": "values"} for n in range(1, 4)]).returning(orders.c.id)).all()
        run(orders.insert().from_select(["customer_id", "note"], select(customers.c.id, sa.literal("from")).where(customers.c.id < 3)))
        upsert = pg.insert(stock).values(item_id=1, quantity=3)
        run(upsert.on_conflict_do_update(index_elements=["item_id"], set_={"quantity": stock.c.quantity + upsert.excluded.quantity}, where=stock.c.quantity < 1000).returning(stock))
        run(pg.insert(customers).values(email="customer1@shop.example", name="Again").on_conflict_do_nothing())
        run(orders.update().where(orders.c.id == made.id).values(note=func.upper(orders.c.note)).returning(orders))
        run(orders.update().where(orders.c.customer_id == customers.c.id, customers.c.name == "Customer 2").values(note=customers.c.name))
        run(orders.update().where(orders.c.id == sa.bindparam("which")).values(note=sa.bindparam("what")), [{"which": 1, "what": "a"}, {"which": 2, "what": "b"}])
        run(orders.delete().where(orders.c.note.like("many%")).returning(orders.c.id)).all()
        run(order_items.delete().where(order_items.c.order_id == orders.c.id, orders.c.note == "gone"))
        run(sa.text("SELECT id FROM orders WHERE id = :id AND placed_at > now() - :age * interval '1 day'"), {"id": 3, "age": 3})
        run(sa.select(meta.tables["order_totals"]).limit(1)), run(sa.select(meta.tables["best_sellers"]).limit(1)) if "best_sellers" in meta.tables else None
        run(sa.Sequence("invoice_number"))
        nested = connection.begin_nested()
        nested.rollback()
    with engine.connect().execution_options(isolation_level="SERIALIZABLE", postgresql_readonly=True, postgresql_deferrable=True) as connection:
        connection.execute(select(func.count()).select_from(orders))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM orders" if engine.driver != "asyncpg" else "SELECT 1"))
    with engine.connect().execution_options(stream_results=True, yield_per=50) as connection:
        for part in connection.execute(select(order_items)).partitions():
            len(part)
    with engine.begin() as connection:
        scratch = sa.Table("scratch", sa.MetaData(), sa.Column("a", sa.Integer, primary_key=True), sa.Column("b", sa.Text), prefixes=["TEMPORARY"], postgresql_on_commit="DROP")
        scratch.create(connection)
        connection.execute(scratch.insert(), [{"b": "x"}, {"b": "y"}])
        connection.execute(sa.schema.CreateSchema("more", if_not_exists=True))
        connection.execute(sa.schema.DropSchema("more", cascade=True))
    with engine.connect() as connection:
        transaction = connection.begin_twophase() if engine.driver != "asyncpg" else connection.begin_nested()
        connection.execute(orders.insert().values(customer_id=2))
        transaction.rollback()


def orm(session):
    random.seed(1)
    tags = [Tag(name=f"tag {n}") for n in range(4)]
    session.add_all(tags)
    for n in range(12):
        person = Person(name=f"Person {n}", email=f"p{n}@shop.example")
        person.addresses = [Address(kind=random.choice(list(Kind)), city="Bremen"), Address(kind=Kind.home, city="Ulm")]
        session.add(person)
        session.add(Product(title=f"Product {n}", price=n, labels=["a", "b"], data={"n": n}, tags=random.sample(tags, 2)))
    session.add(Company(name="Company", vat="DE1"))
    session.add(Party(name="Just a party"))
    session.commit()
    scalars = lambda statement: session.scalars(statement).unique().all()
    scalars(select(Party)), scalars(select(Person)), scalars(select(sa.orm.with_polymorphic(Party, [Person, Company])))
    scalars(select(Party).options(sa.orm.selectin_polymorphic(Party, [Person, Company])))
    scalars(select(Person).options(joinedload(Person.addresses)))
    scalars(select(Person).options(selectinload(Person.addresses)))
    scalars(select(Person).options(subqueryload(Person.addresses)))
    scalars(select(Person).join(Person.addresses).options(contains_eager(Person.addresses)).where(Address.city == "Ulm"))
    scalars(select(Product).options(selectinload(Product.tags), undefer(Product.blob), raiseload("*")).limit(3))
    scalars(select(Person).options(with_loader_criteria(Address, Address.city == "Ulm"), selectinload(Person.addresses)))
    scalars(select(Product).where(Product.tags.any(Tag.name == "tag 1")).order_by(Product.title))
    scalars(select(Address).where(Address.person.has(Person.email.startswith("p1"))))
    other = aliased(Address)
    session.execute(select(Person.name, func.count(other.id)).outerjoin(other, other.person_id == Person.id).group_by(Person.name, Person.id).order_by(func.count(other.id).desc())).all()
    session.execute(select(sa.orm.Bundle("b", Person.id, Person.email))).all()
    product = scalars(select(Product).where(Product.title == "Product 3"))[0]
    product.price, product.data = 7, {"n": 3, "more": True}
    session.commit()
    product.tags.pop()
    product.tags.append(tags[0])
    session.flush()
    session.refresh(product, with_for_update=True)
    session.expire(product)
    product.title, product.blob, product.tags
    session.get(Product, product.id), session.merge(Tag(id=1, name="tag one"))
    session.commit()
    person = session.get(Person, 1)
    person.addresses
    session.delete(person)
    session.commit()
    session.execute(sa.insert(Product).returning(Product.id), [{"title": f"Bulk {n}", "price": n, "data": {}, "version": 1} for n in range(30)]).all()
    session.execute(sa.update(Product).where(Product.price < 3).values(price=Product.price + 1).execution_options(synchronize_session="fetch"))
    session.execute(sa.delete(Address).where(Address.city == "Ulm").returning(Address.id)).all()
    session.bulk_save_objects([Tag(name="bulk tag")])
    session.bulk_insert_mappings(Tag, [{"name": "mapped 1"}, {"name": "mapped 2"}])
    upsert = pg.insert(Tag).values([{"name": "tag 2"}, {"name": "tag 9"}])
    session.scalars(upsert.on_conflict_do_update(constraint="app_tag_name_key", set_={"name": upsert.excluded.name}).returning(Tag), execution_options={"populate_existing": True}).all()
    with session.begin_nested():
        session.add(Tag(name="nested"))
    try:
        with session.begin_nested():
            session.add(Tag(name="nested"))
            session.flush()
    except sa.exc.IntegrityError:
        pass
    session.query(Person).filter_by(name="Person 2").order_by(Person.id).first()
    session.query(Person).filter(Person.id > 2).count(), session.query(sa.exists().where(Person.id == 2)).scalar()
    session.query(Product).filter(Product.made > datetime.now(timezone.utc) - timedelta(days=1)).update({"labels": ["new"]})
    session.query(Product.title).filter(Product.title.like("Bulk%")).yield_per(10).all()
    session.query(Tag).filter(Tag.name == "mapped 1").delete()
    session.scalars(select(Product).from_statement(sa.text("SELECT * FROM app_product WHERE price > :p").bindparams(p=3))).all()
    session.commit()


async def asynchronous():
    engine = create_async_engine(URL.replace("postgresql", "postgresql+asyncpg"), isolation_level="REPEATABLE READ")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with engine.connect() as connection:
        meta = await connection.run_sync(lambda sync: reflect(sync))
        stream = await connection.stream(select(meta.tables["order_items"]).limit(120))
        async for _ in stream:
            pass
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.run_sync(orm)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    engine = create_async_engine(URL.replace("postgresql", "postgresql+asyncpg"))
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: core(Sync(sync), meta))
    await engine.dispose()


class Sync:
    """Looks like an engine, for code that wants one, on a connection that asyncpg drives."""

    driver = "asyncpg"

    def __init__(self, connection):
        self.connection, self.dialect = connection, connection.dialect

    def begin(self):
        return Sync.Begun(self.connection)

    def connect(self):
        return Sync.Begun(self.connection)

    class Begun:
        def __init__(self, connection):
            self.connection = connection

        def execution_options(self, **options):
            return self

        def __enter__(self):
            self.transaction = self.connection.begin()
            return self.connection

        def __exit__(self, *_):
            self.connection.rollback() if self.connection.in_transaction() else None


def main():
    for driver in ("psycopg", "psycopg2"):
        engine = sa.create_engine(URL.replace("postgresql", f"postgresql+{driver}"), pool_pre_ping=True)
        meta = reflect(engine)
        core(engine, meta)
        Base.metadata.create_all(engine, checkfirst=True)
        with Session(engine, **ORM) as session:
            orm(session)
        Base.metadata.drop_all(engine)
        engine.dispose()
    try:
        asyncio.run(asynchronous())
    except Exception as error:
        print("asyncpg:", repr(error)[:500])
    engine = sa.create_engine(URL.replace("postgresql", "postgresql+psycopg"))
    Base.metadata.create_all(engine)


main()
