"""A human for the approval cases: says yes to every statement that comes before a case's last one, as often as the case
has it, and no to everything else. So whatever was approved is there to be misused, and the last statement must not be let
through by it.
"""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

WORDS = "that is not what I have approved"


class Control(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path):
        super().__init__("interceptor")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Approver(threading.Thread):
    def __init__(self, control, trail):
        super().__init__(daemon=True)
        self.control, self.trail = control, pathlib.Path(trail)
        self.database, self.yes, self.seen, self.wrong = None, [], [], []
        self.lock = threading.Lock()
        self.start()

    def ask(self, method, path, said=None):
        control = Control(self.control)
        try:
            control.request(method, path, json.dumps(said) if said is not None else None, {"content-type": "application/json"})
            answer = control.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if answer.status == 200 else body.decode()
        finally:
            control.close()

    def expect(self, database, yes):
        with self.lock:
            self.database, self.yes, self.seen, self.wrong = database, list(yes), [], []

    def run(self):
        while True:
            time.sleep(0.05)
            _, requests = self.ask("GET", "/approvals")
            with self.lock:
                for request in requests:
                    if request["state"] == "open" and request["database"] == self.database:
                        self.decide(request)

    def decide(self, request):
        # A link preview, or anything else that only looks, decides nothing.
        status, _ = self.ask("GET", f"/approvals/{request['id']}/approve")
        if status != 405:
            self.wrong.append(f"a GET of an approval answers {status}")
        shown = subprocess.run(
            [os.environ["INTERCEPTOR_TEST_BIN"], "approvals", "show", request["id"], "--socket", self.control],
            capture_output=True,
        ).stdout.decode()
        drawn = [sign for sign in shown if not sign.isprintable() and sign != "\n"]
        if drawn or not shown:
            self.wrong.append(f"what the reviewer is shown has {drawn!r} in it")
        statement = request["statement"]
        self.seen.append(statement)
        if statement in self.yes:
            self.yes.remove(statement)
            self.ask("POST", f"/approvals/{request['id']}/approve", {})
        else:
            self.ask("POST", f"/approvals/{request['id']}/deny", {"comment": WORDS})

    def verdict(self, database, answer, last):
        """What is wrong with how a case went, as far as the human can tell."""
        with self.lock:
            wrong = list(self.wrong)
            if last not in self.seen:
                wrong.append(f"nobody was asked for {last!r}, but for {self.seen}")
            if not any(WORDS in message for message in answer["messages"]):
                wrong.append(f"the agent has not heard why: {answer['messages']}")
        for segment in sorted(self.trail.glob("*.jsonl")):
            for line in segment.read_bytes().split(b"\n"):
                if line and (not line.startswith(b"{") or any(byte < 32 for byte in line)):
                    wrong.append(f"a record is no line of its own: {line[:80]!r}")
        return wrong
