"""Files read from the object store itself, past the registry, which then only says where."""

from __future__ import annotations

from http.client import HTTPException
from typing import Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from roundhouse.client.bundles import Download
from roundhouse.client.transfer import CHUNK_BYTES
from roundhouse.registry.v1.model_service_pb2 import CreateDownloadUrlsRequest

WORTH_A_URL_BYTES: Final = 8 << 20
"""From this size on a file's second way round the registry costs more than asking for a URL."""

_SILENCE_S: Final = 5.0


def url_request(version: str, download: Download) -> CreateDownloadUrlsRequest | None:
    """Asks where to read the file; None where that isn't worth a call."""
    if download.missing_bytes < WORTH_A_URL_BYTES:
        return None
    return CreateDownloadUrlsRequest(version=version, paths=[download.path])


def read_from(url: str, download: Download) -> None:
    """Append what the URL gives of the rest, as far as that goes. Blocks.

    A store that can't be reached from here, or breaks off, leaves the rest to the registry;
    the file's digest is checked either way.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return
    first = download.done_bytes
    rest = Request(url, headers={"Range": f"bytes={first}-"})  # noqa: S310 - http or https, see above
    try:
        with urlopen(rest, timeout=_SILENCE_S) as answer:  # noqa: S310 - as above
            if answer.status != 206 and first:
                return
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while download.missing_bytes and (size := answer.readinto(buffer)):
                download.write(buffer[: min(size, download.missing_bytes)])
    except (URLError, OSError, HTTPException):
        return
