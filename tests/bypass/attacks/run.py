"""Runs the SQL cases through the real redirect and judges each by its oracle. Standard output: one line for each failure.

Stays outside the agents' cgroup, so that it reaches the database directly. The verdicts are those of the cases' authors:
deny, mask, allow, error, close, and whatever `also_ok` lists.
"""
import json
import pathlib
import re
import socket
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import approver  # noqa: E402
import policies  # noqa: E402

ROLES = {"agent_rw": "rw", "agent_super": "su"}


def cases(only):
    lines = [line for name in ("cases.jsonl", "approvals.jsonl", "further.jsonl") for line in (HERE / name).read_text().split("\n") if line]
    every = [case for case in map(json.loads, lines) if case["kind"] == "sql"]
    found = [case for case in every if case["id"].startswith(only)]
    kinds = sorted({case["policy"] for case in every})
    for case in found:
        case["prefix"] = f"p{kinds.index(case['policy'])}x_"
        name = re.sub("[^a-z0-9]", "_", case["id"])
        case["database"] = f"{case['prefix']}{ROLES[case['role']]}_{name}"
    return found


def prepare(folder, found):
    """Policies for all cases in one folder."""
    by_policy = {}
    for case in found:
        by_policy.setdefault((case["policy"], case["prefix"]), []).append(case["database"])
    for (text, prefix), databases in by_policy.items():
        (folder / f"{prefix}.cedar").write_text(f"// {text}\n" + policies.translate(text, prefix, databases))
    (folder / "labels.toml").write_text(policies.labels())


class Database:
    """A superuser's view of the server."""

    def __init__(self, host, port):
        import psycopg

        self.connect = lambda database: psycopg.connect(
            f"host={host} port={port} dbname={database} user=agent_super password=gateway-only-su", autocommit=True
        )
        self.server = self.connect("postgres")

    def run(self, sql):
        """Server-wide statements, which meet sessions that are about to end."""
        for attempt in range(60):
            try:
                return self.server.execute(sql)
            except Exception as error:
                if attempt == 59 or "being accessed" not in str(error):
                    raise
                time.sleep(0.1)


def verdicts(case, answer, leaks, effect):
    """Everything that an answer counts as."""
    errors, expected = answer["errors"], set(case.get("sqlstate", []))
    # An effect that says "is still there" proves on a bare server that a text is harmless; here it must hold.
    effect = effect and "IS NOT NULL" not in case.get("oracle", {}).get("effect", "")
    harm = (leaks and case["expect"] != "allow") or (effect and case["expect"] == "deny")
    found = []
    if not harm and expected & set(errors):
        found += ["deny", "error"]
    if not harm and not errors:
        found += ["mask", "allow"]
    if not harm and "42501" in errors:
        found.append("deny")
    # What the server itself refuses is refused.
    if not harm and case["expect"] == "error" and case.get("oracle", {}).get("bare_sqlstate") in errors:
        found.append("error")
    # Cases that may be allowed or refused name no code: any limit's will do.
    if not harm and "error" in case.get("also_ok", []) and not expected and set(errors) <= {"54000", "54001", "57014"} and errors:
        found.append("error")
    if answer["closed"]:
        found.append("close")
    if case["expect"] == "allow" and errors and case.get("oracle", {}).get("bare_sqlstate") in errors:
        found.append("allow")
    return found


