"""Statements made at random from a grammar, through the redirect and directly: nothing masked in any byte, equal rows otherwise.

    fuzz.py SOCKET SECONDS [SEED]

Every value of the masked columns holds an `@` or has the form of a social security number, and no other value of the schema
does. Statements that name no masked column ("clean" ones) must be allowed and give what they give directly.
"""
import json
import pathlib
import random
import re
import socket
import struct
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
from run import Database  # noqa: E402

LEAK = re.compile(rb"canary|[a-z]@|@[a-z]|[0-9]{3}-[0-9]{2}-[0-9]{4}", re.I)

# Relations with their columns: plain ones, then masked ones.
RELATIONS = {
    "users": (["id", "name", "country", "manager_id"], ["email", "ssn"]),
    "public.users": (["id", "name", "country"], ["email", "ssn"]),
    "only users": (["id", "name"], ["email"]),
    "vip_users": (["id", "name", "perk"], ["email", "ssn"]),
    "user_directory": (["id", "name", "country"], ["contact"]),
    "order_report": (["order_id", "amount", "customer", "status"], ["reach_me"]),
    "user_domains": (["id"], ["m_email"]),
    "orders": (["id", "user_id", "amount", "status", "note"], []),
    "notes": (["id", "body"], []),
    "safe_orders": (["id", "amount", "status"], []),
}
NUMBERS = ["id", "user_id", "order_id", "manager_id"]


