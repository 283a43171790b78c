"""The one GPU that a worker's processes may see; a lock of the kernel keeps it from all others.

A lock is gone with the last process that has it, however that ends. So nobody has to remember who
holds which GPU, a trainer that starts again least of all.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from services.trainer.adapters.worker.config import GpuPool

log = structlog.get_logger()

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
PATIENCE_S: Final = 5.0
"""For whoever is about to end; the trainer starts no more workers than there are GPUs."""

_LOOK_S: Final = 0.05


def hold_gpu(pool: GpuPool) -> None:
    """Take a free GPU of `pool` for this process and those that it starts, until they have ended.

    Before a learning library looks at the GPUs. If none becomes free this process sees none, and
    what is to be trained on one fails as `NotAccelerated`.
    """
    # Sums come out the same each time only with a workspace of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not pool.folder:
        return
    folder = Path(pool.folder)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + PATIENCE_S
    while (held := _first_free(folder, pool.ids)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    if held is None:
        log.warning("gpu.none_free", gpus=",".join(pool.ids))
    else:
        log.info("gpu.held", gpu=held)
    os.environ[VISIBLE] = held or ""


def _first_free(folder: Path, ids: Iterable[str]) -> str | None:
    """The GPU whose lock this process has got, for as long as it lives."""
    for each in ids:
        descriptor = os.open(folder / f"{each}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return each
    return None
