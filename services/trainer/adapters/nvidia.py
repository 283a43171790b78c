"""The GPUs of this machine, as NVIDIA's driver knows them."""

from __future__ import annotations

import pynvml  # type: ignore[import-untyped]  # ships no types


def installed_gpus() -> tuple[str, ...]:
    """Numbers of all, as `CUDA_VISIBLE_DEVICES` takes them; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return ()
    try:
        return tuple(str(number) for number in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()
