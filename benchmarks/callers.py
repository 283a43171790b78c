"""A process of callers that costs microseconds a call, so that it is not what is measured.

    python -m benchmarks.callers ADDRESS REQUEST CALLERS SECONDS [PID]

REQUEST is a file with one serialized `inference.ModelInferRequest`, sent again and again over
HTTP/2 frames made by hand: a stock Python client costs more than the servers that are compared.
Each caller waits for its answer before it asks again. An answer counts when a message came with
it; an error comes without one and ends the run. Prints one line of JSON; with PID, also the CPU
time that this process spent per call.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from benchmarks.harness import Sample

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"

_ROOT: Final = Path(__file__).resolve().parents[1]
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_LARGEST_WINDOW: Final = 2**31 - 1
_TOP_UP_BYTES: Final = 2**28
_CONNECTIONS: Final = 8
_WARM_UP_S: Final = 0.3
_STALL_S: Final = 10.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class CallFailed(RuntimeError):
    """A server answered with an error, or with what is no HTTP/2."""


class Connection:
    """One HTTP/2 connection with a fixed number of callers.

    Args:
        address: `host:port`.
        message: The serialized request.
        callers: Calls under way at once.
    """

    def __init__(self, address: str, message: bytes, callers: int) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies_s: list[float] = []
        self._body = struct.pack(">BI", 0, len(message)) + message
        self._frame_bytes = 16384
        self._stream_window = self._window = 65535
        self._fields = _Fields(address)
        self._waiting: deque[None] = deque([None] * callers)
        self._started: dict[int, float] = {}
        self._answered: set[int] = set()
        self._next_stream = 1
        self._received = bytearray()
        self._consumed = 0
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        self.socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, struct.pack(">I", _LARGEST_WINDOW - 65535))
        )
        self.call()

    def call(self) -> None:
        """Start what waits, as far as the server's window allows."""
        frames: list[bytes] = []
        now = time.perf_counter()
        body = self._body
        while self._waiting and len(body) <= min(self._window, self._stream_window):
            self._waiting.pop()
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            frames.append(_frame(_HEADERS, _END_HEADERS, stream, self._fields.block()))
            for start in range(0, len(body), self._frame_bytes):
                part = body[start : start + self._frame_bytes]
                is_last = start + len(part) == len(body)
                frames.append(_frame(_DATA, _END_STREAM if is_last else 0, stream, part))
            self._window -= len(body)
            self._started[stream] = now
        if frames:
            self.socket.sendall(b"".join(frames))

    def read(self) -> None:
        """Take what has arrived and ask again for each answer.

        Raises:
            CallFailed: An answer is an error.
        """
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise CallFailed("the server closed the connection")
        self._received += chunk
        received = self._received
        position, size = 0, len(received)
        while size - position >= 9:
            length = int.from_bytes(received[position : position + 3], "big")
            end = position + 9 + length
            if end > size:
                break
            kind, flags = received[position + 3], received[position + 4]
            stream = int.from_bytes(received[position + 5 : position + 9], "big")
            self._take(kind, flags, stream, bytes(received[position + 9 : end]))
            position = end
        del received[:position]
        if self._consumed > _TOP_UP_BYTES:
            update = struct.pack(">I", self._consumed)
            self.socket.sendall(_frame(_WINDOW, 0, 0, update))
            self._consumed = 0
        self.call()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._consumed += len(payload)
            if payload:
                self._answered.add(stream)
        elif kind == _SETTINGS and not flags & _ACK:
            self._configure(payload)
        elif kind == _PING and not flags & _ACK:
            self.socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in (_RESET, _GOAWAY):
            raise CallFailed(f"frame of kind {kind}: {payload!r}")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            if stream not in self._answered:
                raise CallFailed(f"an error instead of an answer: {payload!r}")
            self._answered.discard(stream)
            self.latencies_s.append(time.perf_counter() - self._started.pop(stream))
            self._waiting.append(None)

    def _configure(self, payload: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", payload):
            if key == _INITIAL_WINDOW_SIZE:
                self._stream_window = value
            elif key == _MAX_FRAME_SIZE:
                self._frame_bytes = value
        self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))


