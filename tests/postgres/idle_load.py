"""Connections that log in and then do nothing, and the memory that they take of the daemon.

    python3 tests/postgres/idle_load.py CONNECTIONS

Prints kilobytes of the daemon's own memory (RssAnon) for each, and milliseconds of its CPU a second while nothing happens.
"""
import os
import resource
import sys
import time

from connect_load import hello, log_in


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
    address, said_first = hello()
    open_ones = [log_in(address, said_first) for _ in range(50)]
    time.sleep(1)
    before = memory(daemon)
    open_ones += [log_in(address, said_first) for _ in range(count)]
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
