"""Servers that are measured beside Roundhouse's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.triton import TritonServer

_ENVIRONMENTS: Final = Path(__file__).resolve().parents[1] / ".environments"


def commands_of(environment: str) -> Path:
    """The `bin` of an environment that `tools/isolated_env.py` made.

    Raises:
        RuntimeError: It is not there, or not whole.
    """
    folder = _ENVIRONMENTS / environment
    if not (folder / "installed.sha256").exists():
        raise RuntimeError(f"Not installed: run `python tools/isolated_env.py {environment}`.")
    return folder / "venv/bin"


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
