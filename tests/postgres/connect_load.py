"""New connections from many processes at a steady rate, and what they cost the daemon.

    cargo xtask run --release -- python3 tests/postgres/connect_load.py [PROCESSES RATE SECONDS]

Each process logs in with the token that it finds in its environment, waits until it is ready, says good-bye, and comes again.
Prints connections a second, milliseconds of the daemon's CPU for each, and how long a log-in takes.
"""
import os
import resource
import socket
import struct
import sys
import time


def cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hello():
    """A start-up message, for whichever database the agent is given."""
    body = struct.pack(">i", 196608) + b"user\0load\0database\0" + os.environ["PGDATABASE"].encode() + b"\0\0"
    return (os.environ["PGHOST"], int(os.environ["PGPORT"])), struct.pack(">i", len(body) + 4) + body


def log_in(address, said_first):
    """A connection that is ready."""
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(said_first)
    said = b""
    while not said.endswith(b"Z\0\0\0\5I"):
        part = connection.recv(4096)
        if not part:
            raise SystemExit(f"not let in: {said!r}")
        said += part
    return connection


def come_and_go(address, said_first):
    with log_in(address, said_first) as connection:
        connection.sendall(b"X\0\0\0\4")


def main():
    processes, rate, seconds = (int(word) for word in (sys.argv[1:] or ["200", "1000", "10"]))
    address, said_first = hello()
    daemon = os.environ["INTERCEPTOR_DAEMON_PID"]
    come_and_go(address, said_first)
    begin = time.monotonic() + 1.0
    before = None
    pipes = []
    for number in range(processes):
        reading, writing = os.pipe()
        if os.fork() == 0:
            took = []
            due = begin + number / rate
            while due < begin + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                since = time.monotonic()
                come_and_go(address, said_first)
                took.append(time.monotonic() - since)
                due += processes / rate
            with os.fdopen(writing, "w") as out:
                out.write(" ".join(f"{one * 1000:.2f}" for one in took))
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    time.sleep(max(0.0, begin - time.monotonic()))
    before = cpu(daemon)
    took = []
    for reading in pipes:
        with os.fdopen(reading) as said:
            took += [float(word) for word in said.read().split()]
    spent, elapsed = cpu(daemon) - before, time.monotonic() - begin
    took.sort()
    print(
        f"{len(took)} connections of {processes} processes, {len(took) / elapsed:.0f} a second; "
        f"{spent * 1000 / len(took):.3f} ms of the daemon's CPU each; "
        f"log-in {took[len(took) // 2]:.1f} ms in the median, {took[len(took) * 99 // 100]:.1f} ms in 99 %"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    main()
