"""What a process can do to look like another one. Runs as an agent; prints one line for each attempt."""
import ctypes
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import urllib.request

CGROUP = sys.argv[1]
SECRET = open(os.path.join(os.path.dirname(os.environ["INTERCEPTOR_CONFIG"]), "issuer-secret")).read().strip()


def mint(subject):
    body = json.dumps({"subject": subject}).encode()
    request = urllib.request.Request(os.environ["INTERCEPTOR_ISSUER"] + "/admin/tokens", body, {"authorization": f"Bearer {SECRET}"})
    return json.load(urllib.request.urlopen(request))["token"]


def dial():
    connection = socket.create_connection((os.environ["PGHOST"], 5432))
    body = struct.pack(">i", 196608) + b"user\0x\0database\0shop\0\0"
    connection.sendall(struct.pack(">i", len(body) + 4) + body)
    return connection


def answer(connection):
    """Values of rows, or the SQLSTATE of the error that came."""
    said = b""
    while not said.endswith((b"Z\0\0\0\5I", b"Z\0\0\0\5E")):
        part = connection.recv(65536)
        if not part:
            break
        said += part
    rows, failed, at = [], None, 0
    while at + 5 <= len(said):
        length = struct.unpack(">i", said[at + 1 : at + 5])[0]
        body = said[at + 5 : at + 1 + length]
        if said[at : at + 1] == b"E":
            failed = next(field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C")
        if said[at : at + 1] == b"D":
            rows.append(body[6:].decode())
        at += 1 + length
    return failed or " ".join(rows) or "ready"


def who(connection):
    text = b"select current_setting('interceptor.agent')\0"
    connection.sendall(b"Q" + struct.pack(">i", len(text) + 4) + text)
    return answer(connection)


def log_in():
    connection = dial()
    first = answer(connection)
    return who(connection) if first == "ready" else first


def within(name, work, environment=None):
    """Runs `work` (a name of ours) as a process of its own in a cgroup of its own."""
    folder = f"{CGROUP}/{name}"
    os.makedirs(folder, exist_ok=True)
    started = f"echo $$ > {folder}/cgroup.procs; exec \"$@\""
    words = ["sh", "-c", started, "sh", sys.executable, __file__, CGROUP, work]
    env = {key: value for key, value in os.environ.items() if key != "AGENT_ID_TOKEN"} | (environment or {})
    run = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip() or f"status {run.returncode}"


def overwrite():
    """Another agent's token, put into this process's environment where the kernel looks for it."""
    token = os.environ["STOLEN"]
    with open("/proc/self/stat") as stat:
        start = int(stat.read().rsplit(")", 1)[1].split()[47])
    with open("/proc/self/environ", "rb") as environ:
        at = environ.read().index(b"AGENT_ID_TOKEN=")
    ctypes.memmove(start + at + len("AGENT_ID_TOKEN="), token.encode(), len(token))
    assert ("AGENT_ID_TOKEN=" + token).encode() in open("/proc/self/environ", "rb").read()
    print(log_in())


def name():
    with open("/proc/self/comm", "w") as comm:
        comm.write("x) R 1 1 1")
    print(log_in())


def fork():
    connection = dial()
    answer(connection)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, who(connection).encode())
        os._exit(0)
    os.wait()
    print(os.read(reading, 100).decode())


def become():
    """Another program goes on with the session."""
    connection = dial()
    answer(connection)
    os.set_inheritable(connection.fileno(), True)
    text = b"select 'still here'\0"
    query = (b"Q" + struct.pack(">i", len(text) + 4) + text).hex()
    hexed = "".join(f"\\x{query[at : at + 2]}" for at in range(0, len(query), 2))
    script = f"sleep 2.5; printf '{hexed}' >&{connection.fileno()}; head -c 2000 <&{connection.fileno()} | tr -c '[:print:]' '\\n' | grep -o 'C28000\\|still here'"
    os.execv("/bin/bash", ["bash", "-c", script])


