"""Plays the wire cases byte for byte through the real redirect and judges each by its oracle. Standard output: one line for
each failure.

Stays outside the agents' cgroup, so that it reaches the database directly and can be a hostile server. What must hold for
every case: none of the canaries is in any byte that came, no table that only a smuggled text makes is there, and a session
that goes on is in step: it answers as many requests as were made, and the next one rightly. Then the verdict:

  close  the connection is closed
  error  an ErrorResponse with one of `sqlstate` (any, if the case names none)
  deny   the same, or 42501
  mask   no canary (and no error, unless it is the server's own)
  allow  the very messages that the bare server sends
"""
import json
import os
import pathlib
import re
import secrets
import socket
import struct
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import hostile  # noqa: E402
import policies  # noqa: E402
from run import Database  # noqa: E402

# Cases that cannot be played here, each with what has to happen before they can. One that can be played is an error.
NOT_PLAYABLE = {}
# Cases in which a blunter answer than the one asked for is as safe.
BLUNTER = {
    "framing-20": "the Bind in front of the smuggled Query is malformed and ends the session, as the server itself does",
}
# Cases that are played and in which the product is wrong, each with what is wrong. One that passes is an error.
WRONG = {
    "startup-30": "a parameter that no server has is refused as one that must not be set: 42501 instead of 42704",
}

CANARIES = [b"canary@", b"CANARY", b"111-22-3333", b"222-33-4444", b"4111-1111", b"4222-2222"]
MARK = hostile.MARK.decode()
# Names of the database in packets that are part of a case.
IN_PACKETS = "wiredb"
LIMITS = "limits: statement_timeout 2s"
NAMES = {"1": "ParseComplete", "2": "BindComplete", "3": "CloseComplete", "T": "RowDescription", "t": "ParameterDescription", "n": "NoData",
         "s": "PortalSuspended", "G": "CopyInResponse", "H": "CopyOutResponse", "I": "EmptyQueryResponse", "N": "NoticeResponse",
         "v": "NegotiateProtocolVersion", "d": "CopyData", "c": "CopyDone"}


def message(tag, body=b""):
    return tag.encode() + struct.pack(">i", len(body) + 4) + body


def query(text):
    return message("Q", text.encode() + b"\0")


def fields(body):
    return {part[:1].decode("latin1"): part[1:].decode("utf8", "replace") for part in body.split(b"\0") if part}


class Said:
    """What came, taken apart."""

    def __init__(self, raw, closed):
        self.raw, self.closed, self.messages = raw, closed, []
        # A single byte answers a request for encryption.
        at = 0
        while raw[at : at + 1] in (b"N", b"S") and raw[at + 1 : at + 2] in (b"", b"N", b"S", b"R", b"E", b"v"):
            at += 1
        while at + 5 <= len(raw):
            length = struct.unpack(">i", raw[at + 1 : at + 5])[0]
            if length < 4 or at + 1 + length > len(raw):
                break
            self.messages.append((chr(raw[at]), raw[at + 5 : at + 1 + length]))
            at += 1 + length
        self.errors = [fields(body).get("C", "") for tag, body in self.messages if tag == "E"]
        self.said = [fields(body).get("M", "") for tag, body in self.messages if tag == "E"]

    def count(self, tag):
        return sum(1 for found, _ in self.messages if found == tag)

    def trace(self):
        """As the cases write down what the bare server says; log-in left out."""
        words = []
        for tag, body in self.messages:
            if tag == "D" and words and words[-1].startswith("DataRow*"):
                words[-1] = f"DataRow*{int(words[-1][8:]) + 1}"
            elif tag == "D":
                words.append("DataRow*1")
            elif tag == "C":
                words.append(f"CommandComplete({body[:-1].decode()})")
            elif tag == "Z":
                words.append(f"ReadyForQuery({body.decode()})")
            elif tag == "E":
                words.append(f"ErrorResponse({fields(body).get('S')} {fields(body).get('C')}")
            elif tag in NAMES:
                words.append(NAMES[tag])
        return words


BARE = re.compile(
    r"NegotiateProtocolVersion|ParseComplete|BindComplete|CloseComplete|RowDescription|NoData|DataRow\*\d+|PortalSuspended|"
    r"CommandComplete\([^)]*\)|ReadyForQuery\(.\)|CopyInResponse|CopyOutResponse|EmptyQueryResponse|ErrorResponse\(\w+ \w+"
)


