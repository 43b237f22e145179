"""Every known way to dial a database without being seen. Starts outside of the agents' cgroup, because some ways begin there;
each way is a process of its own, and prints who answered: `daemon`, `DIRECT`, or how it failed."""
import array
import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

DB, PORT, PROCS, DAEMON = sys.argv[1], 5432, sys.argv[2], int(sys.argv[3])
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
libc = ctypes.CDLL(None, use_errno=True)


def join():
    with open(PROCS, "w") as procs:
        procs.write("0")


def answerer(s):
    """The server has no TLS and says N, the daemon has and says S."""
    s.settimeout(5)
    return {b"S": "daemon", b"N": "DIRECT", b"": "closed"}[s.recv(1)]


def ask(s):
    s.settimeout(5)
    s.sendall(SSL_REQUEST)
    return answerer(s)


def tcp(family=socket.AF_INET, protocol=0):
    return socket.socket(family, socket.SOCK_STREAM, protocol)


WAYS = {}


def way(work):
    WAYS[work.__name__] = work
    return work


@way
def connect():
    join()
    s = tcp()
    s.connect((DB, PORT))
    return ask(s)


@way
def mapped():
    join()
    s = tcp(socket.AF_INET6)
    s.connect(("::ffff:" + DB, PORT))
    return ask(s)


@way
def any_address():
    join()
    said = set()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")):
        s = tcp(family)
        s.connect((address, PORT))
        said.add(ask(s))
    return " ".join(said)


@way
def nonblocking():
    join()
    s = tcp()
    s.setblocking(False)
    assert s.connect_ex((DB, PORT)) == errno.EINPROGRESS
    return ask(s)


@way
def thread():
    join()
    said = []
    t = threading.Thread(target=lambda: said.append(connect()))
    t.start()
    t.join()
    return said[0]


@way
def child():
    join()
    return subprocess.run([sys.executable, __file__, *sys.argv[1:4], "connect_only"], stdout=subprocess.PIPE, text=True).stdout.strip()


@way
def connect_only():
    s = tcp()
    s.connect((DB, PORT))
    return ask(s)


@way
def sendto_fast_open():
    join()
    s = tcp()
    s.sendto(SSL_REQUEST, 0x20000000, (DB, PORT))
    return answerer(s)


@way
def fast_open_connect():
    join()
    s = tcp()
    s.setsockopt(socket.IPPROTO_TCP, 30, 1)
    s.connect((DB, PORT))
    return ask(s)


