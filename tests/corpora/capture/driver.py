"""Runs each tool against a server of its own and keeps the statements that the server saw.

    driver.py WORK OUT [TOOL...]

WORK holds the server, the virtual environment `venv` and `node_modules` (capture.sh makes them); OUT takes TOOL.jsonl and
TOOL.schema.sql. Every tool gets a database `shop` of its own, made from shop.sql.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
HOST, PORT, USER = "127.9.9.9", str(54000 + os.getpid() % 1000), "shop_owner"
MOST = 1500
TOOLS = {
    "psql": ["python", "psql.py"],
    "pg_dump": ["bash", "pg_dump.sh"],
    "sqlalchemy": ["python", "sqlalchemy_orm.py"],
    "alembic": ["python", "alembic_migrations.py"],
    "django": ["python", "django_shop.py"],
    "peewee": ["python", "peewee_shop.py"],
    "tortoise": ["python", "tortoise_shop.py"],
    "prisma": ["bash", "prisma.sh"],
    "rails": ["ruby", "rails.rb"],
    "typeorm": ["node", "typeorm.js"],
    "sequelize": ["node", "sequelize.js"],
    "knex": ["node", "knex.js"],
    "drizzle": ["node", "drizzle.js"],
    "kysely": ["node", "kysely.js"],
}
END = re.compile(r"\s*(commit|rollback|end|abort|prepare transaction)\b(?!\s+to\b)(?!.*\bto savepoint\b)", re.I | re.S)
BEGIN = re.compile(r"\s*(begin|start transaction)\b", re.I)
# The names of statements and portals have no colon with any of these tools.
TEXT = re.compile(r"(?:statement|execute (?:fetch from )?[^:]*): (.*)", re.S)


class Server:
    def __init__(self, work):
        self.bin = pathlib.Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
        self.work, self.data = work, work / f"data-{os.getpid()}"
        os.chmod(work, 0o755)
        self.data.mkdir()
        shutil.chown(self.data, "postgres")
        self.as_postgres("initdb", "-D", self.data, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", "postgres", "-N")
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(
                f"listen_addresses = '{HOST}'\nport = {PORT}\nunix_socket_directories = ''\nfsync = off\n"
                "wal_level = logical\nlogging_collector = on\nlog_destination = jsonlog\nlog_statement = all\n"
                "log_directory = 'log'\nlog_filename = 'server.log'\nlog_rotation_age = 0\nlog_rotation_size = 0\n"
                "max_prepared_transactions = 5\n"
            )
        self.as_postgres("pg_ctl", "-D", self.data, "-w", "-l", self.data / "start.log", "start")
        self.log = self.data / "log" / "server.json"
        self.psql("postgres", "-c", f"CREATE ROLE {USER} LOGIN SUPERUSER")

    def as_postgres(self, tool, *arguments):
        command = ["runuser", "-u", "postgres", "--", str(self.bin / tool), *map(str, arguments)]
        # Not through pipes: the server would hold them open.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def psql(self, database, *arguments):
        command = [self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", HOST, "-p", PORT, "-U", "postgres", "-d", database]
        subprocess.run([*command, *arguments], check=True, env={**os.environ, "PGAPPNAME": "corpora"})

    def stop(self):
        self.as_postgres("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")
        shutil.rmtree(self.data)


def statements(lines):
    """Distinct texts in the order seen, and whether each came first within an open transaction."""
    open_in, found = {}, {}
    for line in lines:
        entry = json.loads(line)
        match = TEXT.fullmatch(entry.get("message", ""))
        if entry.get("error_severity") != "LOG" or entry.get("application_name") == "corpora" or not match:
            continue
        text, session = match.group(1), entry["session_id"]
        found.setdefault(text, open_in.get(session, False))
        if BEGIN.match(text):
            open_in[session] = True
        if END.match(text):
            open_in[session] = False
    return [{"sql": text, "transaction": inside} for text, inside in found.items()]


def capture(server, tool, out):
    server.psql("postgres", "-c", "DROP DATABASE IF EXISTS shop WITH (FORCE)", "-c", f"CREATE DATABASE shop OWNER {USER}")
    server.psql("shop", "-f", HERE / "shop.sql")
    since = server.log.stat().st_size
    command, script = TOOLS[tool]
    node_modules = server.work / "node_modules"
    command = str(server.work / "venv/bin/python") if command == "python" else command
    scratch = server.work / f"scratch-{tool}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    # Packages of JavaScript are found from where the script is.
    for name in ("node_modules", "package.json"):
        (scratch / name).symlink_to(server.work / name)
    for file in HERE.iterdir():
        if file.is_file() and file.name != "package.json":
            shutil.copy(file, scratch)
    environment = {
        **os.environ,
        "PATH": f"{server.bin}:{server.work / 'venv/bin'}:{node_modules / '.bin'}:{os.environ['PATH']}",
        "PGHOST": HOST, "PGPORT": PORT, "PGUSER": USER, "PGDATABASE": "shop", "PGPASSWORD": "unused",
        "DATABASE_URL": f"postgresql://{USER}:unused@{HOST}:{PORT}/shop",
    }
    ended = subprocess.run([command, script], cwd=scratch, env=environment, stdin=subprocess.DEVNULL).returncode
    time.sleep(1)
    with server.log.open() as log:
        log.seek(since)
        found = statements(log)
    
    dump = subprocess.check_output(
        [server.bin / "pg_dump", "--schema-only", "--no-owner", "-h", HOST, "-p", PORT, "-U", "postgres", "shop"],
        text=True, env={**os.environ, "PGAPPNAME": "corpora"},
    )
    # Newer pg_dumps fence their output with a key that is made anew each time.
    dump = re.sub(r"(?m)^\\(un)?restrict .*\n\n?", "", dump)
    dump = dump.replace("ALTER DEFAULT PRIVILEGES FOR ROLE postgres ", "ALTER DEFAULT PRIVILEGES ")
    kept = 0
    with (out / f"{tool}.jsonl").open("w") as file:
        for statement in found[:MOST]:
            statement["sql"] = statement["sql"].replace(str(server.work), "/srv/shop")
            file.write(json.dumps(statement, ensure_ascii=False) + "\n")
            kept += 1
    (out / f"{tool}.schema.sql").write_text(dump)
    print(f"{tool}: {kept} statements of {len(found)}, exit status {ended}", flush=True)


def main():
    work, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    # Whatever stops this stops the server as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server = Server(work)
    try:
        for tool in sys.argv[3:] or TOOLS:
            capture(server, tool, out)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
