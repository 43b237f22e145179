"""Batches that make a preview show, or undo, something else than what is approved. Prints what each of them is told."""
import sys

sys.path.insert(0, sys.argv[1])
from raw import SYNC, bind, execute, message, parse, query, raw, read, text

UPDATE = "update people set note = '{}' where id = {} returning id"
BATCHES = {
    # What is bound is one statement, what its name means by then another.
    "renamed": parse(UPDATE.format("renamed", 31), "s") + bind("p", "s") + message("C", b"S" + text("s"))
    + parse("insert into jots values (31)", "s") + execute("p") + SYNC,
    # Undone with the trial it would leave the next names to mean something else.
    "path": parse("set search_path = elsewhere, public") + bind() + execute() + parse(UPDATE.format("path", 32)) + bind() + execute() + SYNC,
    # Nobody is asked for the first; it must not go with the second.
    "writes": parse("insert into jots values (33)") + bind() + execute() + parse(UPDATE.format("writes", 33)) + bind() + execute() + SYNC,
}


def said(tag, body):
    fields = body.split(b"\0")
    found = [field[1:].decode() for field in fields if field[:1] in (b"C", b"M")]
    return " ".join(found) if tag == b"E" else body.rstrip(b"\0").decode()


connection, sock = raw("")
sock.settimeout(60)
sock.sendall(BATCHES[sys.argv[2]])
told = [said(tag, body) for tag, body in read(sock) if tag in (b"E", b"C")]
sock.sendall(query("show search_path"))
path = [body[6:].decode() for tag, body in read(sock) if tag == b"D"]
print(sys.argv[2], *told, *path)
