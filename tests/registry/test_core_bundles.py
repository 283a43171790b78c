from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.core.bundles import (
    BundleFile,
    check_head,
    check_json,
    check_path,
    check_signature,
    compare,
    manifest_of,
    parse_manifest,
)
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.errors import InvalidManifest, ManifestMismatch, UnsafeFormat

NAMES = st.from_regex(r"[a-z]{1,8}\.(json|md|txt)", fullmatch=True)
REQUIRED = (
    BundleFile("model.onnx", 3, digest_of_bytes(b"abc")),
    BundleFile("signature.json", 2, digest_of_bytes(b"{}")),
)
EXTRA_FILES = st.lists(
    st.builds(
        BundleFile,
        NAMES.filter(lambda path: path not in ("manifest.json", "signature.json")),
        st.integers(0, 10**12),
        st.binary(max_size=4).map(digest_of_bytes),
    ),
    max_size=6,
    unique_by=lambda file: file.path,
)


@given(EXTRA_FILES)
def test_a_canonical_manifest_is_parsed_to_the_files_it_was_made_of(
    extra: list[BundleFile],
) -> None:
    files = sorted((*REQUIRED, *extra), key=lambda file: file.path)
    manifest = manifest_of(extra + list(REQUIRED))
    assert list(parse_manifest("v", manifest, digest_of_bytes(manifest))) == files


@given(EXTRA_FILES, st.data())
def test_every_file_that_differs_from_the_manifest_is_named(
    extra: list[BundleFile], data: st.DataObject
) -> None:
    listed = [*REQUIRED, *extra]
    uploaded = {file.path: file for file in listed}
    fates = {}
    for file in listed:
        fate = data.draw(st.sampled_from(["kept", "missing", "changed", "truncated"]))
        if fate == "truncated" and file.size_bytes == 0:
            fate = "kept"
        fates[file.path] = fate
        if fate == "missing":
            del uploaded[file.path]
        elif fate == "changed":
            uploaded[file.path] = BundleFile(
                file.path, file.size_bytes, digest_of_bytes(b"other bytes")
            )
        elif fate == "truncated":
            uploaded[file.path] = BundleFile(file.path, file.size_bytes - 1, file.digest)
    wrong = {path: fate for path, fate in fates.items() if fate != "kept"}
    if data.draw(st.booleans()):
        uploaded["unlisted.md"] = BundleFile("unlisted.md", 1, digest_of_bytes(b"!"))
        wrong["unlisted.md"] = "extra"
    if not wrong:
        compare("v", listed, uploaded)
        return
    with pytest.raises(ManifestMismatch) as refused:
        compare("v", listed, uploaded)
    found = {fault.field: fault.description.split(":")[0] for fault in refused.value.violations}
    assert found == wrong


@pytest.mark.parametrize(
    "path",
    [
        *("model.pkl", "model.joblib", "weights.pt", "model.h5", "setup.py", "lib.so", "model"),
        *("../model.onnx", "/model.onnx", "a//model.onnx", "a/./model.onnx", ".hidden.json"),
    ],
)
def test_paths_outside_the_bundle_and_formats_with_code_are_refused(path: str) -> None:
    with pytest.raises(UnsafeFormat):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["model.onnx", "native/model.safetensors", "card.md", "profile.json", "a/b-1/c_2.txt"]
)
def test_data_text_and_graphs_are_taken(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize("head", [b"\x80\x04\x95", b"PK\x03\x04..", b"\x7fELF", b"#!/bin/sh"])
def test_a_renamed_pickle_archive_or_program_is_refused(head: bytes) -> None:
    with pytest.raises(UnsafeFormat):
        check_head("model.onnx", head)


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b"{}",
        b'{"files":[{"path":"model.onnx"}]}',
        manifest_of(REQUIRED[:1]),
        manifest_of((*REQUIRED, BundleFile("manifest.json", 1, digest_of_bytes(b"")))),
        manifest_of((*REQUIRED, REQUIRED[0])),
        manifest_of((*REQUIRED, BundleFile("a.md", 1, "sha256:abc"))),
        manifest_of(REQUIRED) + b"\n",
        json.dumps(json.loads(manifest_of(REQUIRED)), indent=1).encode(),
    ],
)
def test_a_manifest_that_is_malformed_incomplete_or_not_canonical_is_refused(
    manifest: bytes,
) -> None:
    with pytest.raises(InvalidManifest) as refused:
        parse_manifest("v", manifest, digest_of_bytes(manifest))
    assert {fault.field for fault in refused.value.violations} == {"manifest.json"}


def test_a_manifest_of_another_digest_is_a_loss_of_data() -> None:
    with pytest.raises(ManifestMismatch):
        parse_manifest("v", manifest_of(REQUIRED), digest_of_bytes(b"another"))


def tensor(name: str = "x", datatype: str = "FP32", shape: object = (-1, 1)) -> dict[str, object]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(shape) if isinstance(shape, tuple) else shape,
    }


@pytest.mark.parametrize(
    "signature",
    [
        {"inputs": [tensor()]},
        {"inputs": [], "outputs": [tensor()]},
        {"inputs": [tensor(datatype="FLOAT")], "outputs": [tensor()]},
        {"inputs": [tensor(shape="[-1,1]")], "outputs": [tensor()]},
        {"inputs": [tensor(), tensor()], "outputs": [tensor()]},
        [],
    ],
)
def test_a_signature_that_no_server_could_build_is_refused(signature: object) -> None:
    with pytest.raises(InvalidManifest) as refused:
        check_signature("v", json.dumps(signature).encode())
    assert refused.value.metadata["path"] == "signature.json"


def test_a_signature_with_inputs_and_outputs_passes() -> None:
    document = {"inputs": [tensor(), tensor("carrier", "BYTES")], "outputs": [tensor()]}
    check_signature("v", json.dumps(document).encode())


def test_every_document_that_is_no_json_is_named() -> None:
    with pytest.raises(InvalidManifest) as refused:
        check_json("v", {"a.json": b"{}", "b.json": b"{", "c.json": b""})
    assert [fault.field for fault in refused.value.violations] == ["b.json", "c.json"]
