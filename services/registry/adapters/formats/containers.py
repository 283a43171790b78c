"""Archives, containers and programs, found by their content wherever they hide."""

from __future__ import annotations

import zipfile
import zlib
from typing import BinaryIO, Final

_MAGIC: Final = {
    b"\x80\x02": "it is a pickle",
    b"\x80\x03": "it is a pickle",
    b"\x80\x04": "it is a pickle",
    b"\x80\x05": "it is a pickle",
    b"PK\x03\x04": "it is a zip archive, as pickled torch models and .npz files are",
    b"\x1f\x8b\x08": "it is compressed, as joblib's pickles are",
    b"BZh": "it is compressed, as joblib's pickles are",
    b"\xfd7zXZ\x00": "it is compressed, as joblib's pickles are",
    b"\x04\x22\x4d\x18": "it is compressed, as joblib's pickles are",
    b"\x28\xb5\x2f\xfd": "it is compressed",
    b"\x5d\x00\x00": "it is compressed, as joblib's pickles are",
    b"\x93NUMPY": "it is a NumPy file, which may hold pickles",
    b"\x7fELF": "it is a program",
    b"\xcf\xfa\xed\xfe": "it is a program",
    b"\xca\xfe\xba\xbe": "it is a program",
    b"#!": "it is a script",
}
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES: Final = 4096
_PE_OFFSET: Final = slice(0x3C, 0x40)


def container_fault(file: BinaryIO, size_bytes: int) -> str | None:
    """What container or program the file is; None if it is none of those known.

    Args:
        file: Read at several places.
        size_bytes: Of the whole file.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    for magic, fault in _MAGIC.items():
        if head.startswith(magic):
            return fault
    if head[:2] == b"MZ" and _is_windows_program(file, head):
        return "it is a program"
    if _is_deflated(head):
        return "it is compressed, as joblib's pickles are"
    if _has_hdf5(file, size_bytes):
        return "it is HDF5, in which Keras keeps code"
    file.seek(0)
    # Archives are found from their end, so anything may stand before one.
    if zipfile.is_zipfile(file):
        return "it ends as a zip archive, as pickled torch models and .npz files do"
    return None


def _is_windows_program(file: BinaryIO, head: bytes) -> bool:
    file.seek(int.from_bytes(head[_PE_OFFSET], "little"))
    return file.read(4) == b"PE\0\0"


def _is_deflated(head: bytes) -> bool:
    if head[:1] != b"\x78":
        return False
    try:
        return bool(zlib.decompressobj().decompress(head, 64))
    except zlib.error:
        return False


def _has_hdf5(file: BinaryIO, size_bytes: int) -> bool:
    """Whether a superblock stands at 0, 512, 1024, 2048, … (HDF5 specification, II.A)."""
    place = 0
    while place < size_bytes:
        file.seek(place)
        if file.read(len(_HDF5)) == _HDF5:
            return True
        place = 2 * place or 512
    return False
