"""Files read from the object store itself, past the registry, which then only says where."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from roundhouse.client.bundles import Download
from roundhouse.client.transfer import CHUNK_BYTES
from roundhouse.registry.v1.model_service_pb2 import CreateDownloadUrlsRequest

RANGE_BYTES: Final = 8 << 20
"""What one request asks for. A file that is shorter isn't worth asking where it is."""

_UNDER_WAY: Final = 4
"""Ranges of a file that are fetched at a time, each into a buffer of its own."""

_SILENCE_S: Final = 5.0


def is_worth_a_url(download: Download) -> bool:
    """Whether the rest is so much that its way round the registry costs more than the call."""
    return download.missing_bytes >= RANGE_BYTES


def url_request(version: str, download: Download) -> CreateDownloadUrlsRequest:
    """Asks where to read the file."""
    return CreateDownloadUrlsRequest(version=version, paths=[download.path])


def read_from(url: str, download: Download) -> None:
    """Append what the URL gives of the rest, as far as that goes. Blocks.

    A store that can't be reached from here, knows no ranges, or breaks off, leaves the rest to
    another way; the file's digest is checked either way.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return
    first = download.done_bytes
    with closing(_in_order(url, first, first + download.missing_bytes)) as pieces:
        for piece in pieces:
            download.write(piece)


def _in_order(url: str, first: int, end: int) -> Generator[memoryview]:
    """The bytes from `first` to `end`, or fewer; each piece is good until the next is asked for.

    The next ranges come while a piece is hashed and written, which leave Python's lock alone.
    """
    starts = range(first, end, RANGE_BYTES)
    free = [memoryview(bytearray(RANGE_BYTES)) for _ in starts[:_UNDER_WAY]]
    waiting = iter(starts)
    under_way: deque[tuple[memoryview, Future[int]]] = deque()
    over = threading.Event()
    with ThreadPoolExecutor(_UNDER_WAY) as pool:
        try:
            while True:
                while free and (start := next(waiting, end)) < end:
                    buffer = free.pop()
                    wanted = buffer[: end - start]
                    under_way.append((buffer, pool.submit(_fetch, url, start, wanted, over)))
                if not under_way:
                    return
                buffer, fetched = under_way.popleft()
                size = fetched.result()
                yield buffer[:size]
                if size < RANGE_BYTES:
                    return  # the last, or one that broke off
                free.append(buffer)
        finally:
            over.set()


def _fetch(url: str, start: int, buffer: memoryview, over: threading.Event) -> int:
    """Fill the buffer with the bytes from `start` on; gives how many came."""
    last = start + len(buffer) - 1
    request = Request(url, headers={"Range": f"bytes={start}-{last}"})  # noqa: S310 - http or https, see above
    received = 0
    # HTTP's own failures, and the network's: what came before is as good as any.
    with suppress(OSError, HTTPException), urlopen(request, timeout=_SILENCE_S) as answer:  # noqa: S310 - as above
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            while received < len(buffer) and not over.is_set():
                size = answer.readinto(buffer[received : received + CHUNK_BYTES])
                if not size:
                    break
                received += size
    return received
