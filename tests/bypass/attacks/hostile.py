"""A database server that is honest until it is told not to be: in between it hands everything to the real one.

What it is armed with is sent once: in answer to the next connection's start-up, to its first SCRAM message, or to the
next simple Query whose text holds `MARK`.
"""
import socket
import struct
import threading

MARK = b"/* answered */"
SSL, GSS, CANCEL = 80877103, 80877104, 80877102
SCRAM = b"R" + struct.pack(">ii", 8 + 15, 10) + b"SCRAM-SHA-256\0\0"


class Hostile:
    def __init__(self, address, real):
        self.real, self.address, self.armed, self.cancelled = real, address, None, 0
        self.listener = socket.create_server((address, 5432), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def arm(self, when, answer):
        """`when` is start-up, scram or query."""
        self.cancelled, self.armed = 0, (when, answer)

    def take(self, *when):
        armed = self.armed
        if armed and armed[0] in when:
            self.armed = None
            return armed
        return None

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                # Closed.
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, daemon):
        try:
            head = exactly(daemon, 8)
            length, code = struct.unpack(">ii", head)
            packet = head + exactly(daemon, length - 8)
            if code == CANCEL:
                self.cancelled += 1
                with socket.create_connection(self.real) as server:
                    server.sendall(packet)
                    server.recv(1)
                return
            armed = self.take("start-up", "scram")
            if armed is None and code in (SSL, GSS):
                daemon.sendall(b"N")
                head = exactly(daemon, 8)
                packet = head + exactly(daemon, struct.unpack(">i", head[:4])[0] - 8)
            if armed:
                return lie(daemon, *armed)
            self.relay(daemon, packet)
        except (EOFError, OSError):
            pass
        finally:
            daemon.close()

    def relay(self, daemon, packet):
        server = socket.create_connection(self.real)
        server.sendall(packet)
        threading.Thread(target=pump, args=(server, daemon), daemon=True).start()
        try:
            while True:
                head = exactly(daemon, 5)
                body = exactly(daemon, struct.unpack(">i", head[1:])[0] - 4)
                armed = head[:1] == b"Q" and MARK in body and self.take("query")
                if armed:
                    daemon.sendall(armed[1])
                else:
                    server.sendall(head + body)
        finally:
            server.close()


def lie(daemon, when, answer):
    if when == "scram":
        daemon.sendall(SCRAM)
        head = exactly(daemon, 5)
        body = exactly(daemon, struct.unpack(">i", head[1:])[0] - 4)
        # The nonce that the other side has to find again at the beginning of ours.
        nonce = body.rpartition(b"r=")[2]
        if b"r=NONCE+" in answer:
            body = answer[9:].replace(b"r=NONCE+", b"r=" + nonce + b"more")
            answer = b"R" + struct.pack(">ii", 8 + len(body), 11) + body
    daemon.sendall(answer)
    # Whoever goes on is let go on for as long as it wants.
    while daemon.recv(65536):
        pass


def pump(source, sink):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
    except OSError:
        pass
    for end in (sink, source):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