class Grammar:
    """One random statement."""

    def __init__(self, dice, clean):
        self.dice, self.clean, self.names, self.ctes = dice, clean, 0, []

    def pick(self, *choices):
        return self.dice.choice(choices)

    def name(self):
        self.names += 1
        return f"t{self.names}"

    def statement(self):
        query = self.query(3)
        wrapped = self.pick("plain", "plain", "plain", "cursor", "prepare", "explain", "exists", "count", "copy")
        if wrapped == "cursor":
            return f"begin; declare c cursor for {query}; fetch all from c; rollback"
        if wrapped == "prepare":
            return f"select * from ({query}) x" if " group by " not in query else query
        if self.clean:
            return query
        if wrapped == "explain":
            return f"explain (verbose, costs off) {query}"
        if wrapped == "exists":
            return f"select exists ({query})"
        if wrapped == "count":
            return f"select count(*) from ({query}) x"
        if wrapped == "copy":
            return f"copy ({query}) to stdout"
        return query

    def query(self, depth):
        if depth > 1 and self.dice.random() < 0.15:
            # Columns of both sides have to fit: one each, as text.
            left, right = self.simple(depth - 1, single=True), self.simple(depth - 1, single=True)
            return f"({left}) {self.pick('union all', 'union', 'intersect', 'except')} ({right})"
        if depth > 1 and self.dice.random() < 0.2:
            cte, inner = self.name(), self.simple(depth - 1, aliased=True)
            columns = self.last
            self.ctes.append((cte, columns))
            query = f"with {cte} as {self.pick('', 'materialized ', 'not materialized ')}({inner}) {self.simple(depth - 1)}"
            self.ctes.pop()
            return query
        return self.simple(depth)

    def source(self, depth):
        """Something for FROM: its text and what can be taken from it, plain and masked."""
        alias = self.name()
        if self.ctes and self.dice.random() < 0.4:
            cte, (plain, masked) = self.dice.choice(self.ctes)
            return f"{cte} {alias}", self.columns(alias, plain, masked)
        if depth > 1 and self.dice.random() < 0.3:
            inner = self.simple(depth - 1, aliased=True)
            plain, masked = self.last
            return f"({inner}) {alias}", self.columns(alias, plain, masked)
        relation = self.dice.choice(list(RELATIONS))
        plain, masked = RELATIONS[relation]
        if self.dice.random() < 0.2:
            names = [f"c{at}" for at in range(len(plain) + len(masked))]
            # The order of columns is the relation's own: everything may be anything under new names.
            return (f"{relation} as {alias}", self.columns(alias, plain, masked)) if self.clean else (
                f"{relation} as {alias}({', '.join(names[:2])})", self.columns(alias, [], names[:2]))
        return f"{relation} {alias}", self.columns(alias, plain, masked)

    def columns(self, alias, plain, masked):
        return [f"{alias}.{name}" for name in plain], [] if self.clean else [f"{alias}.{name}" for name in masked]

    def simple(self, depth, single=False, aliased=False):
        text, (plain, masked) = self.source(depth)
        aliases = [text.rsplit(" ", 1)[-1].split("(")[0]]
        for _ in range(self.dice.choice([0, 0, 1, 1, 2]) if depth > 1 else 0):
            other, (more, hidden) = self.source(depth - 1)
            kind = self.pick("join", "left join", "cross join", "lateral")
            if kind == "lateral" and not self.clean and masked:
                name, value = self.name(), self.dice.choice(masked)
                text += f", lateral (select {value} as hidden, 1 as one) {name}"
                plain, masked = plain + [f"{name}.one"], masked + [f"{name}.hidden"]
                continue
            if kind in ("cross join", "lateral"):
                text += f" cross join {other}"
            else:
                mine = [name for name in plain if name.split(".")[1] in NUMBERS]
                theirs = [name for name in more if name.split(".")[1] in NUMBERS]
                condition = f"{self.dice.choice(mine)} = {self.dice.choice(theirs)}" if mine and theirs else "true"
                text += f" {kind} {other} on {condition}"
            aliases.append(other.rsplit(" ", 1)[-1].split("(")[0])
            plain, masked = plain + more, masked + hidden
        if single:
            targets = [self.text_of(self.expression(plain, masked, depth))]
            names = ["x"]
        else:
            count = self.dice.randint(1, 4)
            targets = [self.expression(plain, masked, depth) for _ in range(count)]
            if not self.clean and self.dice.random() < 0.15:
                targets.append(self.pick("*", f"{self.dice.choice(aliases)}.*", f"{self.dice.choice(aliases)}"))
            names = [f"k{at}" for at in range(len(targets))]
        stars = [target for target in targets if target.endswith("*")]
        clauses = f" where {self.condition(plain, masked, depth)}" if self.dice.random() < 0.5 else ""
        if not stars and self.dice.random() < 0.1 and plain and not aliased:
            by = self.dice.choice(plain)
            targets, names = [by, "count(*)"], ["k0", "k1"]
            if masked and not self.clean:
                targets[1] = f"{self.pick('count', 'max', 'min', 'array_agg', 'json_agg')}({self.dice.choice(masked)})"
            clauses += f" group by {by}"
        elif self.dice.random() < 0.3 and (plain + masked):
            clauses += f" order by {self.dice.choice(plain + masked)}"
        if aliased:
            targets = [target for target in targets if not target.endswith("*")] or ["1"]
            named = [f"{target} as {name}" for target, name in zip(targets, names)]
            # Anything that was made of a masked column may hold it.
            hidden = [name for target, name in zip(targets, names) if any(column in target for column in masked)]
            self.last = ([name for name in names[: len(targets)] if name not in hidden], hidden)
            targets = named
        distinct = self.pick("", "", "", "", "distinct ") if "order by" not in clauses else ""
        limit = f" limit {self.dice.randint(1, 9)}" if not self.clean else " limit 40" if not aliased and not single else ""
        return f"select {distinct}{', '.join(targets)} from {text}{clauses}{limit if not self.clean else ''}"

    def text_of(self, expression):
        return f"({expression})::text"

    def expression(self, plain, masked, depth):
        pool = plain + (masked * 2 if masked else [])
        if not pool:
            return "1"
        value = self.dice.choice(pool)
        if self.clean:
            return self.pick(value, value, value, f"({value})::text", f"coalesce({value}::text, 'x')", f"({value} is null)")
        forms = [
            value, value, value, value,
            f"{value}::text", f"lower({value}::text)", f"coalesce({value}::text, 'x')", f"({value} is null)",
            f"case when {value} is null then 'n' else {value}::text end", f"array[{value}::text]", f"row({value}, 1)",
            f"nullif({value}::text, 'x')", f"greatest({value}::text, 'a')", f"({value}::text || 'x')", f"to_json({value})",
            f"json_build_object('k', {value})", f"format('%s', {value})", f"({value})", f"{value} collate \"C\"" if value in masked else value,
            f"first_value({value}) over ()", f"string_agg({value}::text, ',') over ()", f"md5({value}::text) is null",
        ]
        if depth > 1:
            forms += [f"({self.scalar(depth - 1)})", f"array(select {value}::text)", f"(select {value})", f"exists (select {value})"]
        return self.dice.choice(forms)

    def scalar(self, depth):
        text, (plain, masked) = self.source(1)
        return f"select {self.expression(plain, masked, 1)} from {text} limit 1"

    def condition(self, plain, masked, depth):
        pool = plain + ([] if self.clean else masked)
        if not pool:
            return "true"
        value = self.dice.choice(pool)
        forms = [f"{value} is not null", f"{value} is null"]
        numbers = [name for name in plain if name.split(".")[1] in NUMBERS]
        if numbers:
            forms += [f"{self.dice.choice(numbers)} < {self.dice.randint(1, 300)}"] * 3
        if not self.clean:
            forms += [f"{value}::text like 'a%'", f"{value}::text = 'x'", f"{value}::text in (select name from users)"]
        return self.dice.choice(forms)


