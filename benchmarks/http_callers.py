"""The callers of `benchmarks.callers` for servers that speak HTTP/1.1, one on each connection.

    python -m benchmarks.http_callers ADDRESS REQUEST CALLERS SECONDS [PID]

REQUEST is a file with one whole HTTP request, its head included.
"""

from __future__ import annotations

import socket
import time
from typing import Final

from benchmarks.callers import CallFailed, main

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length: "
_CHUNKED: Final = b"\r\ntransfer-encoding: chunked"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class HttpConnection:
    """One connection with one caller.

    Args:
        address: `host:port`.
        request: Sent again and again.
    """

    def __init__(self, address: str, request: bytes) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies_s: list[float] = []
        self._request = request
        self._received = bytearray()
        self._started = 0.0
        self._call()

    def _call(self) -> None:
        self._started = time.perf_counter()
        self.socket.sendall(self._request)

    def read(self) -> None:
        """Take what has arrived and ask again for each answer.

        Raises:
            CallFailed: An answer is an error.
        """
        chunk = self.socket.recv(1 << 18)
        # A server that sends head and body apart would wait for this side's delayed
        # acknowledgement of the first, 40 ms; the kernel forgets the option again.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not chunk:
            raise CallFailed("the server closed the connection")
        self._received += chunk
        if self._is_whole():
            self._received.clear()
            self.latencies_s.append(time.perf_counter() - self._started)
            self._call()

    def _is_whole(self) -> bool:
        received = self._received
        end = received.find(_END_OF_HEAD)
        if end < 0:
            return False
        head = bytes(received[:end]).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise CallFailed(f"an error instead of an answer: {bytes(received)!r}")
        if _CHUNKED in head:
            return received.endswith(_LAST_CHUNK)
        size = int(head.partition(_LENGTH)[2].split(b"\r\n", 1)[0])
        return len(received) >= end + len(_END_OF_HEAD) + size


def connections(address: str, request: bytes, callers: int) -> list[HttpConnection]:
    """One for each caller."""
    return [HttpConnection(address, request) for _ in range(callers)]


if __name__ == "__main__":
    main(connections)
