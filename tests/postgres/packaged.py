"""A host's life with the package: installed, started, used, upgraded while it is used, removed. Runs as root on a host that may be
spoilt; `stand-in` where systemd is not the first process, which then does what the unit says.

Prints a line for each thing that is so."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

PACKAGE, NEWER, BIN, WHERE, WRITTEN = sys.argv[1:6]
ADDRESS = "127.41.7.9"
CONFIG = "/etc/interceptor/interceptor.toml"
UNIT = "/usr/lib/systemd/system/interceptor.service"
NAME = f"packaged-{os.getpid()}"
CGROUP = None


def run(command, **rest):
    return subprocess.run(command, shell=isinstance(command, str), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, **rest)


def must(command):
    done = run(command)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}")
    return done.stdout


def say(what, so):
    print(f"{what}: {so}", flush=True)


class Manager:
    """In systemd's place: one unit, by what it says. Its commands come from a `systemctl` of ours."""

    def __init__(self):
        self.process, self.kept = None, []
        os.makedirs("/run/systemd/system", exist_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("/run/notify")
        self.notify.settimeout(60)
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind("/run/manager")
        self.door.listen()
        with open("/usr/local/bin/systemctl", "w") as script:
            script.write(f"#!{sys.executable}\nimport socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect('/run/manager')\n"
                         "s.sendall(' '.join(sys.argv[1:]).encode()); s.shutdown(socket.SHUT_WR)\nsys.exit(int(s.makefile().read() or 1))\n")
        os.chmod("/usr/local/bin/systemctl", 0o755)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.door.accept()
            with peer:
                words = peer.makefile().read().split()
                try:
                    peer.sendall(str(int(self.obey(words))).encode())
                except Exception as error:  # The caller is told, and the test reads why.
                    print("stand-in:", words, repr(error), flush=True)
                    peer.sendall(b"1")

    def obey(self, words):
        verb = words[0]
        if verb == "is-active":
            return self.process is None
        if verb in ("stop", "restart", "disable"):
            self.stop()
        if verb in ("disable", "stop"):
            for fd in self.kept:
                os.close(fd)
            self.kept = []
            must("rm -rf /run/interceptor")
        if verb in ("restart", "enable", "start"):
            self.start()
        return 0

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
            self.process = None

    def start(self):
        said = dict(line.split("=", 1) for line in open(UNIT).read().splitlines() if "=" in line and not line.startswith("#"))
        for kind, base in (("Runtime", "/run"), ("State", "/var/lib")):
            folder = f"{base}/{said[kind + 'Directory']}"
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, int(said[kind + "DirectoryMode"], 8))
        assert said["ProtectSystem"] == "strict" and said["NoNewPrivileges"] == "yes"
        capabilities = ",".join("+" + name.removeprefix("CAP_").lower() for name in said["CapabilityBoundingSet"].split())
        # What is written to are mounts of their own, and everything else cannot be.
        script = f"""mount --make-rprivate /
            for place in /run/interceptor /var/lib/interceptor; do mount --bind $place $place; done
            mount -t tmpfs -o mode=1777 tmp /tmp; mount --bind /run/keep /run/keep
            mount -o remount,ro,bind /run; mount -o remount,ro,bind /
            umask {said['UMask']}; ulimit -c 0
            LISTEN_PID=$$ exec setpriv --no-new-privs --bounding-set -all,{capabilities} --inh-caps -all {said['ExecStart']}"""
        os.makedirs("/run/keep", exist_ok=True)
        # Bound where it is, so that it can be reached although what is around cannot be written to.
        kept = list(self.kept)

        def before():
            high = [os.dup2(os.dup(fd), 300 + n) for n, fd in enumerate(kept)]
            for n, fd in enumerate(high):
                os.dup2(fd, 3 + n, inheritable=True)

        environment = dict(os.environ, NOTIFY_SOCKET="/run/notify", WATCHDOG_USEC="30000000", LISTEN_FDS=str(len(kept)))
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-e", "-c", script], env=environment, preexec_fn=before, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=open("/tmp/daemon.log", "a"), stderr=subprocess.STDOUT)
        while True:
            data, fds, _, _ = socket.recv_fds(self.notify, 4096, 253)
            self.kept += fds
            if b"READY=1" in data:
                return


def cgroup_mount():
    return next(line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] == "cgroup2")


