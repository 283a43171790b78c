"""Servers that are measured beside Roundhouse's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.triton import TritonServer


@contextmanager
def triton_server(folder: Path) -> Iterator[TritonServer]:
    """A Triton with an empty repository, stopped at the end of the block."""
    home = folder / "triton-server"
    home.mkdir()
    server = TritonServer(home)
    try:
        yield server
    finally:
        server.stop()
