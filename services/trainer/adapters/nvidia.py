"""The GPUs of this machine, as NVIDIA's driver knows them."""

from __future__ import annotations

import os

import pynvml  # type: ignore[import-untyped]  # ships no types


def visible_gpus() -> tuple[str, ...]:
    """Those that this process may use, as `CUDA_VISIBLE_DEVICES` takes them.

    That variable decides where it is set; else all that the driver knows, none without a driver.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(each.strip() for each in chosen.split(",") if each.strip())
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return ()
    try:
        return tuple(str(number) for number in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()