def play(case, database, agent, port, human=None):
    """What is wrong with how a case went."""
    name, oracle = case["database"], case.get("oracle", {})
    database.run(f"CREATE DATABASE {name} TEMPLATE shop_t STRATEGY file_copy")
    inside = database.connect(name)
    try:
        oid = str(inside.execute("SELECT 'public.users'::regclass::oid::text").fetchone()[0])
        fill = lambda sql: sql.replace("@DB@", name).replace("@PORT@", str(port)).replace("@OID:public.users@", oid)
        if case.get("setup"):
            inside.execute(fill(case["setup"]))
        steps = [{"sql": fill(sql)} for sql in case.get("pre", [])]
        if case["mode"] == "session":
            steps += [{"sql": fill(sql)} for sql in case["steps"]]
        elif case["mode"] == "extended":
            steps += [{**step, "sql": fill(step["sql"])} for step in case["steps"]]
        elif case["input"] == "@gen":
            steps.append({"generate": case["input_gen"]})
        elif case["input"].startswith("hex:"):
            steps.append({"hex": case["input"][4:]})
        else:
            steps.append({"sql": fill(case["input"])})
        texts = [step["sql"] for step in steps if "sql" in step]
        if human:
            human.expect(name, texts[:-1])
        other = [fill(sql) for sql in case.get("session2", [])]
        answer = agent({"database": name, "other": other, "steps": steps, "copy": case.get("copy_data", "")})
        if "failure" in answer:
            return [answer["failure"]]
        received = bytes.fromhex(answer["raw"])
        # A leak of one letter is one in a row; every error message has that letter somewhere.
        rows = bytes.fromhex(answer["data"])
        leaks = [leak for leak in oracle.get("leak", []) if leak.encode() in (received if len(leak) > 3 else rows)]
        missing = [text for text in oracle.get("must_contain", []) if text.encode() not in received]
        effect = bool(oracle.get("effect")) and inside.execute(fill(oracle["effect"])).fetchone()[0] in (True, "t")
        wrong, found = [], verdicts(case, answer, leaks, effect)
        wanted = [case["expect"], *case.get("also_ok", [])]
        if not set(found) & set(wanted):
            wrong.append(f"wanted {wanted}, got {found}: errors {answer['errors']} {answer['messages']}, leaks {leaks}, effect {effect}")
        if leaks and case["expect"] != "allow":
            wrong.append(f"leaks {leaks}")
        if case["expect"] == "allow" and missing:
            wrong.append(f"missing {missing}")
        # The budget's own case counts over all of its statements.
        if human:
            wrong += human.verdict(name, answer, texts[-1])
        if answer["rows"] > oracle.get("max_rows_out_total", oracle.get("max_rows_out", 1 << 60)):
            wrong.append(f"{answer['rows']} rows")
        return wrong
    finally:
        if case.get("cleanup_db"):
            inside.execute(case["cleanup_db"].replace("@DB@", name))
        inside.close()
        if case.get("cleanup"):
            database.run(case["cleanup"].replace("@DB@", name))
        database.run(f"DROP DATABASE {name} WITH (FORCE)")


def main():
    what, only = sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else ""
    found = cases(only)
    if what == "prepare":
        return prepare(pathlib.Path(sys.argv[2]), cases(""))
    path = pathlib.Path(sys.argv[2])
    ready = pathlib.Path(f"{path}.ready")
    for _ in range(3000):
        if ready.exists():
            break
        time.sleep(0.1)
    host, port = ready.read_text().split()
    database = Database(host, port)
    database.run("CREATE DATABASE shop_t TEMPLATE shop")
    for table, label in (("secrets", "secret"),):
        template = database.connect("shop_t")
        template.execute(f"COMMENT ON TABLE public.{table} IS 'interceptor: label={label}'")
        template.close()
    database.run("ALTER DATABASE shop_t IS_TEMPLATE true ALLOW_CONNECTIONS false")
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    stream = peer.makefile("rw")

    def agent(request):
        stream.write(json.dumps(request) + "\n")
        stream.flush()
        return json.loads(stream.readline())

    failed, human = 0, None
    if what == "approvals":
        control, trail = pathlib.Path(f"{path}.operators").read_text().splitlines()
        human = approver.Approver(control, trail)
    for case in found:
        try:
            wrong = play(case, database, agent, port, human)
        except Exception as error:
            wrong = [repr(error)]
        if wrong:
            failed += 1
            print(f"{case['id']} [{case['policy']}] {case['why'][:70]}: {'; '.join(wrong)}", flush=True)
    print(f"{len(found)} cases, {failed} failed")
    return 1 if failed or not (found or only) else 0


if __name__ == "__main__":
    sys.exit(main())
