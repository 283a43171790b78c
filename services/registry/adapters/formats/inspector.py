"""Examines each file of a bundle as what its suffix says it is."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from safetensors import SafetensorError, safe_open

from services.registry.adapters.formats.containers import container_fault
from services.registry.adapters.formats.onnx_graph import onnx_fault
from services.registry.adapters.formats.pickles import is_pickle

_TEXT: Final = frozenset({".md", ".txt", ".csv"})
_PARQUET: Final = b"PAR1"
_CHUNK_BYTES: Final = 1 << 20


class ContentInspector:
    """Implements `FormatInspector`."""

    def fault(self, path: str, local: Path, sizes: Mapping[str, int]) -> str | None:
        """See `FormatInspector`."""
        with local.open("rb") as file:
            fault = container_fault(file, local.stat().st_size)
            if fault is not None:
                return fault
            if is_pickle(file):
                return "it is a pickle"
            file.seek(0)
            match PurePosixPath(path).suffix.lower():
                case ".onnx":
                    return onnx_fault(path, file.read(), sizes)
                case ".safetensors":
                    return _safetensors_fault(local)
                case ".parquet":
                    return _parquet_fault(file)
                case suffix if suffix in _TEXT:
                    return _text_fault(file)
        return None


def _safetensors_fault(local: Path) -> str | None:
    """The library checks the header: its size, its JSON, and that the tensors tile the file."""
    try:
        with safe_open(local, framework="numpy"):
            return None
    except SafetensorError as error:
        return f"its safetensors header is malformed: {error}"


def _parquet_fault(file: BinaryIO) -> str | None:
    head = file.read(len(_PARQUET))
    file.seek(-min(len(_PARQUET), file.seek(0, 2)), 2)
    if head == _PARQUET and file.read() == _PARQUET:
        return None
    return "it is no Parquet file"


def _text_fault(file: BinaryIO) -> str | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(_CHUNK_BYTES):
            if b"\0" in chunk:
                return "it is no text: it has a zero byte"
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return f"it is no UTF-8 text: {error.reason} at byte {error.start}"
    return None
