"""A proxy that makes a good S3 behave like a bad one."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HeaderFilter = Callable[[str, str], bool]
"""Of a method and the name of a header: whether the header is passed on."""


Drops = Callable[[str, str], bool]
"""Of a method and a path with its query: whether the connection breaks in this request."""


def passes_all(_method: str, _header: str) -> bool:
    """Denies no header."""
    return True


def drops_none(_method: str, _path: str) -> bool:
    """Breaks no connection."""
    return False


@contextmanager
def s3_proxy(
    target: str,
    passes: HeaderFilter = passes_all,
    drops: Drops = drops_none,
    *,
    wants_md5: bool = False,
) -> Iterator[str]:
    """The address of a proxy to `target` that misbehaves.

    Addresses are `host:port`.

    Args:
        target: Address of a good S3.
        passes: Headers that it denies are left out.
        drops: In the requests that it picks, half of a GET's body comes, and another request
            is carried out without an answer.
        wants_md5: Whether it refuses parts without one, as AWS does under object lock.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if wants_md5 and "partNumber" in self.path and not self.headers["Content-MD5"]:
                refusal = b"<Error><Code>InvalidRequest</Code></Error>"
                self.send_response_only(400)
                self.send_header("Content-Length", str(len(refusal)))
                self.end_headers()
                self.wfile.write(refusal)
                return
            upstream = http.client.HTTPConnection(target, timeout=30)
            # Host passes unchanged: the signature covers it.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if passes(self.command, name):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            response = upstream.getresponse()
            data = response.read()
            upstream.close()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding"):
                    self.send_header(name, value)
            length = response.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            if drops(self.command, self.path):
                self.close_connection = True
                if self.command == "GET":
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                return
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
