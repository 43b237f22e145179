"""Mixed load of two agents while everything around them fails: the daemon is killed, policies change, the issuer and the database go
away for a while. Run as the agent of a scene whose database is DSN's; prints what was found, one fact a line.

    soak.py SECONDS A_TOKEN_FILE B_TOKEN_FILE CGROUPS POLICIES ISSUER_PID POSTMASTER_PID
"""
import glob
import json
import os
import random
import signal
import subprocess
import sys
import time

SECONDS, A, B, CGROUPS, POLICIES, ISSUER, POSTMASTER = sys.argv[1:8]
SECONDS = int(SECONDS)
HERE = os.path.dirname(A)

WORKER = r"""
import os, psycopg, random, sys, time
agent, number, until = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
facts = {"done": 0, "wrong": 0, "refused": 0}
ids = open(f"{sys.argv[4]}/ids-{agent}-{number}", "w")
count = 0
while time.time() < until:
    try:
        with psycopg.connect("", connect_timeout=5, autocommit=True) as db:
            for _ in range(random.randint(1, 40)):
                if time.time() > until:
                    break
                who, mail = db.execute("select current_setting('interceptor.agent'), (select email from people where id = %s)", [random.randint(1, 9)]).fetchone()
                facts["wrong"] += who != f"agent:{agent}" or "@" in mail
                count += 1
                key = f"{agent}-{number}-{count}"
                ids.write(key + "\n")
                db.execute(f"insert into done (key) values ('{key}')")
                facts["done"] += 1
                if random.random() < 0.1:
                    with db.transaction(force_rollback=True):
                        db.execute("insert into done (key) values ('rolled back') returning key")
                if random.random() < 0.1:
                    db.execute("select key from done order by key limit 50").fetchall()
    except psycopg.Error:
        facts["refused"] += 1
        time.sleep(0.05)
ids.close()
print(facts["done"], facts["wrong"], facts["refused"], flush=True)
"""


def worker(agent, number, token, until):
    environment = dict(os.environ, AGENT_ID_TOKEN=token, PGSSLMODE=random.choice(["disable", "require"]))
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    command = ["sh", "-c", enter, f"{CGROUPS}/{agent}", sys.executable, f"{HERE}/worker.py", agent, str(number), str(until), HERE]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


class Daemon:
    def __init__(self):
        self.pid, self.started = int(os.environ["INTERCEPTOR_DAEMON_PID"]), None

    def crash(self):
        os.kill(self.pid, signal.SIGKILL)
        if self.started:
            self.started.wait()
        time.sleep(random.uniform(0, 0.5))
        log = open(f"{HERE}/daemon.log", "a")
        # Moved out of the agents' cgroup first, as a service manager would have it.
        command = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        root = os.path.dirname(os.path.dirname(CGROUPS.rstrip("/")))
        self.started = subprocess.Popen(
            ["sh", "-c", command, root, os.environ["INTERCEPTOR"], "run", "--config", os.environ["INTERCEPTOR_CONFIG"]],
            stdout=log, stderr=log, start_new_session=True,
        )
        self.pid = self.started.pid

    def memory(self):
        with open(f"/proc/{self.pid}/status") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def pause(pid, seconds):
    os.kill(int(pid), signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(int(pid), signal.SIGCONT)


def reload(number):
    with open(f"{POLICIES}/zz.cedar.new", "w") as out:
        out.write(f'@id("seen-{number}") @mode("observe") forbid (principal, action == PG::Action::"drop", resource);\n')
    os.rename(f"{POLICIES}/zz.cedar.new", f"{POLICIES}/zz.cedar")


def hang_up():
    subprocess.run(["psql", "-XAtqc", "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'",
                    os.environ["INTERCEPTOR_UPSTREAM"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    with open(f"{HERE}/worker.py", "w") as out:
        out.write(WORKER)
    begin = time.time()
    until = begin + SECONDS
    tokens = {"a": open(A).read().strip(), "b": open(B).read().strip()}
    workers = [worker(agent, number, tokens[agent], until) for agent in "ab" for number in range(3)]
    daemon, round, memory = Daemon(), 0, None
    while time.time() < until - 1:
        time.sleep(random.uniform(0.8, 1.6))
        round += 1
        # The last third is for memory: without kills, so that there is something to compare.
        quiet = time.time() > begin + SECONDS * 2 / 3
        if quiet and memory is None:
            memory = daemon.memory()
        what = round % 5
        if what == 0 and not quiet:
            daemon.crash()
        elif what == 1:
            reload(round)
        elif what == 2:
            pause(ISSUER, 0.7)
        elif what == 3:
            pause(POSTMASTER, 0.7)
        elif what == 4:
            hang_up()
    done = wrong = refused = 0
    for one in workers:
        out, _ = one.communicate()
        words = [int(word) for word in out.split()]
        done, wrong, refused = done + words[0], wrong + words[1], refused + words[2]
    grown = daemon.memory() - memory
    rows = subprocess.run(["psql", "-XAtqc", "select key from done", os.environ["INTERCEPTOR_UPSTREAM"]], capture_output=True, text=True).stdout.split("\n")
    rows = [row for row in rows if row]
    recorded = {}
    for line in subprocess.run([os.environ["INTERCEPTOR"], "audit", "search", "--text", "insert into done", "--event", "statement", "--json"], capture_output=True, text=True).stdout.splitlines():
        record = json.loads(line)
        if record["decision"] == "permit":
            key = record["statement"].split("'")[1]
            recorded[key] = recorded.get(key, 0) + 1
    asked = {line.strip() for name in glob.glob(f"{HERE}/ids-*") for line in open(name)}
    verified = subprocess.run([os.environ["INTERCEPTOR"], "audit", "verify"], capture_output=True, text=True)
    print(f"enough {done > SECONDS * 5} ({done} done, {refused} times refused, {round} events)")
    print(f"wrong identity or unmasked {wrong}")
    print(f"twice in the database {len(rows) - len(set(rows))}")
    print(f"in the database and not on record {len(set(rows) - set(recorded))}")
    print(f"on record more than once {sum(1 for key, count in recorded.items() if count > 1 and key != 'rolled back')}")
    print(f"on record and never asked for {len(set(recorded) - asked - {'rolled back'})}")
    print(f"rolled back and there all the same {rows.count('rolled back')}")
    print(f"trail stands {verified.returncode == 0} {verified.stdout.strip().splitlines()[-1] if verified.returncode else ''}".strip())
    print(f"memory flat {grown < 40_000} ({grown} kB)")
    os.kill(daemon.pid, signal.SIGTERM)
    if daemon.started:
        daemon.started.wait()


main()
