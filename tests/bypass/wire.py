import os, socket, struct
import psycopg


def message(tag, body=b""):
    return tag.encode() + struct.pack(">i", len(body) + 4) + body


def exactly(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def talk(*steps):
    """Sends each step and reads up to ReadyForQuery or the end; gives back errors and command tags."""
    keep = psycopg.connect("", autocommit=True)
    sock = socket.socket(fileno=os.dup(keep.fileno()))
    sock.setblocking(True)
    sock.settimeout(10)
    said = []
    try:
        for step in steps:
            sock.sendall(step)
            while True:
                head = exactly(sock, 5)
                body = exactly(sock, struct.unpack(">i", head[1:])[0] - 4)
                if head[:1] == b"E":
                    fields = {f[:1]: f[1:].decode() for f in body.split(b"\0") if f}
                    said.append(f"{fields[b'V']} {fields[b'C']}")
                if head[:1] == b"C":
                    said.append(body[:-1].decode())
                if head[:1] == b"Z":
                    break
    except (EOFError, ConnectionError):
        pass
    sock.close()
    return said


def first(name, *steps):
    print(f"{name}: {(talk(*steps) or ['nothing'])[0]}")


Q = lambda sql: message("Q", sql + b"\0")
first("bytes behind the NUL", message("Q", b"select 1\0" + Q(b"drop table orders")))
first("no NUL", message("Q", b"select 1"))
first("length below four", b"Q" + struct.pack(">i", 3))
first("length of two gigabytes", b"Q" + struct.pack(">i", 2**31 - 1))
first("unknown message", message("!", b"x"))
first("a second start-up", struct.pack(">ii", 8, 196608))
first("password after log-in", message("p", b"secret\0"))
first("function call", message("F", struct.pack(">ihhh", 1598, 0, 0, 0)))
first("bind with a negative length", message("P", b"\0select $1\0\0\0") + message("B", b"\0\0" + struct.pack(">hhi", 0, 1, -2) + b"\0\0"))
first("not UTF-8", Q(b"select '\xff'"))
first("refused in a batch", message("P", b"\0drop table orders\0\0\0") + message("B", b"\0\0" + b"\0" * 6) + message("E", b"\0\0\0\0\0") + message("S"))
said = talk(Q(b"begin"), Q(b"delete from customers"), Q(b"select 1"), Q(b"commit"))
print(f"refused in a transaction: {said[1]}, then {said[2].split()[1]}, then {said[3]}")
print("nothing was dropped:", psycopg.connect("").execute("select case when count(*) > 0 then 't' end from orders").fetchone()[0])