@way
def io_uring():
    """IORING_OP_CONNECT: there is no system call of that name to watch."""
    join()
    s = tcp()
    params = ctypes.create_string_buffer(120)
    ring = libc.syscall(425, 4, params)
    assert ring >= 0, os.strerror(ctypes.get_errno())
    sq, cq = struct.unpack_from("10I", params, 40), struct.unpack_from("10I", params, 80)
    sq_entries, cq_entries = struct.unpack_from("2I", params)
    size = max(sq[6] + sq_entries * 4, cq[5] + cq_entries * 16)
    rings = mmap.mmap(ring, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
    entries = mmap.mmap(ring, sq_entries * 64, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=0x10000000)
    address = ctypes.create_string_buffer(struct.pack("=H", socket.AF_INET) + struct.pack(">H", PORT) + socket.inet_aton(DB) + bytes(8))
    # opcode, flags, ioprio, fd | offset: length of the address | address
    entries[:64] = struct.pack("=BBHiQQ", 16, 0, 0, s.fileno(), 16, ctypes.addressof(address)) + bytes(40)
    rings[sq[6] : sq[6] + 4] = struct.pack("=I", 0)
    rings[sq[1] : sq[1] + 4] = struct.pack("=I", 1)
    assert libc.syscall(426, ring, 1, 1, 1, None, 0) == 1, os.strerror(ctypes.get_errno())
    result = struct.unpack_from("=Qi", rings, cq[5])[1]
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return ask(s)


@way
def mptcp():
    join()
    return ask(tcp(protocol=262))


@way
def sctp():
    join()
    return ask(tcp(protocol=132))


@way
def raw():
    join()
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    return "RAW SOCKET"


@way
def made_before_joining():
    s = tcp()
    join()
    s.connect((DB, PORT))
    return ask(s)


@way
def unconnected_socket_from_outside():
    here, there = socket.socketpair()
    if os.fork() == 0:
        fresh = tcp()
        socket.send_fds(there, [b"x"], [fresh.fileno()])
        os._exit(0)
    os.wait()
    join()
    _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
    s = socket.socket(fileno=descriptors[0])
    s.connect((DB, PORT))
    return ask(s)


def hears_the_end(s):
    """Nothing is said until the daemon has noticed."""
    for _ in range(50):
        signal.sigtimedwait([signal.SIGUSR1], 0.1)
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return "ended"
    return ask(s)


@way
def connected_socket_from_outside():
    """No hook sees this one: the connection is somebody else's."""
    here, there = socket.socketpair()
    if os.fork() == 0:
        connected = tcp()
        connected.connect((DB, PORT))
        socket.send_fds(there, [b"x"], [connected.fileno()])
        os._exit(0)
    os.wait()
    join()
    _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
    return hears_the_end(socket.socket(fileno=descriptors[0]))


@way
def taken_from_outside():
    """pidfd_getfd of somebody who is not an agent."""
    reading, writing = os.pipe()
    outside = os.fork()
    if outside == 0:
        connected = tcp()
        connected.connect((DB, PORT))
        os.write(writing, struct.pack("=i", connected.fileno()))
        signal.pause()
    number = struct.unpack("=i", os.read(reading, 4))[0]
    join()
    descriptor = libc.syscall(438, libc.syscall(434, outside, 0), number, 0)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        return hears_the_end(socket.socket(fileno=descriptor))
    finally:
        os.kill(outside, signal.SIGKILL)


@way
def opened_before_joining():
    s = tcp()
    s.connect((DB, PORT))
    join()
    # The daemon hears of it and ends what there is.
    return hears_the_end(s)


@way
def elsewhere_and_back():
    """A socket that was connected to somewhere else is dissolved and connected again."""
    join()
    with socket.create_server(("127.0.0.1", 0)) as other:
        s = tcp()
        s.connect(other.getsockname())
        assert libc.connect(s.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0
        s.connect((DB, PORT))
        return ask(s)


@way
def bound_to_a_device():
    join()
    s = tcp()
    s.setsockopt(socket.SOL_SOCKET, 25, b"lo\0")
    s.bind(("127.0.0.9", 0))
    s.connect((DB, PORT))
    return ask(s)


@way
def into_another_cgroup():
    """CLONE_INTO_CGROUP: the child has never been anywhere else."""
    join()
    root = os.open(os.path.dirname(os.path.dirname(PROCS)), os.O_RDONLY)
    reading, writing = os.pipe()
    # struct clone_args: flags, ..., exit_signal, ..., cgroup
    arguments = struct.pack("11Q", 0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, root)
    pid = libc.syscall(435, arguments, len(arguments))
    assert pid >= 0, os.strerror(ctypes.get_errno())
    if pid == 0:
        os.write(writing, guarded(connect_only).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reading, 100).decode()


@way
def moved_away():
    join()
    with open(os.path.join(os.path.dirname(os.path.dirname(PROCS)), "cgroup.procs"), "w") as procs:
        procs.write("0")
    return connect_only()


@way
def user_namespace():
    join()
    return subprocess.run(["unshare", "--user", "--map-root-user", sys.executable, __file__, *sys.argv[1:4], "connect_only"], stdout=subprocess.PIPE, text=True).stdout.strip()


@way
def network_namespace():
    """Somebody else's address there: nobody but the daemon may be met."""
    join()
    script = f"ip link set lo up; exec {sys.executable} {__file__} {' '.join(sys.argv[1:4])} connect_only"
    return subprocess.run(["unshare", "--net", "bash", "-c", script], stdout=subprocess.PIPE, text=True).stdout.strip()


@way
def many_forged():
    """While others are on their way to the daemon, its port is dialled by hand: no record of theirs is ours."""
    port = daemon_port()
    join()
    said = set()
    for _ in range(100):
        other = tcp()
        other.setblocking(False)
        other.connect_ex((DB, PORT))
        s = tcp()
        s.connect(("127.0.0.1", port))
        try:
            said.add(ask(s))
        except ConnectionResetError:
            said.add("closed")
    return " ".join(said)


def daemon_port():
    """The daemon's listener is among its own descriptors."""
    inodes = set()
    for fd in os.listdir(f"/proc/{DAEMON}/fd"):
        target = os.readlink(f"/proc/{DAEMON}/fd/{fd}")
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].split(":")[1], 16)


