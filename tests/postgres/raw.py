"""Messages of the protocol, made and read byte by byte."""
import os, socket, struct
import psycopg


def message(tag, body=b""):
    return tag.encode() + struct.pack(">i", len(body) + 4) + body


def text(*parts):
    return b"".join(part.encode() + b"\0" for part in parts)


def query(sql):
    return message("Q", text(sql))


def parse(sql, name="", types=()):
    return message("P", text(name, sql) + struct.pack(">h", len(types)) + b"".join(struct.pack(">i", t) for t in types))


def bind(portal="", name="", values=(), formats=()):
    body = text(portal, name) + struct.pack(">hh", 0, len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return message("B", body + struct.pack(">h", len(formats)) + b"".join(struct.pack(">h", f) for f in formats))


def describe(kind, name=""):
    return message("D", kind.encode() + text(name))


def execute(portal="", rows=0):
    return message("E", text(portal) + struct.pack(">i", rows))


SYNC, FLUSH = message("S"), message("H")


def read(connection):
    """All messages up to the ReadyForQuery that ends what was sent."""
    out = []
    while True:
        head = exactly(connection, 5)
        length = struct.unpack(">i", head[1:])[0] - 4
        body = exactly(connection, length)
        out.append((head[:1], body))
        if head[:1] == b"Z":
            return out


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(min(1 << 20, count - len(data)))
        if not piece:
            raise EOFError
        data += piece
    return data


def raw(dsn):
    """A logged-in socket: psycopg does the log-in, the rest is ours."""
    connection = psycopg.connect(dsn, autocommit=True)
    sock = socket.socket(fileno=os.dup(connection.fileno()))
    sock.setblocking(True)
    sock.settimeout(30)
    return connection, sock