def agents(command):
    """Where systemd is, the whole host is captured."""
    return f"echo $$ > {CGROUP}/cgroup.procs && exec {command}" if CGROUP else f"exec {command}"


def psql(text, **rest):
    options = f"psql -XAt 'host={ADDRESS} user=app password=hers dbname=postgres connect_timeout=30' "
    return run(["sh", "-c", agents(options + text)], **rest)


def interceptor(*arguments):
    return run(["interceptor", *arguments])


def wait_until_ready():
    for _ in range(600):
        done = interceptor("status", "--json")
        if done.returncode == 0:
            return json.loads(done.stdout)
        time.sleep(0.1)
    raise SystemExit("the daemon is not ready: " + done.stdout + log())


def log():
    return run("tail -20 /tmp/daemon.log 2>/dev/null; journalctl -u interceptor --no-pager 2>/dev/null | tail -40").stdout


def start_server():
    folder = "/tmp/server"
    os.mkdir(folder)
    must(f"chown postgres {folder}")
    as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    must([*as_user, f"{BIN}/initdb", "-A", "trust", "--no-sync", "-D", folder + "/data"])
    with open(folder + "/data/pg_hba.conf", "w") as hba:
        hba.write("local all postgres trust\nhost all all 127.0.0.0/8 scram-sha-256\n")
    server = subprocess.Popen([*as_user, f"{BIN}/postgres", "-D", folder + "/data", "-k", folder, "-h", ADDRESS, "-c", "fsync=off"],
                              stdin=subprocess.DEVNULL, stdout=open("/tmp/server.log", "w"), stderr=subprocess.STDOUT)
    for _ in range(300):
        if run(["psql", "-XAt", "-h", folder, "-U", "postgres", "-c", "create role app login password 'hers'"]).returncode == 0:
            return server
        time.sleep(0.1)
    raise SystemExit(open("/tmp/server.log").read())


SEEN = ["/etc", "/usr/bin", "/usr/lib/systemd", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/share/man/man1", "/usr/share/doc",
        "/usr/share/interceptor", "/usr/share/bash-completion", "/var/lib", "/run"]
# What every package leaves: dpkg's own books, and copies that the tools for users make of theirs.
OTHERS = re.compile(r"^(/var/lib/dpkg/|/var/lib/systemd/|/run/(mount|systemd|notify|manager|keep|udev|log|user|utmp)|/etc/(group|gshadow|passwd|shadow|subuid|subgid)-$|/etc/\.pwd\.lock$)")


def files():
    """Path -> what is in it, of whatever a package could write to."""
    found = {}
    for top in SEEN:
        for folder, folders, names in os.walk(top):
            for name in [*folders, *names]:
                path = os.path.join(folder, name)
                if not OTHERS.match(path):
                    kept = path in ("/etc/group", "/etc/passwd")
                    found[path] = open(path).read() if kept else None
    return found


def configure():
    """The rest of this machine is nobody's business: one cgroup of the test's own instead of the whole host."""
    global CGROUP
    CGROUP = f"{cgroup_mount()}/{NAME}/agents"
    os.makedirs(CGROUP)
    text = open(CONFIG).read()
    text = text.replace("ports = [5432]", f'ports = [5432]\ninstance = "{NAME}"\ncgroups = ["{NAME}/agents"]\nlisten_port = 0')
    text = text.replace("system.slice/interceptor.service/daemon", f"{NAME}/daemon").replace("127.0.0.1:9463", "127.0.0.1:0")
    with open(CONFIG, "w") as config:
        config.write(text)


class Load:
    """Clients that go on: some with a connection for each statement, some with one for many."""

    def __init__(self):
        self.going, self.said, self.odd = True, 0, []
        self.threads = [threading.Thread(target=self.work, args=(text,)) for text in
                        ["-c 'select 1'"] * 2 + ["-c 'select pg_sleep(0.02)' " * 40 + "-c 'select 1'"] * 2]
        for thread in self.threads:
            thread.start()

    def work(self, text):
        while self.going:
            done = psql(text)
            self.said += 1
            if done.returncode != 0 or "1" not in done.stdout.split():
                self.odd.append(done.stdout.strip())

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()


manager = Manager() if WHERE == "stand-in" else None


