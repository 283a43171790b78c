"""The files of a model version: which are safe, and what the manifest promises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from services.common.errors import FieldViolation
from services.registry.core.canonical import canonical_json, digest_of_bytes, is_digest
from services.registry.core.errors import InvalidManifest, ManifestMismatch, UnsafeFormat

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
MODEL: Final = "model.onnx"
SIGNATURE_BUNDLE: Final = "model.sig"
"""What proves who committed the version, beside the manifest, which doesn't list it."""

SAFE_SUFFIXES: Final = frozenset(
    {".onnx", ".safetensors", ".json", ".md", ".txt", ".csv", ".parquet", ".data"}
)
"""Formats whose loaders only read: data, text, and graphs without code."""

_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}")
_CODE_MAGIC: Final = {
    b"\x80\x02": "it is a pickle",
    b"\x80\x03": "it is a pickle",
    b"\x80\x04": "it is a pickle",
    b"\x80\x05": "it is a pickle",
    b"PK\x03\x04": "it is a zip archive, as pickled torch models are",
    b"\x7fELF": "it is a program",
    b"#!": "it is a script",
    b"\x89HDF": "it is HDF5, in which Keras keeps code",
}
_DATATYPES: Final = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"}
    | {"FP16", "FP32", "FP64", "BYTES"}
)


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle; `digest` is also its address in the blob store."""

    path: str
    size_bytes: int
    digest: str


def check_path(path: str) -> None:
    """Pass only paths and formats that a bundle may hold.

    Raises:
        UnsafeFormat: The path leaves the bundle, or its format isn't known to
            be free of code.
    """
    if _PATH.fullmatch(path) is None or len(path) > 255:
        raise UnsafeFormat(path, "a path has up to 8 segments of A-Z a-z 0-9 . _ -")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in SAFE_SUFFIXES:
        raise UnsafeFormat(
            path, f"{suffix or 'no suffix'} is none of {', '.join(sorted(SAFE_SUFFIXES))}"
        )


def check_head(path: str, head: bytes) -> None:
    """Pass only content that doesn't begin as a format with code does.

    Args:
        path: For the error.
        head: The first 8 bytes or more, or the whole file if it is shorter.

    Raises:
        UnsafeFormat: It begins like a pickle, an archive or a program.
    """
    for magic, fault in _CODE_MAGIC.items():
        if head.startswith(magic):
            raise UnsafeFormat(path, fault)


def parse_manifest(version: str, content: bytes, expected_digest: str) -> tuple[BundleFile, ...]:
    """The files that a canonical manifest lists, sorted by path.

    Raises:
        ManifestMismatch: Its digest isn't `expected_digest`.
        InvalidManifest: It isn't a canonical manifest.
    """
    actual = digest_of_bytes(content)
    if actual != expected_digest:
        text = f"has digest {actual}; the commit names {expected_digest}"
        raise ManifestMismatch(version, [FieldViolation(MANIFEST, text)])
    try:
        files = tuple(
            BundleFile(_text(entry, "path"), _natural(entry, "size_bytes"), _text(entry, "sha256"))
            for entry in json.loads(content)["files"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidManifest(version, [FieldViolation(MANIFEST, f"malformed: {error}")]) from error
    faults = _manifest_faults(files, content)
    if faults:
        raise InvalidManifest(version, [FieldViolation(MANIFEST, fault) for fault in faults])
    return files


def manifest_of(files: Sequence[BundleFile]) -> bytes:
    """The canonical manifest of `files`; its digest is the version's."""
    return canonical_json(
        {
            "files": [
                {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.digest}
                for file in sorted(files, key=lambda file: file.path)
            ]
        }
    )


def _manifest_faults(files: tuple[BundleFile, ...], content: bytes) -> list[str]:
    paths = [file.path for file in files]
    faults = []
    if MANIFEST in paths:
        faults.append("it lists itself")
    if len(set(paths)) < len(paths):
        faults.append("it lists a path twice")
    faults.extend(
        f"{file.path} has no sha256 digest" for file in files if not is_digest(file.digest)
    )
    faults.extend(f"it lacks {path}" for path in (MODEL, SIGNATURE) if path not in paths)
    if not faults and manifest_of(files) != content:
        faults.append("it isn't canonical JSON sorted by path")
    return faults


def compare(version: str, listed: Sequence[BundleFile], uploaded: Mapping[str, BundleFile]) -> None:
    """Pass only when the uploaded files are exactly the listed ones.

    Raises:
        ManifestMismatch: One fault per file that is missing, truncated, changed or extra.
    """
    faults = []
    for file in listed:
        actual = uploaded.get(file.path)
        if actual is None:
            faults.append(FieldViolation(file.path, "missing: listed and not uploaded"))
        elif actual.size_bytes != file.size_bytes:
            text = f"{actual.size_bytes} bytes uploaded, {file.size_bytes} listed"
            kind = "truncated" if actual.size_bytes < file.size_bytes else "changed"
            faults.append(FieldViolation(file.path, f"{kind}: {text}"))
        elif actual.digest != file.digest:
            text = f"changed: {actual.digest} uploaded, {file.digest} listed"
            faults.append(FieldViolation(file.path, text))
    extra = uploaded.keys() - {file.path for file in listed} - {MANIFEST}
    faults.extend(FieldViolation(path, "extra: uploaded and not listed") for path in sorted(extra))
    if faults:
        raise ManifestMismatch(version, faults)


def check_signature(version: str, content: bytes) -> tuple[str, ...]:
    """The inputs' names, of a `signature.json` that a server can build tensors from.

    Raises:
        InvalidManifest: It isn't JSON, or not a signature.
    """
    try:
        document = json.loads(content)
        names = {
            side: _checked_tensors(side, [_tensor_name(entry) for entry in document[side]])
            for side in ("inputs", "outputs")
        }
    except (ValueError, KeyError, TypeError) as error:
        fault = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidManifest(version, [FieldViolation(SIGNATURE, fault)]) from error
    return names["inputs"]


def check_json(version: str, documents: Mapping[str, bytes]) -> None:
    """Pass only when each document of the bundle is JSON.

    Raises:
        InvalidManifest: One fault per document that isn't.
    """
    faults = []
    for path, content in documents.items():
        try:
            json.loads(content)
        except ValueError as error:
            faults.append(FieldViolation(path, f"isn't JSON: {error}"))
    if faults:
        raise InvalidManifest(version, faults)


def _checked_tensors(side: str, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise ValueError(f"{side} is empty")
    if len(set(names)) < len(names):
        raise ValueError(f"{side} names a tensor twice")
    return tuple(names)


def _tensor_name(entry: Any) -> str:
    name = _text(entry, "name")
    datatype = _text(entry, "datatype")
    if datatype not in _DATATYPES:
        raise ValueError(f"datatype {datatype!r} of {name!r} is none of the protocol's")
    shape = entry["shape"]
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise ValueError(f"shape of {name!r} isn't a list of sizes")
    return name


def _text(entry: Any, key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} isn't a text")
    return value


def _natural(entry: Any, key: str) -> int:
    value = entry[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} isn't a count")
    return value
