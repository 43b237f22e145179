"""The agent's side of the wire cases: opens connections, sends the bytes that it is told, and hands back every byte.

Runs in the agents' cgroup, so that all its connections are redirected. Takes one JSON request a line on a Unix socket;
connections stay open between requests and have names.
"""
import json
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import time

HELD = {}


def message(tag, body=b""):
    return tag.encode() + struct.pack(">i", len(body) + 4) + body


def startup(database, minor=0):
    pairs = ("user", "agent", "database", database)
    body = struct.pack(">i", 196608 + minor) + b"".join(pair.encode() + b"\0" for pair in pairs) + b"\0"
    return struct.pack(">i", len(body) + 4) + body


class Connection:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw, self.closed = b"", False

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            # What has come before that is still to be read.
            pass

    def hear(self, first, quiet, until=None):
        """Reads until nothing has come for `quiet` seconds (`first` for the first byte), until the end, or until `until`."""
        patience = first
        while not self.closed and not (until and until(self.raw)):
            # TLS may have read more than it has given.
            pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
            if not pending and not select.select([self.socket], [], [], patience)[0]:
                return
            try:
                more = self.socket.recv(1 << 18)
            except (ConnectionError, ssl.SSLError):
                more = b""
            self.raw += more
            self.closed = not more
            patience = quiet

    def log_in(self, database, minor=0):
        self.send(startup(database, minor))
        self.hear(20, 20, lambda raw: raw.endswith(b"Z\0\0\0\x05I") or frames(raw)[-1:] == ["E"])
        if frames(self.raw)[-1:] == ["E"]:
            self.hear(3, 3)
        opening, self.raw = self.raw, b""
        return opening

    def tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["postgresql"])
        try:
            self.socket = context.wrap_socket(self.socket)
        except (OSError, ssl.SSLError):
            self.closed = True


def frames(raw):
    tags, at = [], 0
    while at + 5 <= len(raw):
        tags.append(chr(raw[at]))
        at += 1 + struct.unpack(">i", raw[at + 1 : at + 5])[0]
    return tags


def open_one(request):
    host, port = request.get("host") or os.environ["PGHOST"], int(os.environ["PGPORT"])
    connection = HELD[request["name"]] = Connection(host, port)
    opening = connection.log_in(request["database"], request.get("minor", 0)) if request.get("database") else b""
    return {"opening": opening.hex(), "closed": connection.closed}


def talk(request):
    """Sends pieces and takes down what comes."""
    connection = HELD[request["name"]]
    for piece in request.get("pieces", []):
        if piece == "tls?":
            # What a driver does with the answer to a request for encryption.
            connection.hear(5, 0.05, lambda raw: raw)
            if connection.raw[:1] != b"S":
                break
            connection.raw = connection.raw[1:]
            connection.tls()
        else:
            connection.send(bytes.fromhex(piece))
            connection.hear(request.get("first", 1), 0.1)
    connection.hear(request.get("last", 0.5), 0.2)
    raw, connection.raw = connection.raw, b""
    return {"raw": raw.hex(), "closed": connection.closed}


def wait(request):
    """Reads until the end or until a text has come; for at most so many seconds."""
    connection, text = HELD[request["name"]], bytes.fromhex(request.get("text", ""))
    until, since = time.time() + request["seconds"], time.time()
    while time.time() < until and not connection.closed and not (text and text in connection.raw):
        connection.hear(0.05, 0.05)
    raw, connection.raw = connection.raw, b""
    return {"raw": raw.hex(), "closed": connection.closed, "seconds": time.time() - since}


def send(request):
    HELD[request["name"]].send(bytes.fromhex(request["bytes"]))
    return {}


def deaf(request):
    """Reads nothing for so many seconds, and then whatever there is; gives back how much that was."""
    connection = HELD[request["name"]]
    time.sleep(request["seconds"])
    count = 0
    while not connection.closed and count < request["most"]:
        connection.hear(3, 0.5, lambda raw: raw)
        if not connection.raw:
            break
        count, connection.raw = count + len(connection.raw), b""
    return {"closed": connection.closed, "bytes": count}


