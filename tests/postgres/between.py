"""Stands between the daemon and a server: ends TLS with a certificate of its own and passes everything on.

between.py LISTEN SERVER CERTIFICATE KEY [strip]; with `strip` the server's offer of channel binding is taken away."""
import socket, ssl, struct, sys, threading

listen, server, certificate, key = sys.argv[1:5]
strip = sys.argv[5:] == ["strip"]
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
inside.load_cert_chain(certificate, key)
outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
outside.check_hostname, outside.verify_mode = False, ssl.CERT_NONE


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def pour(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:
        pass
    finally:
        for connection in source, sink:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(client):
    exactly(client, 8)
    client.sendall(b"S")
    client = inside.wrap_socket(client, server_side=True)
    upstream = socket.create_connection((server, 5432))
    upstream.sendall(SSL_REQUEST)
    exactly(upstream, 1)
    upstream = outside.wrap_socket(upstream)
    length = exactly(client, 4)
    upstream.sendall(length + exactly(client, struct.unpack(">i", length)[0] - 4))
    head = exactly(upstream, 5)
    body = exactly(upstream, struct.unpack(">i", head[1:])[0] - 4)
    if strip:
        body = body.replace(b"SCRAM-SHA-256-PLUS\0", b"")
    client.sendall(head[:1] + struct.pack(">i", len(body) + 4) + body)
    # Two threads on one TLS connection take turns well enough for a log-in.
    threading.Thread(target=pour, args=(client, upstream), daemon=True).start()
    pour(upstream, client)


def guarded(client):
    try:
        serve(client)
    except (EOFError, OSError):
        client.close()


with socket.create_server((listen, 5432)) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
