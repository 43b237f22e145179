"""The agent's side of the attack cases: dials the gateway, sends what it is told, and hands back every byte.

Runs in the agents' cgroup, so that all its connections are redirected. Takes one JSON request a line on a Unix socket,
because the oracle (a superuser's questions to the database) has to stay outside.
"""
import json
import os
import socket
import struct
import sys
import time


def message(tag, body=b""):
    return tag.encode() + struct.pack(">i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


class Connection:
    """One connection of the wire protocol 3.0 that keeps whatever it is sent."""

    def __init__(self, database):
        host, port = os.environ["PGHOST"], int(os.environ["PGPORT"])
        self.socket = socket.create_connection((host, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.raw = b"", []
        pairs = ("user", "agent", "database", database)
        body = struct.pack(">i", 196608) + b"".join(text(pair) for pair in pairs) + b"\0"
        self.socket.sendall(struct.pack(">i", len(body) + 4) + body)
        self.until_ready()
        self.raw = []

    def take(self, count):
        while len(self.buffer) < count:
            more = self.socket.recv(1 << 18)
            if not more:
                raise EOFError("closed")
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def until_ready(self, copy=b""):
        answers = []
        while True:
            head = self.take(5)
            body = self.take(struct.unpack(">i", head[1:])[0] - 4)
            tag = chr(head[0])
            self.raw.append(head + body)
            answers.append((tag, body))
            if tag == "G":
                self.socket.sendall(message("d", copy) + message("c"))
            if tag == "E" and fields(body).get("S") == "FATAL":
                raise EOFError(fields(body).get("C"))
            if tag == "Z":
                return answers

    def query(self, sql, copy=b""):
        self.socket.sendall(message("Q", sql + b"\0"))
        return self.until_ready(copy)

    def extended(self, sql, values, formats):
        bind = b"\0\0" + struct.pack(">hh", 0, len(values))
        for value in values:
            bind += struct.pack(">i", len(value.encode())) + value.encode()
        bind += struct.pack(">h", len(formats)) + b"".join(struct.pack(">h", code) for code in formats)
        self.socket.sendall(
            message("P", b"\0" + text(sql) + b"\0\0")
            + message("B", bind)
            + message("D", b"P\0")
            + message("E", b"\0" + struct.pack(">i", 0))
            + message("S")
        )
        return self.until_ready()

    def close(self):
        try:
            self.socket.sendall(message("X"))
        except OSError:
            pass
        self.socket.close()


def fields(body):
    return {part[:1].decode(): part[1:].decode("utf8", "replace") for part in body.split(b"\0") if part}


def play(request):
    """Runs one case; gives back bytes, errors, rows, whether the connection was closed, and how long it took."""
    database, connections, answers, closed, slowest = request["database"], [], [], None, 0.0
    try:
        for sql in request["other"]:
            other = Connection(database)
            connections.append(other)
            other.query(sql.encode())
        mine = Connection(database)
        connections.append(mine)
    except EOFError as error:
        return {"raw": "", "data": "", "errors": [str(error)], "messages": [], "rows": 0, "closed": str(error), "slowest": 0}
    try:
        for step in request["steps"]:
            since = time.time()
            if "hex" in step:
                answers += mine.query(bytes.fromhex(step["hex"]))
            elif "generate" in step:
                answers += mine.query("".join(part * times for part, times in step["generate"]).encode())
            elif "params" in step:
                answers += mine.extended(step["sql"], step["params"], step.get("rfmt", []))
            else:
                answers += mine.query(step["sql"].encode(), request["copy"].encode())
            slowest = max(slowest, time.time() - since)
    except (EOFError, ConnectionError) as error:
        closed = str(error) or "closed"
    result = {
        "raw": b"".join(mine.raw)[: 1 << 24].hex(),
        "data": b"".join(body for tag, body in answers if tag in "dD")[: 1 << 22].hex(),
        "errors": [fields(body).get("C") for tag, body in answers if tag == "E"] + ([closed] if closed else []),
        "messages": [fields(body).get("M", "") + " / " + fields(body).get("D", "") for tag, body in answers if tag == "E"],
        "rows": sum(1 for tag, _ in answers if tag in "dD"),
        "closed": closed,
        "slowest": slowest,
    }
    for connection in connections:
        connection.close()
    return result


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(1)
    # Where the database is, for those who reach it directly.
    with open(sys.argv[1] + ".place", "w") as place:
        place.write(f"{os.environ['PGHOST']} {os.environ['PGPORT']}")
    # And where operators talk to the daemon.
    with open(sys.argv[1] + ".operators", "w") as operators:
        operators.write(f"{os.environ['INTERCEPTOR_SOCKET']}\n{os.environ['INTERCEPTOR_AUDIT']}")
    os.rename(sys.argv[1] + ".place", sys.argv[1] + ".ready")
    peer, _ = listener.accept()
    stream = peer.makefile("rw")
    for line in stream:
        try:
            answer = play(json.loads(line))
        except Exception as error:  # whatever it is, the case has failed and the next one has its turn
            answer = {"failure": repr(error)}
        stream.write(json.dumps(answer) + "\n")
        stream.flush()


if __name__ == "__main__":
    main()
