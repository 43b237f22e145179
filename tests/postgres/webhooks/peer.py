"""Somebody else's system: takes messages, refuses the first, checks who signed them, and answers."""
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time
import urllib.error
import urllib.request

port, secret, console = int(sys.argv[1]), open(sys.argv[2], "rb").read().strip(), sys.argv[3]
messages, arrived = [], threading.Condition()


def signed(timestamp, body, key=secret):
    return "v1=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Peer(http.server.BaseHTTPRequestHandler):
    first = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        fails, Peer.first = Peer.first, False
        self.send_response(503 if fails else 204)
        self.end_headers()
        if not fails:
            genuine = self.headers["x-interceptor-signature"] == signed(self.headers["x-interceptor-timestamp"], body)
            with arrived:
                messages.append((self.path, genuine, json.loads(body)))
                arrived.notify_all()

    def log_message(self, *_):
        pass


def wait(path, event):
    end = time.time() + 20
    with arrived:
        while time.time() < end:
            for message in messages:
                if message[0] == path and event in json.dumps(message[2]):
                    messages.remove(message)
                    return message
            arrived.wait(0.2)
    return (path, None, {})


def answer(said, key=secret, timestamp=None, method="POST"):
    body = json.dumps(said).encode()
    timestamp = timestamp or str(int(time.time()))
    headers = {"x-interceptor-timestamp": timestamp, "x-interceptor-signature": signed(timestamp, body, key), "content-type": "application/json"}
    request = urllib.request.Request(console + "webhook/answer", body if method == "POST" else None, headers, method=method)
    try:
        return 200, json.load(urllib.request.urlopen(request))["state"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


threading.Thread(target=http.server.HTTPServer(("127.0.0.1", port), Peer).serve_forever, daemon=True).start()
print("ready", flush=True)
_, genuine, message = wait("/json", '"asked"')
request = message["request"]
print("json:", genuine, message["event"], request["agent"], request["statement"], flush=True)
for path in ("/slack", "/teams"):
    _, genuine, message = wait(path, "asks dba for approval")
    print(f"{path}:", genuine, sorted(message), request["statement"] in json.dumps(message).replace("\\\\", "\\"), flush=True)
said = {"id": request["id"], "decision": "approve", "by": "erin@corp"}
print("a GET:", answer(said, method="GET")[0])
print("another secret:", answer(said, key=b"another secret of length")[0])
print("too old:", answer(said, timestamp=str(int(time.time()) - 301))[0])
print("nobody we know:", answer({**said, "by": "mallory@corp"}))
print("in no group of it:", answer({**said, "by": "frank@corp"}))
print("the agent:", answer({**said, "by": "agent:demo"}))
print("neither:", answer({**said, "by": None}))
now = str(int(time.time()))
print("erin:", answer({**said, "comment": "from the chat"}, timestamp=now))
print("again:", answer({**said, "comment": "from the chat"}, timestamp=now))
print("used:", wait("/json", '"event": "used"')[2].get("event"), flush=True)
_, _, message = wait("/json", '"asked"')
print("by a token:", answer({"id": message["request"]["id"], "decision": "deny", "token": sys.argv[4], "comment": "no"}))
print("denied:", wait("/json", '"event": "denied"')[2].get("event"), flush=True)
