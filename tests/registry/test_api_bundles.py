"""The files of versions: sent, committed as one bundle, read back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import StatusCode
from roundhouse.registry.v1 import model_pb2, model_service_pb2

from tests.registry.test_api_models import JOB, MODEL, VERSION, download, get_version
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.registry_api import (
    BUNDLE,
    MANIFEST,
    SIGNATURE,
    RegistryCaller,
    digest_of,
    manifest_of,
    running_registry,
)

pb, service_pb = model_pb2, model_service_pb2


async def test_a_bundle_is_uploaded_committed_and_downloaded_bit_for_bit(
    caller: RegistryCaller,
) -> None:
    model = await caller.create_model()
    snapshot = await caller.sealed_snapshot()
    files = {**BUNDLE, "native/weights.data": bytes(range(256)) * 10_000}
    version = await caller.begin(
        model, training_job=JOB, snapshots=[snapshot], labels={"seed": "1"}
    )
    digest = await caller.upload_bundle(version, files)
    ready = await caller.commit(version, digest)
    assert (ready.name, ready.state, ready.digest) == (
        VERSION,
        pb.ModelVersion.STATE_READY,
        digest,
    )
    assert {file.path: file.digest for file in ready.files} == {
        path: digest_of(data) for path, data in files.items()
    }
    assert await get_version(caller, version) == ready
    for path, data in {**files, MANIFEST: manifest_of(files)}.items():
        assert await download(caller, version, path) == data
    weights = files["native/weights.data"]
    assert (
        await download(caller, version, "native/weights.data", 2**20 + 1) == (weights[2**20 + 1 :])
    )


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda files: files.pop("model.onnx"), {"model.onnx": "missing"}),
        (lambda files: files.update({"model.onnx": b"\x08\x0a"}), {"model.onnx": "truncated"}),
        (lambda files: files.update({"model.onnx": b"\x08\x09" * 1000}), {"model.onnx": "changed"}),
        (lambda files: files.update({"card.md": b"hi"}), {"card.md": "extra"}),
    ],
)
async def test_a_bundle_that_differs_from_its_manifest_stays_open_and_can_be_mended(
    caller: RegistryCaller,
    change: Callable[[dict[str, bytes]], object],
    faults: dict[str, str],
) -> None:
    version = await caller.begin(await caller.create_model())
    files = dict(BUNDLE)
    change(files)
    manifest = manifest_of(BUNDLE)
    for path, data in {**files, MANIFEST: manifest}.items():
        await caller.upload_artifact(version, path, data)
    with refused() as refusal:
        await caller.commit(version, digest_of(manifest))
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, "MANIFEST_MISMATCH")
    named = refusal.details["BadRequest"].field_violations
    assert {fault.field: fault.description.split(":")[0] for fault in named} == faults
    stored = await get_version(caller, version)
    assert (stored.state, stored.digest) == (pb.ModelVersion.STATE_UPLOADING, "")
    mended = {**BUNDLE, **files}
    assert (await caller.commit(version, await caller.upload_bundle(version, mended))).digest


async def test_a_commit_without_or_with_another_manifest_is_refused(
    caller: RegistryCaller,
) -> None:
    version = await caller.begin(await caller.create_model())
    with refused() as refusal:
        await caller.commit(version, digest_of(b"none"))
    assert (refusal.reason, refusal.fields()) == ("MANIFEST_MISMATCH", [MANIFEST])
    await caller.upload_bundle(version)
    with refused() as refusal:
        await caller.commit(version, digest_of(b"another"))
    assert (refusal.reason, refusal.fields()) == ("MANIFEST_MISMATCH", [MANIFEST])


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({**BUNDLE, "signature.json": b"{}"}, "signature.json"),
        ({**BUNDLE, "profile.json": b"{"}, "profile.json"),
        ({"model.onnx": b"x"}, MANIFEST),
        ({"signature.json": SIGNATURE}, MANIFEST),
    ],
)
async def test_a_bundle_with_malformed_or_missing_documents_is_refused(
    caller: RegistryCaller, files: dict[str, bytes], path: str
) -> None:
    version = await caller.begin(await caller.create_model())
    digest = await caller.upload_bundle(version, files)
    with refused() as refusal:
        await caller.commit(version, digest)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_MANIFEST")
    assert refusal.metadata["path"] == path
    assert (await get_version(caller, version)).state == pb.ModelVersion.STATE_UPLOADING


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.pkl", b"harmless"),
        ("model.onnx", pickle.dumps({"a": 1})),
        ("model.onnx", b"PK\x03\x04" + b"\0" * 100),
        ("run.sh", b"#!/bin/sh"),
    ],
)
async def test_formats_that_run_code_when_loaded_are_refused(
    caller: RegistryCaller, path: str, data: bytes
) -> None:
    version = await caller.begin(await caller.create_model())
    with refused() as refusal:
        await caller.upload_artifact(version, path, data)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "UNSAFE_FORMAT")


async def test_a_pickle_that_comes_in_one_byte_chunks_is_refused(caller: RegistryCaller) -> None:
    version = await caller.begin(await caller.create_model())
    data = pickle.dumps({"a": 1})
    part = service_pb.UploadArtifactRequest
    header = part.Header(
        version=version, path="model.onnx", digest=digest_of(data), request_id=request_id()
    )
    parts = [part(header=header), *(part(chunk=bytes([byte])) for byte in data)]
    with refused() as refusal:
        await caller.models.UploadArtifact(parts, timeout=TIMEOUT_S)
    assert refusal.reason == "UNSAFE_FORMAT"


@pytest.mark.parametrize(
    ("header", "code", "reason"),
    [
        ({"digest": digest_of(b"other")}, StatusCode.DATA_LOSS, "TRUNCATED_UPLOAD"),
        ({"digest": "md5:1"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"version": f"{MODEL}/versions/9"}, StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
        ({"request_id": "1"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_faulty_artifact_upload_is_refused(
    caller: RegistryCaller, header: dict[str, str], code: StatusCode, reason: str
) -> None:
    version = await caller.begin(await caller.create_model())
    with refused() as refusal:
        await caller.upload_artifact(version, "card.md", b"text", **header)
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_an_artifact_above_the_limit_is_refused(tmp_path: Path) -> None:
    async with running_registry(tmp_path, max_artifact_bytes=2**20) as caller:
        version = await caller.begin(await caller.create_model())
        with refused() as refusal:
            await caller.upload_artifact(version, "model.onnx", b"x" * (2**20 + 1))
    assert refusal.reason == "UPLOAD_TOO_LARGE"


def flip(folder: Path, digest: str) -> None:
    (blob,) = folder.rglob(digest.removeprefix("sha256:"))
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)


async def test_damaged_bytes_are_found_at_the_commit_and_on_download(
    caller: RegistryCaller, tmp_path: Path
) -> None:
    model = await caller.create_model()
    files = {**BUNDLE, "big.data": bytes(3 * 2**20)}
    ready = await caller.ready_version(model, files)
    flip(tmp_path, digest_of(files["big.data"]))
    with refused() as refusal:
        await download(caller, ready, "big.data")
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, "DIGEST_MISMATCH")
    version = await caller.begin(model)
    digest = await caller.upload_bundle(version, files)
    with refused() as refusal:
        await caller.commit(version, digest)
    assert (refusal.reason, refusal.fields()) == ("MANIFEST_MISMATCH", ["big.data"])


@pytest.mark.parametrize("protocol", [0, 1])
async def test_a_bundle_with_a_hidden_pickle_stays_open_and_the_file_is_named(
    caller: RegistryCaller, protocol: int
) -> None:
    version = await caller.begin(await caller.create_model())
    hidden = {**BUNDLE, "card.md": pickle.dumps({"a": 1}, protocol), "rows.csv": b"a\n1\n"}
    digest = await caller.upload_bundle(version, hidden)
    with refused() as refusal:
        await caller.commit(version, digest)
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "UNSAFE_BUNDLE")
    assert refusal.fields() == ["card.md"]
    assert (await get_version(caller, version)).state == pb.ModelVersion.STATE_UPLOADING