@way
def binding_the_daemons_port():
    port = daemon_port()
    join()
    s = tcp()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", port))
    return "BOUND"


def ordinary():
    join()
    os.setgid(65534)
    os.setuid(65534)


@way
def kill_as_somebody():
    ordinary()
    os.kill(DAEMON, signal.SIGKILL)
    return "KILLED"


@way
def everything_as_root_of_a_container():
    """Root in user, pid and mount namespaces of its own: it kills, enters, unpins, and looks at the pins by a mount of its own."""
    ordinary()
    script = f"""
import ctypes, errno, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def attempt(work):
    try: work(); return "DONE"
    except OSError as error: return errno.errorcode[error.errno]
def enter():
    if libc.setns(os.open("/proc/{DAEMON}/ns/mnt", os.O_RDONLY), 0) < 0: raise OSError(ctypes.get_errno(), "")
def mount():
    if libc.mount(b"none", b"/sys/fs/cgroup", b"cgroup2", 0, None) == 0: open("/sys/fs/cgroup/cgroup.procs", "w").write("0")
    else: raise OSError(ctypes.get_errno(), "")
print(attempt(lambda: os.kill({DAEMON}, signal.SIGKILL)), attempt(enter), attempt(lambda: os.listdir("/sys/fs/bpf/interceptor/{sys.argv[5]}")), attempt(mount))
"""
    return subprocess.run(["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True).stdout.strip()


@way
def stop_as_somebody():
    ordinary()
    os.kill(DAEMON, signal.SIGSTOP)
    return "STOPPED"


@way
def trace_as_somebody():
    ordinary()
    if libc.ptrace(0x4206, DAEMON, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "")
    return "TRACED"


@way
def descriptor_of_the_daemon():
    ordinary()
    pidfd = libc.syscall(434, DAEMON, 0)
    if libc.syscall(438, pidfd, 5, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "TAKEN"


@way
def unpin_as_somebody():
    ordinary()
    folder = f"/sys/fs/bpf/interceptor/{sys.argv[5]}"
    os.remove(f"{folder}/{os.listdir(folder)[0]}/links/connect4")
    return "UNPINNED"


@way
def bpf_as_somebody():
    ordinary()
    # BPF_MAP_GET_NEXT_ID, as anybody begins who looks for a map to write to.
    if libc.syscall(321, 12, bytes(16), 16) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "LOOKED"


@way
def control_socket_as_somebody():
    ordinary()
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[6])
    return "CONNECTED"


@way
def handover_as_somebody():
    ordinary()
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[6] + ".handover")
    return "CONNECTED"


@way
def handover_as_an_agent():
    """Root, but an agent."""
    join()
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[6] + ".handover")
    _, descriptors, _, _ = socket.recv_fds(s, 1, 253)
    return f"{len(descriptors)} listeners"


@way
def another_cgroup_as_somebody():
    ordinary()
    with open(os.path.join(os.path.dirname(os.path.dirname(PROCS)), "cgroup.procs"), "w") as procs:
        procs.write("0")
    return "MOVED"


def guarded(work):
    try:
        return work()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


signal.alarm(15)
print(guarded(WAYS[sys.argv[4]]))