def moved():
    """The kernel is told that this process's environment is elsewhere, where another agent's token stands."""
    fake = ctypes.create_string_buffer(b"AGENT_ID_TOKEN=" + os.environ["STOLEN"].encode() + b"\0")
    libc, at = ctypes.CDLL(None, use_errno=True), ctypes.addressof(fake)
    libc.sbrk.restype = ctypes.c_void_p
    with open("/proc/self/stat") as stat:
        fields = [0, 0, 0] + stat.read().rsplit(")", 1)[1].split()
    now = {name: int(fields[at]) for name, at in {"code": 26, "stack": 28, "data": 45, "brk": 47, "arg": 48}.items()}
    # struct prctl_mm_map, which needs no privilege: proc_pid_stat(5) says where everything is now.
    code, data = (now["code"], int(fields[27])), (now["data"], int(fields[46]))
    heap, arg = (now["brk"], libc.sbrk(0)), (now["arg"], int(fields[49]))
    layout = struct.pack("11QQII", *code, *data, *heap, now["stack"], *arg, at, at + len(fake), 0, 0, 2**32 - 1)
    buffer = ctypes.create_string_buffer(layout)
    done = libc.prctl(35, 14, ctypes.c_void_p(ctypes.addressof(buffer)), ctypes.c_ulong(len(layout)), 0)
    assert done == 0, os.strerror(ctypes.get_errno())
    assert os.environ["STOLEN"].encode() in open("/proc/self/environ", "rb").read()
    print(log_in())


def closed():
    """A process that others of its user may not look into (PR_SET_DUMPABLE)."""
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
    print(log_in())


def hand_on():
    """A session that somebody else is given: it stays the session of who has opened it, also on record."""
    connection = dial()
    answer(connection)
    path = os.environ["AT"]
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        if os.fork() == 0:
            peer, _ = door.accept()
            socket.send_fds(peer, [b"x"], [connection.fileno()])
            os._exit(0)
        print(within("theirs", "receive", {"AGENT_ID_TOKEN": os.environ["THEIRS"], "AT": path}))
    os.wait()
    os.remove(path)


def receive():
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(os.environ["AT"])
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
    print(log_in(), who(socket.socket(fileno=descriptors[0])))


def plain():
    print(log_in())


WORK = {"overwrite": overwrite, "name": name, "fork": fork, "become": become, "plain": plain}
WORK |= {"moved": moved, "closed": closed, "hand_on": hand_on, "receive": receive}

if len(sys.argv) > 2:
    WORK[sys.argv[2]]()
    sys.exit()

ours, theirs = mint("agent:ours"), mint("agent:theirs")
print("the other one:", within("theirs", "plain", {"AGENT_ID_TOKEN": theirs}))
print("environment overwritten in place:", within("thief", "overwrite", {"AGENT_ID_TOKEN": "x" * len(theirs), "STOLEN": theirs}))
print("environment moved elsewhere:", within("mover", "moved", {"AGENT_ID_TOKEN": "x" * 16, "STOLEN": theirs}))
print("nobody may look, and no token:", within("closed", "closed"))
print("nobody may look, but the daemon:", within("ours", "closed", {"AGENT_ID_TOKEN": ours}))
handed = {"AGENT_ID_TOKEN": ours, "THEIRS": theirs, "AT": f"/tmp/handed-{os.getpid()}"}
print("a session that is handed to another agent:", within("ours", "hand_on", handed))
print("a name that looks like the fields behind it:", within("ours", "name", {"AGENT_ID_TOKEN": ours}))
print("a child that goes on with the session:", within("ours", "fork", {"AGENT_ID_TOKEN": ours}))
print("another program that goes on with it:", within("ours", "become", {"AGENT_ID_TOKEN": ours}))
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
crowd = {f"V{number}": "x" * 25 for number in range(70_000)}
print("a token behind two megabytes of variables:", within("ours", "plain", crowd | {"AGENT_ID_TOKEN": ours}))
for flags in (["--pid", "--fork"], ["--user", "--map-root-user"]):
    script = f"echo $$ > {CGROUP}/ours/cgroup.procs; exec unshare {' '.join(flags)} {sys.executable} {__file__} {CGROUP} plain"
    env = os.environ | {"AGENT_ID_TOKEN": ours}
    said = subprocess.run(["sh", "-c", script], env=env, stdout=subprocess.PIPE, text=True).stdout.strip()
    print(f"from another namespace ({flags[0][2:]}):", said)