def reset(request):
    """Closes with RST."""
    connection = HELD.pop(request["name"])
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
    return {}


def close(request):
    HELD.pop(request["name"]).socket.close()
    return {}


def cancels(request):
    """Cancel requests, each on a connection of its own; gives back what came on any of them."""
    came, host, port = b"", os.environ["PGHOST"], int(os.environ["PGPORT"])
    for secret in request["secrets"]:
        secret = bytes.fromhex(secret)
        connection = Connection(host, port)
        connection.send(struct.pack(">iii", 12 + len(secret), 80877102, request["pid"]) + secret)
        connection.hear(10, 10)
        came += connection.raw if connection.closed else b"still open"
        connection.socket.close()
    return {"came": came.hex()}


def somebody_else(request):
    """The same from a process with another identity, or with none."""
    environment = {**os.environ, "AGENT_ID_TOKEN": request["token"]}
    script = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); import wire_agent, json; print(json.dumps(wire_agent.cancels({request['cancels']!r})))"
    return json.loads(subprocess.check_output([sys.executable, "-c", script], env=environment, text=True))


def flood(request):
    """Many connections at once; how they ended."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, request["count"] + 200), max(hard, request["count"] + 200)))
    except (ValueError, PermissionError):
        pass
    place, packet = (os.environ["PGHOST"], int(os.environ["PGPORT"])), startup(request["database"])
    ended, open_now, poll = {}, {}, select.epoll()
    count = lambda what: ended.__setitem__(what, ended.get(what, 0) + 1)
    since = time.time()
    for _ in range(request["count"]):
        one = socket.socket()
        one.setblocking(False)
        try:
            one.connect(place)
        except BlockingIOError:
            pass
        except OSError:
            count("not connected")
            one.close()
            continue
        open_now[one.fileno()] = [one, b"", False]
        poll.register(one.fileno(), select.EPOLLIN | select.EPOLLOUT)
    dialled = time.time() - since
    until = time.time() + request["seconds"]
    # Whoever has been answered stays until the end.
    while time.time() < until and any(not entry[1] for entry in open_now.values()):
        for number, event in poll.poll(1):
            one, raw, sent = entry = open_now[number]
            try:
                if event & select.EPOLLOUT and not sent:
                    one.send(packet)
                    entry[2] = True
                    poll.modify(number, select.EPOLLIN)
                if event & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP):
                    more = one.recv(65536)
                    entry[1] = raw + more
                    if not more:
                        raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                codes = [field[1:].decode() for field in entry[1].split(b"\0") if field[:1] == b"C" and len(field) == 6]
                count(codes[0] if codes else "closed")
                poll.unregister(number)
                one.close()
                del open_now[number]
    for one, raw, _ in open_now.values():
        count("ready" if b"Z\0\0\0\x05I" in raw else "waiting")
        one.close()
    return {"ended": ended, "dialled": dialled}


def where(_):
    return {name: os.environ.get(name) for name in ("INTERCEPTOR_DAEMON_PID", "INTERCEPTOR_AUDIT", "INTERCEPTOR_ISSUER", "INTERCEPTOR_CONFIG")}


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(1)
    # Where the database is, for those who reach it directly.
    with open(sys.argv[1] + ".place", "w") as place:
        place.write(f"{os.environ['PGHOST']} {os.environ['PGPORT']}")
    os.rename(sys.argv[1] + ".place", sys.argv[1] + ".ready")
    peer, _ = listener.accept()
    stream = peer.makefile("rw")
    steps = {step.__name__: step for step in (talk, wait, send, deaf, reset, close, cancels, somebody_else, flood, where)}
    steps["open"] = open_one
    for line in stream:
        request = json.loads(line)
        try:
            answer = steps[request["step"]](request)
        except Exception as error:  # whatever it is, the case has failed and the next one has its turn
            answer = {"failure": repr(error)}
        stream.write(json.dumps(answer) + "\n")
        stream.flush()


if __name__ == "__main__":
    main()
