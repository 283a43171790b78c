"""A proxy before a good S3 that loses, delays, repeats and refuses requests."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_LATE_S = (0.1, 4.0)


class Fault(StrEnum):
    """What happens to a request."""

    NONE = "none"
    LOST = "lost on its way there"
    UNANSWERED = "carried out, its answer lost"
    LATE = "refused, and carried out seconds later"
    TWICE = "carried out twice"
    DELAYED = "delayed"
    ERROR_500 = "answered 500"
    ERROR_503 = "answered 503"


class FaultyS3:
    """The proxy's address, and how bad it is now.

    Attributes:
        address: `host:port`.
        share: Of the requests that go wrong.
        seen: How many requests got each fault.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.target = target
        self.address = ""
        self.share = 0.0
        self.seen: Counter[Fault] = Counter()
        self.late: list[threading.Timer] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def draw(self) -> Fault:
        """What happens to the next request."""
        with self._lock:
            faults = [fault for fault in Fault if fault is not Fault.NONE]
            hit = self._random.random() < self.share
            fault = self._random.choice(faults) if hit else Fault.NONE
            self.seen[fault] += 1
            return fault

    def wait_for_late(self) -> None:
        """Block until every late request has arrived."""
        for timer in self.late:
            timer.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyS3
    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.draw()
        match fault:
            case Fault.LOST:
                self.close_connection = True
                return
            case Fault.ERROR_500 | Fault.ERROR_503:
                self._refuse(500 if fault is Fault.ERROR_500 else 503)
                return
            case Fault.LATE:
                timer = threading.Timer(random.uniform(*_LATE_S), self._carry_out, (body,))
                timer.start()
                self.proxy.late.append(timer)
                self._refuse(503)
                return
            case Fault.DELAYED:
                time.sleep(random.uniform(0.05, 0.5))
            case Fault.TWICE:
                self._carry_out(body)
        answer = self._carry_out(body)
        if answer is None or fault is Fault.UNANSWERED:
            self.close_connection = True
            return
        self._answer(*answer)

    def _carry_out(
        self, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes, str | None] | None:
        """What the S3 answers; None where it doesn't."""
        upstream = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            # Host passes unchanged: the signature covers it.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            response = upstream.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            upstream.close()
        return (
            response.status,
            response.getheaders(),
            data,
            response.getheader("Content-Length"),
        )

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        shown = length if self.command == "HEAD" and length else str(len(data))
        self.send_header("Content-Length", shown)
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int) -> None:
        text = b"<Error><Code>SlowDown</Code></Error>"
        self._answer(status, [], b"" if self.command == "HEAD" else text, None)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the caller was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def faulty_s3(target: str, seed: int) -> Iterator[FaultyS3]:
    """A proxy to the S3 at `target`, faithful until its `share` is raised."""
    proxy = FaultyS3(target, seed)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    proxy.address = f"127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        proxy.wait_for_late()