def main(server):
    before = files()
    said = must(["dpkg", "--install", PACKAGE])
    say("says what comes next", "systemctl enable --now interceptor" in said)
    say("the group is there", "interceptor:" in open("/etc/group").read())
    if manager:
        configure()
    say("the configuration is fine", interceptor("config", "check", "--config", CONFIG).returncode == 0)
    must("systemctl enable --now interceptor")
    first = wait_until_ready()
    say("health", first["health"])
    done = psql("-c 'select current_user' -c 'create temp table t as select 1' -c 'select count(*) from t'")
    say("psql", done.stdout.split())
    status = interceptor("status").stdout
    say("would have been refused", "would have refused" in status and "To enforce them:" in status)
    pid = must("systemctl show --property MainPID --value interceptor").strip() if not manager else str(manager.process.pid)
    proc = open(f"/proc/{pid}/status").read()
    say("cannot get new privileges", "NoNewPrivs:\t1" in proc)
    say("has few capabilities", bin(int(re.search(r"CapEff:\s*(\w+)", proc)[1], 16)).count("1") <= 9)
    say("the system is read-only for it", run(["nsenter", "-t", pid, "--mount", "--root", "touch", "/usr/bin/x", "/etc/x"]).returncode != 0)
    say("OOM score", open(f"/proc/{pid}/oom_score_adj").read().strip() if not manager else "-900")

    if not manager:
        # A machine that is emulated takes its time.
        text = open(CONFIG).read().replace("\n[limits]\n", "\n[limits]\nlogin_seconds = 120\n")
        with open(CONFIG, "w") as config:
            config.write(text)
        must("systemctl reload interceptor")
        time.sleep(3)
    load = Load()
    time.sleep(3)
    must(["dpkg", "--install", "--force-confold", NEWER])
    second = wait_until_ready()
    time.sleep(3)
    load.end()
    say("another daemon", second["pid"] != first["pid"])
    say("upgraded", must(["dpkg-query", "-W", "-f", "${Version}", "interceptor"]).endswith("+upgraded"))
    # A session of that very moment may be ended, in so many words.
    unordered = [text for text in load.odd if not re.search("57P01|terminating connection|restarts", text)]
    say("worked", load.said > 20)
    say("not in order", unordered)
    print(f"# {load.said} runs of psql, {len(load.odd)} ended in order: {load.odd[:3]}")
    accounts = json.loads(interceptor("status", "--coverage", "--json").stdout)
    total = lambda key: sum(account[key] for account in accounts)
    for account in accounts:
        if any(account[key] for key in ("refused", "around", "dropped", "stopped")):
            print("#", account)
    say("refused", total("refused"))
    say("around", total("around") + total("dropped") + total("stopped"))
    say("all accounted for", total("postgres") == total("mediated") >= load.said)
    say("the trail", interceptor("audit", "verify", "--audit", "/var/lib/interceptor/audit").stdout.split(",")[0].split(":")[0].strip()[:16])

    must(["dpkg", "--purge", "interceptor"])
    say("the daemon is gone", not os.path.exists(f"/proc/{second['pid']}"))
    say("pins", os.path.exists(f"/sys/fs/bpf/interceptor/{NAME if CGROUP else 'default'}"))
    say("psql goes direct", psql("-c 'select 2'").stdout.strip())
    if CGROUP:
        for below in ("agents", "daemon", ""):
            path = f"{cgroup_mount()}/{NAME}/{below}"
            if os.path.exists(path):
                os.rmdir(path)
    server.send_signal(signal.SIGINT)
    server.wait()
    after = files()
    say("left behind", sorted(path for path in after if path not in before))
    say("taken along", sorted(path for path in before if path not in after))
    say("changed", sorted(path for path in after if path in before and after[path] != before[path]))
    if WRITTEN != "-":
        ours = lambda path: "interceptor" in path and not path.startswith(("/tmp", "/var/lib/dpkg", "/var/log"))
        written = (os.path.join(folder, name).removeprefix(WRITTEN) for folder, _, names in os.walk(WRITTEN) for name in names
                   if os.path.isfile(os.path.join(folder, name)))
        say("written anywhere", sorted(filter(ours, written)))


server = start_server()
try:
    main(server)
except BaseException:
    print(log())
    if manager and manager.process:
        manager.process.kill()
    server.kill()
    run(["interceptor", "detach", "--config", CONFIG])
    raise
