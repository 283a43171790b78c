"""Which installed package an algorithm comes from."""

from __future__ import annotations

from importlib.metadata import version

from services.trainer.adapters.pruners import PRUNERS
from services.trainer.adapters.quantizers import QUANTIZERS
from services.trainer.adapters.recipes import package_of


def package_behind(algorithm: str) -> str:
    """The package, and its version, that does the work of an algorithm that jobs can name."""
    if algorithm in QUANTIZERS:
        return f"onnxruntime {version('onnxruntime')}"
    if algorithm in PRUNERS:
        return f"roundhouse {version('roundhouse')}"
    return package_of(algorithm)
