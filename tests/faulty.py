"""A proxy in front of a store that spoils some of the answers: refused, broken off, never given, or half of it."""

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
import urllib.parse

# What goes wrong with a request. "short" is half an answer that says it is whole: no client can see it.
FAULTS = ("refused", "reset", "reset after it was done", "timeout", "half", "short")
REFUSALS = {  # as S3 has them: name -> status, code and message
    "refused": (503, "SlowDown", "Please reduce your request rate."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "over quota": (403, "QuotaExceeded", "The quota is exceeded."),
    "no bucket": (404, "NoSuchBucket", "The specified bucket does not exist"),
}


class Proxy(http.server.ThreadingHTTPServer):
    """Of ``every`` requests one goes wrong.

    Attributes:
      seconds: how long an answer is waited for that never comes.
      faults: fault -> how often it was made.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target, every, seconds):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.every, self.seconds = urllib.parse.urlsplit(target).netloc, every, seconds
        self.random, self.lock = random.Random(0), threading.Lock()
        self.faults = dict.fromkeys(FAULTS, 0)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, method):
        """What goes wrong with the next request; None: nothing."""
        with self.lock:
            if self.random.randrange(self.every):
                return None
            found = self.random.choice(FAULTS if method == "GET" else FAULTS[:-1])
            self.faults[found] += 1
            return found

    def handle_error(self, request, client_address):
        """Clients that hang up are what this is about."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        super().handle_one_request()

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(self.command)
        if fault == "timeout":
            time.sleep(self.server.seconds)
        if fault in ("timeout", "reset"):
            self.reset()
        elif fault in REFUSALS:
            status, code, message = REFUSALS[fault]
            content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self.reply(status, [("Content-Type", "application/xml")], content, content)
        else:
            status, headers, content = self.passed_on(body)
            half = content[: len(content) // 2]
            if fault == "reset after it was done":
                self.reset()
            elif fault == "half" and half:
                self.reply(status, headers, half, content)
                self.reset()
            elif fault == "short" and half:
                self.reply(status, headers, half, half)
            else:
                self.reply(status, headers, content, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def passed_on(self, body):
        """Status, headers and body of the store's answer."""
        with contextlib.closing(http.client.HTTPConnection(self.server.target, timeout=60)) as store:
            store.request(self.command, self.path, body, {name: value for name, value in self.headers.items()})
            answer = store.getresponse()
            self.length = answer.getheader("Content-Length")
            left_out = {"connection", "content-length", "transfer-encoding", "date", "server"}
            return answer.status, [h for h in answer.getheaders() if h[0].lower() not in left_out], answer.read()

    def reply(self, status, headers, sent, told):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", self.length if self.command == "HEAD" and status < 400 else str(len(told)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def reset(self):
        """Hang up so that the other side sees it as an error, and not as an end."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def proxy(target, every=20, seconds=3):
    """A proxy in front of the server at ``target``, an address of HTTP."""
    with Proxy(target, every, seconds) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