def cases(only):
    lines = (HERE / "cases.jsonl").read_text().splitlines()
    every = [case for case in map(json.loads, lines) if case["kind"] == "wire"]
    kinds = sorted({policy(case) for case in every})
    for case in every:
        case["database"] = IN_PACKETS if in_packets(case) else f"w{kinds.index(policy(case))}x_rw_wire"
    return [case for case in every if case["id"].startswith(only)]


def policy(case):
    # What these procedures are about does not end without a limit.
    return LIMITS if case["id"] == "server-37" else case["policy"]


def in_packets(case):
    return case["phase"].startswith(("pre-startup", "SSLRequest"))


def prepare(folder):
    found = {}
    for case in cases(""):
        found.setdefault(case["database"], "protocol" if in_packets(case) else policy(case))
    for database, text in found.items():
        prefix = database.partition("_")[0] + ("_" if "_" in database else "")
        (folder / f"{prefix}.cedar").write_text(f"// {text}\n" + policies.translate(text, prefix, [database]))
    (folder / "labels.toml").write_text(policies.labels())


class Stage:
    """Everything that cases are played on."""

    def __init__(self, path, agent):
        ready = pathlib.Path(f"{path}.ready")
        for _ in range(1200):
            if ready.exists():
                break
            time.sleep(0.1)
        self.host, self.port = ready.read_text().split()
        self.server = Database(self.host, self.port)
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(path))
        self.stream = peer.makefile("rw")
        self.where = self.agent("where")
        self.inside = {}
        self.liar = None
        self.number = 0

    def agent(self, step, **request):
        self.stream.write(json.dumps({"step": step, **request}) + "\n")
        self.stream.flush()
        answer = json.loads(self.stream.readline())
        if "failure" in answer:
            raise RuntimeError(answer["failure"])
        return answer

    def database(self, name):
        if name not in self.inside:
            self.server.run(f"CREATE DATABASE {name} TEMPLATE shop STRATEGY file_copy")
            self.inside[name] = self.server.connect(name)
        return self.inside[name]

    def ask(self, database, text):
        return self.database(database).execute(text).fetchone()[0]

    def open(self, database=None, host=None, minor=0):
        """A connection of the agent's; with a database, one that has logged in."""
        self.number += 1
        name = f"c{self.number}"
        answer = self.agent("open", name=name, database=database, host=host, minor=minor)
        return name, Said(bytes.fromhex(answer["opening"]), answer["closed"])

    def talk(self, name, pieces, **patience):
        answer = self.agent("talk", name=name, pieces=[piece if piece == "tls?" else piece.hex() for piece in pieces], **patience)
        return Said(bytes.fromhex(answer["raw"]), answer["closed"])

    def wait(self, name, seconds, text=b""):
        answer = self.agent("wait", name=name, seconds=seconds, text=text.hex())
        return Said(bytes.fromhex(answer["raw"]), answer["closed"])

    def hostile(self):
        if self.liar is None:
            # Not the real server's address, but loopback like it, and this process's alone.
            address = f"127.83.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"
            self.liar = hostile.Hostile(address, (self.host, int(self.port)))
        return self.liar

    def key(self, opened):
        body = next(body for tag, body in opened.messages if tag == "K")
        return struct.unpack(">i", body[:4])[0], body[4:]

    def records(self):
        """All audit records so far."""
        files = sorted(pathlib.Path(self.where["INTERCEPTOR_AUDIT"]).glob("audit-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def memory(self):
        """What the daemon has in memory, in MB."""
        status = pathlib.Path(f"/proc/{self.where['INTERCEPTOR_DAEMON_PID']}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def token(self, subject):
        """Another agent's token, from the run's own issuer."""
        secret = (pathlib.Path(self.where["INTERCEPTOR_CONFIG"]).parent / "issuer-secret").read_text()
        body = json.dumps({"subject": subject}).encode()
        request = urllib.request.Request(self.where["INTERCEPTOR_ISSUER"] + "/admin/tokens", body, {"authorization": f"Bearer {secret}"})
        return json.load(urllib.request.urlopen(request))["token"]


def leaks(said):
    return [canary.decode() for canary in CANARIES if canary in said.raw]


def effects(stage, database):
    made = stage.database(database).execute("SELECT relname FROM pg_class WHERE relname ~ '^w_'").fetchall()
    for (name,) in made:
        stage.database(database).execute(f"DROP TABLE {name}")
    return [name for (name,) in made]


def judged(case, said):
    """What is wrong with what came, by the verdict that the case asks for."""
    wanted, found = [case["expect"], *case.get("also_ok", [])], set()
    codes, bare = set(case.get("sqlstate", [])), case.get("bare_pg15", "")
    if case["id"] in BLUNTER:
        wanted.append("close")
    if said.closed:
        found.add("close")
    if said.errors and (not codes or codes & set(said.errors)):
        found |= {"error", "deny"}
    if "42501" in said.errors:
        found.add("deny")
    # What a hostile server says may end the session; what it must not do is get through.
    if "from the upstream" in case["phase"] or not (said.closed or said.errors):
        found.add("mask")
    if not said.closed and as_bare(said.trace(), bare):
        found.add("allow")
    wrong = []
    if not found & set(wanted):
        wrong.append(f"wanted {wanted}, got {sorted(found)}: {describe(said)}")
    if not said.closed and case["phase"] == "after login":
        answers = requests(case) if cut_off(bare) else bare.count("ReadyForQuery")
        if said.count("Z") != answers:
            wrong.append(f"out of step: {said.count('Z')} answers to {answers} requests: {describe(said)}")
    return wrong


def cut_off(bare):
    """Whether the case's authors have not written down the whole of what the bare server says."""
    return "(stays open)" not in bare and "then closed" not in bare


def as_bare(trace, bare):
    """The very same messages; which version of the protocol is spoken may differ, but that is said once."""
    words, version = BARE.findall(bare), "NegotiateProtocolVersion"
    if trace.count(version) > 1 or ("DataRow" in bare and not any(word.startswith("DataRow") for word in trace)):
        return False
    trace, words = [word for word in trace if word != version], [word for word in words if word != version]
    return trace[: len(words) - 1] == words[:-1] if cut_off(bare) else trace == words


def requests(case):
    """How many messages ask for a ReadyForQuery."""
    return sum(tag in "QS" for chunk in case["chunks"] for tag in frames(bytes.fromhex(chunk)))


def frames(raw):
    tags, at = [], 0
    while at + 5 <= len(raw):
        tags.append(chr(raw[at]))
        at += 1 + struct.unpack(">i", raw[at + 1 : at + 5])[0]
    return tags


def describe(said):
    trace = " ".join(said.trace())[-300:]
    return f"{trace or said.raw[:60]!r} {said.said} {'closed' if said.closed else 'open'}"


def in_step(stage, name):
    """The next request gets the next answer."""
    said = stage.agent("talk", name=name, pieces=[query("SELECT 7777").hex()], first=5)
    said = Said(bytes.fromhex(said["raw"]), said["closed"])
    right = any(tag == "D" and b"7777" in body for tag, body in said.messages) or said.errors == ["25P02"]
    return [] if right and said.count("Z") == 1 else [f"the next request is answered by {describe(said)}"]


def play_bytes(case, stage):
    """A connection that says the case's bytes, after log-in or from the beginning."""
    chunks = [bytes.fromhex(chunk) for chunk in case["chunks"]]
    stage.database(case["database"])
    wrong = []
    if in_packets(case):
        name, _ = stage.open()
        tls = "TLS handshake" in case["phase"]
        if case["phase"].startswith("SSLRequest"):
            chunks = [bytes.fromhex("0000000804d2162f"), *chunks]
        pieces = [chunks[0], "tls?", *chunks[1:]] if tls else chunks
        patience = {"first": 0.3, "last": 3}
    else:
        name, opened = stage.open(case["database"])
        if opened.closed:
            return [f"no session: {describe(opened)}"]
        pieces, patience = chunks, {"first": 1, "last": 1}
    if case["group"] == "cancel":
        # A real session with a real statement, which the request must not reach.
        other, _ = stage.open(case["database"])
    said = stage.talk(name, pieces, **patience)
    wrong += judged(case, said)
    if leaks(said):
        wrong.append(f"leaks {leaks(said)}")
    if not said.closed and case["phase"] == "after login":
        wrong += in_step(stage, name)
    if said.count("D") > case.get("max_rows_out", 1 << 60):
        wrong.append(f"{said.count('D')} rows")
    stage.agent("close", name=name)
    made = effects(stage, case["database"])
    if made:
        wrong.append(f"made {made}")
    if case["group"] == "cancel":
        wrong += in_step(stage, other)
        stage.agent("close", name=other)
    return wrong


STATEMENTS = {
    # One that touches nothing that is masked, and one that does.
    "plain": f"SELECT id FROM users ORDER BY id LIMIT 1 {MARK}",
    "masked": f"SELECT email FROM users ORDER BY id LIMIT 1 {MARK}",
}


def answer_of(case):
    if case["id"] == "server-20":
        notice = message("N", b"SNOTICE\0C00000\0Mx\0\0")
        return notice * 5000 + message("Z", b"I")
    if case["id"] == "server-32":
        body = struct.pack(">i", 11) + b"r=" + b"n" * 100000 + b",s=c2FsdA==,i=4096"
        return message("R", body)
    if case["id"] == "server-37":
        return message("T", struct.pack(">h", 1) + b"id\0" + struct.pack(">ihihih", 0, 0, 20, 8, -1, 0)) + message("D", struct.pack(">hi", 1, 1) + b"1")
    return b"".join(bytes.fromhex(chunk) for chunk in case["chunks"])


def play_answer(case, stage):
    """A server that answers a statement with the case's bytes."""
    liar, wrong = stage.hostile(), []
    about = case["policy"].startswith("mask") and case["id"] != "server-04"
    stage.database(case["database"])
    for kind, text in STATEMENTS.items():
        if about and kind == "plain" and case["id"] != "server-17":
            # Of a statement that touches nothing masked the server may say what it likes.
            continue
        name, opened = stage.open(case["database"], host=liar.address)
        if opened.closed:
            return [f"no session: {describe(opened)}"]
        liar.arm("query", answer_of(case))
        said = stage.talk(name, [query(text)], first=3, last=1.5)
        if liar.armed:
            wrong.append(f"{kind}: the statement did not reach the server: {describe(said)}")
        wrong += [f"{kind}: {what}" for what in judged(case, said)]
        if leaks(said):
            wrong.append(f"{kind}: leaks {leaks(said)}")
        if not said.closed and case["expect"] in ("mask", "error"):
            wrong += [f"{kind}: {what}" for what in in_step(stage, name)]
        stage.agent("close", name=name)
    return wrong


def play_log_in(case, stage):
    """A server that says the case's bytes while it is logged in to."""
    liar, wrong = stage.hostile(), []
    stage.database(case["database"])
    whens = ["start-up"]
    if case["id"] in ("server-30", "server-31", "server-32", "server-34"):
        # SCRAM has begun. Without it, loopback addresses are let off, and others are not.
        whens = ["scram"]
    for when in whens:
        liar.arm(when, answer_of(case))
        name, said = stage.open(case["database"], host=liar.address)
        if liar.armed:
            wrong.append(f"{when}: the server was not asked")
        if not said.closed or said.count("Z"):
            wrong.append(f"{when}: wanted ['close'], got {describe(said)}")
        text = answer_of(case)[9:60]
        if leaks(said) or b"http://evil" in said.raw or (len(text) > 8 and text in said.raw):
            wrong.append(f"{when}: the server's words are passed on")
        liar.armed = None
        stage.agent("close", name=name)
    if case["id"] == "server-34":
        wrong += elsewhere(case, stage)
    return wrong


def elsewhere(case, stage):
    """The same from an address that is not loopback, where a server that asks for no proof is not believed."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
    except OSError:
        # A machine without a network has no such address.
        return []
    liar = hostile.Hostile(probe.getsockname()[0], (stage.host, int(stage.port)))
    liar.arm("start-up", answer_of(case))
    name, said = stage.open(case["database"], host=liar.address)
    stage.agent("close", name=name)
    liar.listener.close()
    return [] if said.closed and not said.count("Z") else [f"elsewhere: wanted ['close'], got {describe(said)}"]


def active(stage, database, text):
    return stage.server.server.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s", (database, f"%{text}%")
    ).fetchone()[0]


def within(seconds, what):
    until = time.time() + seconds
    while time.time() < until:
        if what():
            return True
        time.sleep(0.1)
    return False


def too_many_connections(case, stage):
    stage.database(case["database"])
    before = stage.memory()
    answer = stage.agent("flood", count=10000, database=case["database"], seconds=30)
    ended, grown, wrong = answer["ended"], stage.memory() - before, []
    if "53300" not in ended:
        wrong.append(f"nobody was told 53300: {ended}")
    if grown > 300:
        wrong.append(f"the daemon grew by {grown:.0f} MB")

    def usable():
        name, opened = stage.open(case["database"])
        stage.agent("close", name=name)
        return opened.count("Z") == 1

    if not within(15, usable):
        wrong.append("nobody gets in afterwards")
    return wrong


def cancel_by_somebody_else(case, stage):
    name, opened = stage.open(case["database"]) if stage.database(case["database"]) else None
    pid, secret = stage.key(opened)
    request, wrong = {"pid": pid, "secrets": [secret.hex()]}, []
    for who, token in (("another agent", stage.token("agent:other")), ("nobody", "no token"), ("the same agent", None)):
        stage.agent("send", name=name, bytes=query("SELECT pg_sleep(1.5)").hex())
        if not within(5, lambda: active(stage, case["database"], "pg_sleep(1.5)")):
            wrong.append("the statement does not run")
        answer = stage.agent("somebody_else", token=token, cancels=request) if token else stage.agent("cancels", **request)
        said = stage.wait(name, 5, b"Z\0\0\0\x05")
        if answer["came"]:
            wrong.append(f"{who} was answered: {bytes.fromhex(answer['came'])!r}")
        if ("57014" in said.errors) != (token is None):
            wrong.append(f"{who}: {describe(said)}")
    stage.agent("close", name=name)
    return wrong


def cancel_by_guessing(case, stage):
    stage.database(case["database"])
    wrong = []
    for minor in (0, 2):
        name, opened = stage.open(case["database"], minor=minor)
        pid, secret = stage.key(opened)
        stage.agent("send", name=name, bytes=query("SELECT pg_sleep(2)").hex())
        within(5, lambda: active(stage, case["database"], "pg_sleep(2)"))
        guesses = [secrets.token_bytes(len(secret)) for _ in range(200)]
        # Next to the right one, parts of it, and it with something behind.
        guesses += [bytes([secret[0] ^ 1]) + secret[1:], secret[:-1] + bytes([secret[-1] ^ 1]), secret + b"\0", b"\0" * 4, b"\xff" * 4]
        if minor:
            guesses += [secret[:4], secret[:-1], secret * 8]
        answer = stage.agent("cancels", pid=pid, secrets=[guess.hex() for guess in guesses if guess != secret])
        came = bytes.fromhex(answer["came"])
        # What no key can be is said to be none; nothing else is answered.
        if came:
            wrong.append(f"3.{minor}: guesses were answered: {came[:80]!r}")
        said = stage.wait(name, 8, b"Z\0\0\0\x05")
        if said.errors:
            wrong.append(f"3.{minor}: a guess was right: {describe(said)}")
        if minor and len(secret) < 32:
            wrong.append(f"a key of {len(secret)} bytes for protocol 3.2")
        stage.agent("close", name=name)
    return wrong


def late_cancel(case, stage):
    stage.database(case["database"])
    name, opened = stage.open(case["database"])
    other, _ = stage.open(case["database"])
    pid, secret = stage.key(opened)
    wrong = []
    for turn in range(10):
        stage.talk(name, [query("SELECT 1")], first=5)
        stage.agent("send", name=other, bytes=query("SELECT pg_sleep(0.3)").hex())
        # Closed means done: what is sent afterwards is nothing that was meant.
        stage.agent("cancels", pid=pid, secrets=[secret.hex()])
        for who in (name, other):
            if who == name:
                stage.agent("send", name=name, bytes=query("SELECT pg_sleep(0.3)").hex())
            said = stage.wait(who, 8, b"Z\0\0\0\x05")
            if said.errors or said.count("Z") != 1:
                wrong.append(f"turn {turn}: {describe(said)}")
    stage.agent("close", name=name)
    stage.agent("close", name=other)
    return wrong


def never_reads(case, stage):
    stage.database(case["database"])
    name, _ = stage.open(case["database"])
    before = stage.memory()
    stage.agent("send", name=name, bytes=query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)").hex())
    wrong = []
    if not within(5, lambda: active(stage, case["database"], "repeat('x'")):
        wrong.append("the statement does not run")
    if not within(15, lambda: active(stage, case["database"], "repeat('x'") == 0):
        wrong.append("the server goes on")
    grown = stage.memory() - before
    if grown > 64:
        wrong.append(f"the daemon grew by {grown:.0f} MB")
    # The end is behind all that has been sent.
    answer = stage.agent("deaf", name=name, seconds=0, most=200 << 20)
    if not answer["closed"]:
        wrong.append(f"it is not let go after {answer['bytes']} bytes")
    stage.agent("close", name=name)
    return wrong


def dies_in_a_statement(case, stage):
    stage.database(case["database"])
    wrong = []
    for how in ("reset", "close"):
        name, _ = stage.open(case["database"])
        text = f"INSERT INTO notes (body) SELECT 'of the dead {how}' FROM pg_sleep(20)"
        stage.agent("send", name=name, bytes=query(text).hex())
        if not within(5, lambda: active(stage, case["database"], text)):
            wrong.append(f"{how}: the statement does not run")
        stage.agent(how, name=name)
        if not within(8, lambda: active(stage, case["database"], text) == 0):
            wrong.append(f"{how}: the server goes on")
        seqs = [record["seq"] for record in stage.records() if record.get("statement") == text]
        ended = [record["outcome"] for record in stage.records() if record.get("outcome", {}) and record["outcome"].get("statement_seq") in seqs]
        if not ended or any(outcome["status"] == "ok" for outcome in ended):
            wrong.append(f"{how}: the record says {ended}")
    if stage.ask(case["database"], "SELECT count(*) FROM notes WHERE body LIKE 'of the dead%'"):
        wrong.append("it has come about")
    return wrong


def hangs(case, stage):
    liar = stage.hostile()
    stage.database(case["database"])
    name, _ = stage.open(case["database"], host=liar.address)
    liar.arm("query", answer_of(case))
    stage.agent("send", name=name, bytes=query(STATEMENTS["plain"]).hex())
    said = stage.wait(name, 20, b"57014")
    wrong = [] if "57014" in said.errors else [f"wanted 57014, got {describe(said)}"]
    if not liar.cancelled:
        wrong.append("the server was not told to stop")
    stage.agent("close", name=name)
    return wrong


def says_nothing(case, stage):
    # What became of the case before is on record by now, also on a busy machine.
    time.sleep(2)
    name, _ = stage.open()
    records, since = len(stage.records()), time.time()
    said = stage.wait(name, 15)
    stage.agent("close", name=name)
    wrong = []
    if not said.closed or said.raw:
        wrong.append(f"wanted ['close'] and silence, got {describe(said)}")
    if time.time() - since < 5:
        wrong.append("it had no time")
    if len(stage.records()) != records:
        wrong.append(f"it is on record: {stage.records()[records:]}")
    return wrong


PROCEDURES = {
    "startup-50": says_nothing,
    "startup-51": too_many_connections,
    "cancel-08": cancel_by_somebody_else,
    "cancel-09": cancel_by_guessing,
    "cancel-10": late_cancel,
    "framing-22": never_reads,
    "framing-23": dies_in_a_statement,
    "server-37": hangs,
}


def play(case, stage):
    if case["id"] in PROCEDURES:
        return PROCEDURES[case["id"]](case, stage)
    if case["phase"].startswith("bytes from the upstream server in answer"):
        return play_answer(case, stage)
    if case["phase"].startswith("bytes from the upstream server during"):
        return play_log_in(case, stage)
    if case["phase"] == "procedure":
        return ["nobody has written down how to play it"]
    return play_bytes(case, stage)


def can_do_tls(stage):
    name, _ = stage.open()
    said = stage.agent("talk", name=name, pieces=["0000000804d2162f"])
    stage.agent("close", name=name)
    return said["raw"] == b"S".hex()


def main():
    what, only = sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else ""
    if what == "prepare":
        return prepare(pathlib.Path(sys.argv[2]))
    stage = Stage(pathlib.Path(sys.argv[2]), None)
    found, failed, passed, left = cases(only), 0, 0, 0
    tls = can_do_tls(stage)
    for name in NOT_PLAYABLE.keys() | WRONG.keys():
        if name not in {case["id"] for case in cases("")}:
            print(f"{name} is no case")
            failed += 1
    for case in found:
        if case["id"] in NOT_PLAYABLE and not tls:
            left += 1
            continue
        since = time.time()
        try:
            wrong = play(case, stage)
            if case["id"] in NOT_PLAYABLE:
                wrong.append("it can be played: take it off the list NOT_PLAYABLE")
            if case["id"] in WRONG:
                wrong = [] if wrong else ["it passes: take it off the list WRONG"]
                left += 1
        except Exception as error:
            wrong = [repr(error)]
        if wrong:
            failed += 1
            print(f"{case['id']} [{case['policy']}] {case['why'][:70]}: {'; '.join(wrong)}", flush=True)
        else:
            passed += 1
        if os.environ.get("INTERCEPTOR_TEST_SLOW"):
            print(f"{case['id']} {time.time() - since:.1f} s", file=sys.stderr, flush=True)
    print(f"{len(found)} cases, {failed} failed, {left} on a list")
    return 1 if failed or not (found or only) else 0


if __name__ == "__main__":
    sys.exit(main())
