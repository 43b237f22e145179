"""Alembic: three migrations up, down, up again; autogenerate against what is there; a branch that is stamped."""
import os
import pathlib
import subprocess

URL = os.environ["DATABASE_URL"].replace("postgresql", "postgresql+psycopg")
ENV = f"""
import sqlalchemy as sa
from alembic import context
meta = sa.MetaData()
sa.Table("mig_account", meta, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(80), nullable=False, index=True),
         sa.Column("balance", sa.Numeric(12, 2), server_default="0"))
sa.Table("mig_new", meta, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("account_id", sa.ForeignKey("mig_account.id")))
if context.is_offline_mode():
    context.configure(url={URL!r}, target_metadata=meta)
    with context.begin_transaction():
        context.run_migrations()
else:
    with sa.create_engine({URL!r}).connect() as connection:
        context.configure(connection=connection, target_metadata=meta, compare_type=True, compare_server_default=True,
                          include_schemas=context.get_x_argument(as_dictionary=True).get("schemas") == "all",
                          transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
HEAD = "from alembic import op\nimport sqlalchemy as sa\nfrom sqlalchemy.dialects import postgresql as pg\nrevision = {0!r}\ndown_revision = {1!r}\n"
VERSIONS = {
    ("one", None): """
def upgrade():
    op.execute("CREATE EXTENSION IF NOT EXISTS citext")
    op.create_table("mig_account", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(40), nullable=False),
        sa.Column("kind", sa.Enum("a", "b", name="mig_kind"), nullable=False, server_default="a"), comment="accounts")
    accounts = sa.table("mig_account", sa.column("name", sa.String))
    op.bulk_insert(accounts, [{"name": "one"}, {"name": "two"}])
    op.create_index("mig_account_name", "mig_account", ["name"], unique=True, postgresql_where=sa.text("kind = 'a'"))
def downgrade():
    op.drop_index("mig_account_name", table_name="mig_account")
    op.drop_table("mig_account")
    op.execute("DROP TYPE mig_kind")
""",
    ("two", "one"): """
def upgrade():
    op.add_column("mig_account", sa.Column("email", sa.Text, server_default="", nullable=False))
    op.alter_column("mig_account", "name", type_=sa.String(80), existing_type=sa.String(40), comment="longer")
    op.alter_column("mig_account", "email", server_default=None, nullable=True)
    op.create_table("mig_entry", sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("account_id", sa.Integer, nullable=False), sa.Column("cents", sa.Integer), sa.Column("more", pg.JSONB), sa.Column("old", sa.Text))
    op.create_foreign_key("mig_entry_account", "mig_entry", "mig_account", ["account_id"], ["id"], ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    op.create_check_constraint("mig_cents", "mig_entry", "cents <> 0")
    op.create_unique_constraint("mig_entry_key", "mig_entry", ["account_id", "cents"])
    with op.get_context().autocommit_block():
        op.create_index("mig_entry_more", "mig_entry", ["more"], postgresql_using="gin", postgresql_concurrently=True, if_not_exists=True)
        op.execute("ALTER TYPE mig_kind ADD VALUE IF NOT EXISTS 'c'")
def downgrade():
    op.drop_constraint("mig_entry_account", "mig_entry", type_="foreignkey")
    op.drop_table("mig_entry")
    op.drop_column("mig_account", "email")
""",
    ("three", "two"): """
def upgrade():
    op.alter_column("mig_entry", "old", new_column_name="note", existing_type=sa.Text)
    op.alter_column("mig_entry", "cents", type_=sa.BigInteger, postgresql_using="cents::bigint")
    op.drop_constraint("mig_cents", "mig_entry", type_="check")
    op.rename_table("mig_entry", "mig_entries")
    op.execute("UPDATE mig_account SET email = lower(name) || '@shop.example' WHERE email IS NULL")
    op.create_table_comment("mig_entries", "what was booked")
    op.execute("CREATE OR REPLACE VIEW mig_balances AS SELECT account_id, sum(cents) AS cents FROM mig_entries GROUP BY 1")
    op.execute("CREATE FUNCTION mig_touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, ''); RETURN NEW; END $$")
    op.execute("CREATE TRIGGER mig_touch BEFORE INSERT ON mig_entries FOR EACH ROW EXECUTE FUNCTION mig_touch()")
    connection = op.get_bind()
    for row in connection.execute(sa.text("SELECT id FROM mig_account ORDER BY id")).all():
        connection.execute(sa.text("INSERT INTO mig_entries (account_id, cents) VALUES (:a, :c)"), {"a": row.id, "c": 5})
def downgrade():
    op.execute("DROP VIEW mig_balances")
    op.execute("DROP TRIGGER mig_touch ON mig_entries")
    op.execute("DROP FUNCTION mig_touch")
    op.drop_table_comment("mig_entries")
    op.rename_table("mig_entries", "mig_entry")
    op.create_check_constraint("mig_cents", "mig_entry", "cents <> 0")
    op.alter_column("mig_entry", "note", new_column_name="old", existing_type=sa.Text)
""",
}


def alembic(*arguments):
    subprocess.run(["alembic", *arguments], stdout=subprocess.DEVNULL)


alembic("init", "migrations")
pathlib.Path("migrations/env.py").write_text(ENV)
for (name, before), text in VERSIONS.items():
    pathlib.Path(f"migrations/versions/{name}.py").write_text(HEAD.format(name, before) + text)
alembic("current")
alembic("upgrade", "head")
alembic("current", "--verbose")
alembic("check")
alembic("downgrade", "base")
alembic("upgrade", "+2")
alembic("upgrade", "head")
alembic("revision", "--autogenerate", "-m", "more")
alembic("-x", "schemas=all", "revision", "--autogenerate", "-m", "schemas", "--head", "three", "--splice")
alembic("stamp", "two")
alembic("stamp", "three", "--purge")
