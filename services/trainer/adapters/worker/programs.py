"""Where a worker keeps the programs that it compiles networks into; gone with the worker."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def compiled_programs(worker: str) -> Iterator[None]:
    """In which networks are compiled, into a folder that nobody else can write.

    Args:
        worker: Its name, which nobody could know before.
    """
    folder = _folder_of(worker)
    folder.mkdir(mode=0o700)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        forget_programs(worker)


def forget_programs(worker: str) -> None:
    """Remove what a worker has left behind that was killed; nothing, if it has ended well."""
    shutil.rmtree(_folder_of(worker), ignore_errors=True)


def _folder_of(worker: str) -> Path:
    return Path(tempfile.gettempdir()) / f"roundhouse-compiled-{worker}"