class _Fields:
    """The header block of a call: spelled out once, then by reference (HPACK, RFC 7541)."""

    def __init__(self, authority: str) -> None:
        fields = [
            (b"\x44", METHOD.encode()),  # :path
            (b"\x41", authority.encode()),
            (b"\x5f", b"application/grpc"),  # content-type
            (b"\x40\x02te", b"trailers"),
            (b"\x40\x0cgrpc-timeout", b"20S"),
        ]
        constant = b"\x83\x86"  # :method POST, :scheme http
        self._first = constant + b"".join(
            name + bytes([len(value)]) + value for name, value in fields
        )
        newest = 62
        self._later = constant + bytes(0x80 | newest + i for i in reversed(range(len(fields))))
        self._is_first = True

    def block(self) -> bytes:
        """For the next call of the connection."""
        if self._is_first:
            self._is_first = False
            return self._first
        return self._later


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + (
        payload
    )


class Caller(Protocol):
    """One connection, which asks again by itself for each answer that it reads.

    Attributes:
        latencies_s: Of the calls answered so far.
    """

    socket: socket.socket
    latencies_s: list[float]

    def read(self) -> None:
        """Take what has arrived.

        Raises:
            CallFailed: It is no answer.
        """


def connections(address: str, message: bytes, callers: int) -> list[Connection]:
    """The callers, shared out over a few connections."""
    count = min(callers, _CONNECTIONS)
    shares = [callers // count + (i < callers % count) for i in range(count)]
    return [Connection(address, message, share) for share in shares]


def run(connections: Sequence[Caller], seconds: float, pid: int | None = None) -> dict[str, float]:
    """Calls per second, latencies in milliseconds, CPU microseconds per call of `pid`."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        _until(selector, time.perf_counter() + _WARM_UP_S)
        for connection in connections:
            connection.latencies_s.clear()
        spent_s = 0.0 if pid is None else _cpu_s(pid)
        own_s = time.process_time()
        begin = time.perf_counter()
        _until(selector, begin + seconds)
        took_s = time.perf_counter() - begin
        own_s = time.process_time() - own_s
        spent_s = 0.0 if pid is None else _cpu_s(pid) - spent_s
    for connection in connections:
        connection.socket.close()
    latencies_s = sorted(value for each in connections for value in each.latencies_s)
    calls = len(latencies_s)
    if not calls:
        raise CallFailed("no call was answered")
    result = {
        "calls_per_s": calls / took_s,
        "p50_ms": latencies_s[calls // 2] * 1000,
        "p99_ms": latencies_s[int(calls * 0.99)] * 1000,
        "callers_cpu_us": own_s / calls * 1e6,
    }
    if pid is not None:
        result["cpu_us"] = spent_s / calls * 1e6
    return result


def _until(selector: selectors.BaseSelector, end: float) -> None:
    while (now := time.perf_counter()) < end:
        ready = selector.select(_STALL_S)
        if not ready and time.perf_counter() - now >= _STALL_S:
            raise CallFailed("nothing came back")
        for key, _ in ready:
            key.data.read()


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def calling(
    address: str,
    request: Path,
    callers: int,
    seconds: float,
    pid: int | None = None,
    module: str = "benchmarks.callers",
) -> Callable[[], Sample]:
    """What measures one round of calls per second, from a process of its own.

    It raises `CallFailed` where a call failed.
    """

    def measure() -> Sample:
        command = [sys.executable, "-m", module]
        arguments = [address, str(request), str(callers), str(seconds)]
        if pid is not None:
            arguments.append(str(pid))
        done = subprocess.run(
            command + arguments, cwd=_ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CallFailed(done.stderr.strip().splitlines()[-1])
        facts: dict[str, float] = json.loads(done.stdout)
        return Sample(facts.pop("calls_per_s"), facts)

    return measure


def main(connect: Callable[[str, bytes, int], Sequence[Caller]]) -> None:
    """Do what the command line asks for, with the connections that `connect` makes."""
    address, request, callers, seconds, *process = sys.argv[1:]
    made = connect(address, Path(request).read_bytes(), int(callers))
    print(json.dumps(run(made, float(seconds), int(process[0]) if process else None)))


if __name__ == "__main__":
    main(connections)
