"""What only guards at the kernel's security decisions refuse. Each way is a process of its own, begins outside of the agents' cgroup,
and joins it if it is asked for; it prints what it got, or how it failed."""
import ctypes
import errno
import os
import signal
import socket
import struct
import subprocess
import sys

DB, UNIX, PROCS, PINS, WAY, ROLE = sys.argv[1:7]
PORT = 5432
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
BPF, PIDFD_OPEN, PIDFD_GETFD, CLONE3 = 321, 434, 438, 435
libc = ctypes.CDLL(None, use_errno=True)
WAYS = {}


def way(work):
    WAYS[work.__name__] = work
    return work


def join():
    if ROLE == "agent":
        with open(PROCS, "w") as procs:
            procs.write("0")


def check(returned):
    if returned < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return returned


def ask(s):
    """Without TLS a server says N; the daemon has it and says S."""
    s.settimeout(5)
    s.sendall(SSL_REQUEST)
    return {b"S": "daemon", b"N": "DIRECT", b"": "closed"}[s.recv(1)]


def dial(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.connect(address)
    return s


def stand_in(bind):
    """A server that is bound by another process, and answers as PostgreSQL without TLS does."""
    server = socket.socket(socket.AF_UNIX)
    bind(server)
    server.listen()
    if os.fork() == 0:
        signal.alarm(10)
        try:
            peer, _ = server.accept()
            peer.recv(8)
            peer.sendall(b"N")
        finally:
            os._exit(0)


@way
def unix_path():
    join()
    return ask(dial(socket.AF_UNIX, UNIX))


@way
def unix_relative():
    os.chdir(os.path.dirname(UNIX))
    join()
    return ask(dial(socket.AF_UNIX, "./" + os.path.basename(UNIX)))


@way
def unix_symlink():
    os.symlink(UNIX, f"/tmp/link-{os.getpid()}")
    join()
    return ask(dial(socket.AF_UNIX, f"/tmp/link-{os.getpid()}"))


@way
def unix_hard_link():
    link = os.path.join(os.path.dirname(UNIX), f"link-{os.getpid()}")
    os.link(UNIX, link)
    join()
    try:
        return ask(dial(socket.AF_UNIX, link))
    finally:
        os.remove(link)


@way
def unix_magic_link():
    """By a descriptor of the folder: no part of the name is told."""
    folder = os.open(os.path.dirname(UNIX), os.O_PATH)
    link = f"/tmp/folder-{os.getpid()}"
    os.symlink(os.path.basename(UNIX), link)
    handle = os.open(UNIX, os.O_PATH)
    join()
    return ask(dial(socket.AF_UNIX, f"/proc/self/fd/{handle}"))


@way
def unix_renamed():
    folder = f"/tmp/renamed-{os.getpid()}"
    os.mkdir(folder)
    stand_in(lambda server: server.bind(folder + "/.s.PGSQL.5432"))
    os.rename(folder + "/.s.PGSQL.5432", folder + "/other")
    join()
    return ask(dial(socket.AF_UNIX, folder + "/other"))


@way
def unix_abstract():
    name = f"\0{os.getpid()}/.s.PGSQL.5432"
    stand_in(lambda server: server.bind(name))
    join()
    return ask(dial(socket.AF_UNIX, name))


@way
def unix_of_others():
    """What is no database's is nobody's business."""
    name = f"/tmp/other-{os.getpid()}"
    stand_in(lambda server: server.bind(name))
    join()
    return ask(dial(socket.AF_UNIX, name))


def handed(make):
    """A socket that somebody outside sends."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        signal.alarm(10)
        s = make()
        socket.send_fds(there, [b"x"], [s.fileno()])
        os._exit(0)
    os.wait()
    join()
    _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
    return socket.socket(fileno=descriptors[0]) if descriptors else None


@way
def connected_from_outside():
    s = handed(lambda: dial(socket.AF_INET, (DB, PORT)))
    return ask(s) if s else "nothing"


@way
def connected_unix_from_outside():
    s = handed(lambda: dial(socket.AF_UNIX, UNIX))
    return ask(s) if s else "nothing"


@way
def listener_from_outside():
    """As servers are given theirs by who starts them."""
    def make():
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen()
        return s
    s = handed(make)
    return "RECEIVED" if s else "nothing"


outsiders = []


def outsider(work):
    """Somebody who is no agent and waits; what it has to say comes with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.write(writing, struct.pack("=i", work()))
        signal.pause()
    outsiders.append(pid)
    return pid, struct.unpack("=i", os.read(reading, 4))[0]


held = []


def connection():
    held.append(dial(socket.AF_INET, (DB, PORT)))
    return held[-1].fileno()


@way
def taken_from_outside():
    pid, number = outsider(connection)
    join()
    descriptor = check(libc.syscall(PIDFD_GETFD, check(libc.syscall(PIDFD_OPEN, pid, 0)), number, 0))
    return ask(socket.socket(fileno=descriptor))


@way
def trace_outside():
    pid, _ = outsider(lambda: 0)
    join()
    check(libc.ptrace(0x4206, pid, 0, 0))
    return "TRACED"


@way
def trace_own():
    join()
    pid, _ = outsider(lambda: 0)
    check(libc.ptrace(0x4206, pid, 0, 0))
    return "TRACED"


@way
def memory_of_outside():
    pid, _ = outsider(lambda: 0)
    join()
    os.open(f"/proc/{pid}/mem", os.O_RDWR)
    return "OPENED"


@way
def look_at_outside():
    """As `ps` does."""
    pid, _ = outsider(lambda: 0)
    join()
    os.readlink(f"/proc/{pid}/exe")
    return "SEEN"


ROOT = os.path.dirname(os.path.dirname(PROCS))


@way
def move_away():
    join()
    with open(ROOT + "/cgroup.procs", "w") as procs:
        procs.write("0")
    return "MOVED"


@way
def clone_away():
    join()
    root = os.open(ROOT, os.O_RDONLY)
    arguments = struct.pack("11Q", 0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, root)
    pid = libc.syscall(CLONE3, arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    check(pid)
    os.waitpid(pid, 0)
    return "CLONED"


@way
def make_elsewhere():
    join()
    folder = f"{ROOT}/elsewhere-{os.getpid()}"
    os.mkdir(folder)
    os.rmdir(folder)
    return "MADE"


@way
def make_below():
    """As container runtimes do."""
    join()
    folder = f"{os.path.dirname(PROCS)}/below-{os.getpid()}"
    os.mkdir(folder)
    with open(folder + "/cgroup.procs", "w") as procs:
        procs.write("0")
    return "MOVED"


def bpf(command, attributes):
    room = ctypes.create_string_buffer(attributes, 128)
    return check(libc.syscall(BPF, command, room, 128))


def pinned(name):
    path = ctypes.create_string_buffer(f"{PINS}/{name}".encode())
    return bpf(7, struct.pack("=QII", ctypes.addressof(path), 0, 0))


@way
def open_pinned_map():
    join()
    pinned("maps/CGROUPS")
    return "OPENED"


@way
def map_by_number():
    join()
    number = ctypes.create_string_buffer(struct.pack("=IIII", 0, 0, 0, 0), 128)
    check(libc.syscall(BPF, 12, number, 128))
    first = struct.unpack_from("=I", number, 4)[0]
    bpf(14, struct.pack("=III", first, 0, 0))
    return "OPENED"


def attached(kind, attach):
    """A program that does nothing, at the process's own cgroup."""
    instructions = ctypes.create_string_buffer(struct.pack("=QQ", 0x1_0000_00B7, 0x95))
    licence = ctypes.create_string_buffer(b"GPL")
    program = bpf(5, struct.pack("=IIQQIIQIIQQII", kind, 2, ctypes.addressof(instructions), ctypes.addressof(licence), 0, 0, 0, 0, 0, 0, 0, 0, attach))
    cgroup = os.open(os.path.dirname(PROCS), os.O_RDONLY)
    bpf(28, struct.pack("=IIII", program, cgroup, attach, 0))
    return "ATTACHED"


@way
def attach_after_us():
    join()
    return attached(18, 10)


@way
def attach_for_devices():
    join()
    return attached(15, 6)


@way
def packet_socket():
    join()
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    return "PACKET SOCKET"


@way
def unmount_own():
    """A mount of one's own, in a namespace of one's own: as container runtimes leave their old root."""
    join()
    script = "mkdir -p /tmp/m$$ && mount -t tmpfs m /tmp/m$$ && mkdir /tmp/m$$/b && mount -t tmpfs b /tmp/m$$/b && umount -l /tmp/m$$ && echo UNMOUNTED"
    return subprocess.run(["unshare", "--mount", "bash", "-c", script], stdout=subprocess.PIPE, text=True).stdout.strip()


@way
def unpin():
    join()
    os.remove(f"{PINS}/links/connect4")
    return "UNPINNED"


@way
def detach_link():
    join()
    link = pinned("links/connect6")
    bpf(34, struct.pack("=I", link))
    return "DETACHED"


def unmount(path, flags):
    join()
    check(libc.umount2(path.encode(), flags))
    return "UNMOUNTED"


@way
def unmount_pins():
    return unmount("/sys/fs/bpf", 0)


@way
def unmount_pins_lazily():
    return unmount("/sys/fs/bpf", 2)


@way
def unmount_what_is_above():
    return unmount("/sys", 2)


def guarded(work):
    try:
        return work()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


signal.alarm(20)
answer = guarded(WAYS[WAY])
for pid in outsiders:
    os.kill(pid, signal.SIGKILL)
print(answer)
