"""Connections that log in and then do nothing, and the memory that they take of the daemon.

    python3 tests/postgres/idle_load.py CONNECTIONS

Prints kilobytes of the daemon's own memory (RssAnon) for each, and milliseconds of its CPU a second while nothing happens.
"""
import os
import resource
import socket
import struct
import sys
import time


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def cpu(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total / 1e6


def main():
    count = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    daemon = os.environ["INTERCEPTOR_DAEMON_PID"]
    body = struct.pack(">i", 196608) + b"user\0idle\0database\0" + os.environ["PGDATABASE"].encode() + b"\0\0"
    hello = struct.pack(">i", len(body) + 4) + body
    address = (os.environ["PGHOST"], int(os.environ["PGPORT"]))

    def log_in():
        connection = socket.create_connection(address, timeout=30)
        connection.sendall(hello)
        said = b""
        while not said.endswith(b"Z\0\0\0\5I"):
            part = connection.recv(4096)
            if not part:
                raise SystemExit(f"not let in: {said!r}")
            said += part
        return connection

    open_ones = [log_in() for _ in range(50)]
    time.sleep(1)
    before = memory(daemon)
    open_ones += [log_in() for _ in range(count)]
    time.sleep(3)
    after = memory(daemon)
    spent = cpu(daemon)
    time.sleep(5)
    spent = cpu(daemon) - spent
    print(
        f"{count} idle connections: {(after - before) / count:.2f} kB each, {(after - before) / 1024:.1f} MB over {before / 1024:.1f} MB; "
        f"{spent / 5:.1f} ms of CPU a second"
    )


if __name__ == "__main__":
    main()