def fields(data):
    """Rows of DataRow bodies that stand one behind the other."""
    rows, at = [], 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        row = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            row.append(None if length < 0 else data[at : at + length].decode())
            at += max(length, 0)
        rows.append(tuple(row))
    return sorted(rows, key=repr)


def is_slow(direct, sql):
    """Whether a statement takes long, or returns much, by itself: an agent that gives up on it says nothing."""
    before = time.time()
    try:
        raw(direct, sql)
    except Exception:
        return True
    return time.time() - before > 0.5


def main():
    path, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32)
    ready = pathlib.Path(f"{path}.ready")
    for _ in range(3000):
        if ready.exists():
            break
        time.sleep(0.1)
    host, port = ready.read_text().split()
    direct = Database(host, port).connect("shop")
    # What stands in it is nobody's, and has an `@` all the same.
    direct.execute('drop table if exists "drop"')
    direct.execute("set statement_timeout = '2s'")
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    stream = peer.makefile("rw")

    def agent(statements):
        request = {"database": "shop", "other": [], "copy": "", "steps": [{"sql": sql} for sql in statements]}
        stream.write(json.dumps(request) + "\n")
        stream.flush()
        return json.loads(stream.readline())

    dice, until, played, allowed, refused, wrong = random.Random(seed), time.time() + seconds, 0, 0, {}, 0
    while time.time() < until and wrong < 10:
        dirty = [Grammar(dice, False).statement() for _ in range(20)]
        answer = agent(dirty)
        played += len(dirty)
        if "failure" in answer or answer["closed"] or LEAK.search(bytes.fromhex(answer["data"])):
            for sql in dirty:
                alone = agent([sql])
                found = LEAK.search(bytes.fromhex(alone.get("data", "")))
                if "failure" in alone and is_slow(direct, sql):
                    continue
                if "failure" in alone or alone["closed"] or found:
                    wrong += 1
                    print(f"LEAK {found} {alone.get('closed')} {alone.get('failure')}: {sql}", flush=True)
        for code in answer.get("errors", []):
            refused[code] = refused.get(code, 0) + 1
        allowed += len(dirty) - len(answer.get("errors", []))
        for _ in range(4):
            sql = Grammar(dice, True).statement()
            played += 1
            counted = sql if sql.startswith("begin") else f"select * from ({sql}) w limit 1001"
            try:
                if len(raw(direct, counted)) > 1000:
                    continue
                expected = [tuple(None if v is None else str(v) for v in row) for row in raw(direct, sql)]
            except Exception:
                continue
            answer = agent([sql])
            found = fields(bytes.fromhex(answer["data"])) if "data" in answer else None
            if answer.get("errors") or found != sorted(expected, key=repr):
                wrong += 1
                print(f"DIFFERS {answer.get('errors')} {answer.get('messages')}: {sql}", flush=True)
    print(f"seed {seed}: {played} statements, {allowed} allowed, refused {refused}, {wrong} wrong")
    return 1 if wrong else 0


def raw(connection, sql):
    """Rows as text, as the simple protocol gives them."""
    import psycopg

    cursor = psycopg.ClientCursor(connection)
    rows = []
    cursor.execute(sql)
    while True:
        result = cursor.pgresult
        if result is not None and result.status == psycopg.pq.ExecStatus.TUPLES_OK:
            for row in range(result.ntuples):
                values = [result.get_value(row, column) for column in range(result.nfields)]
                rows.append([None if value is None else value.decode() for value in values])
        if not cursor.nextset():
            return rows


if __name__ == "__main__":
    sys.exit(main())
