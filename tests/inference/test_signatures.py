"""Only what the trusted key signed is served, once a server is told to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.clock import utc_now
from services.common.errors import ServiceError
from services.common.rpc.client import connect
from services.common.rpc.pins import RegistryPins
from services.common.settings import InvalidSettings
from services.inference.adapters.bundles import BundleFolder
from services.inference.adapters.registry_client import RegistryClient
from services.inference.adapters.signatures import KeyVerifier
from services.inference.core.errors import (
    SignatureOfAnotherVersion,
    SignatureTampered,
    VersionUnsigned,
    WrongSigningKey,
)
from services.registry.adapters.signing import KeySigner
from tests.support.bundles import TinyModel, manifest_of, tiny_files, write_bundle
from tests.support.directory_source import DirectoryBundleSource
from tests.support.inference_api import running_inference
from tests.support.registry_api import running_registry
from tests.support.signing_keys import key_pair

MODEL = "projects/default/models/delays"
ONE, TWO = f"{MODEL}/versions/1", f"{MODEL}/versions/2"


class Signed:
    """A folder of two signed versions, and a server's cache of those it trusts."""

    def __init__(self, root: Path) -> None:
        private, public = key_pair(root)
        self.source = root / "source"
        self.digests = {}
        for version, bias in ((ONE, 0.0), (TWO, 1.0)):
            files = tiny_files(TinyModel(bias))
            self.digests[version] = write_bundle(self.source, version, files)
            self.sign(version, private, manifest_of(files))
        self.bundles = BundleFolder(
            root / "cache", DirectoryBundleSource(self.source), KeyVerifier(public)
        )

    def sign(self, version: str, key: Path, manifest: bytes) -> None:
        self.file(version).write_bytes(KeySigner(key).sign(version, manifest))

    def file(self, version: str) -> Path:
        return self.source / version / "model.sig"

    async def refusal(self, version: str) -> ServiceError:
        with pytest.raises(ServiceError) as refused:
            await self.bundles.fetch(version, self.digests[version])
        assert refused.value.metadata["version"] == version
        return refused.value


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


async def test_signed_versions_are_served_also_from_the_cache(signed: Signed) -> None:
    for version in (ONE, TWO):
        assert (await signed.bundles.fetch(version, signed.digests[version])).version == version
        signed.file(version).unlink()
        assert (await signed.bundles.fetch(version, signed.digests[version])).version == version


async def test_an_unsigned_version_is_refused(signed: Signed) -> None:
    signed.file(ONE).unlink()
    assert isinstance(await signed.refusal(ONE), VersionUnsigned)


async def test_another_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    other, _ = key_pair(tmp_path, "other")
    signed.sign(ONE, other, manifest_of(tiny_files()))
    assert isinstance(await signed.refusal(ONE), WrongSigningKey)


async def test_the_signature_of_another_version_is_refused(signed: Signed) -> None:
    signed.file(ONE).write_bytes(signed.file(TWO).read_bytes())
    assert isinstance(await signed.refusal(ONE), SignatureOfAnotherVersion)


async def test_the_signature_of_the_same_files_at_another_version_is_refused(
    signed: Signed, tmp_path: Path
) -> None:
    signed.sign(TWO, tmp_path / "key.pem", manifest_of(tiny_files()))
    signed.file(ONE).write_bytes(signed.file(TWO).read_bytes())
    refusal = await signed.refusal(ONE)
    assert isinstance(refusal, SignatureOfAnotherVersion)
    assert refusal.metadata["signed"] == TWO.replace("/", ".")


def spoiled(signature: bytes, how: str) -> bytes:
    document = json.loads(signature)
    envelope = document["dsseEnvelope"]
    if how == "payload":
        payload = base64.b64decode(envelope["payload"]).replace(b"versions.1", b"versions.2")
        envelope["payload"] = base64.b64encode(payload).decode()
    elif how == "signature":
        data = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
        data[-1] ^= 1
        envelope["signatures"][0]["sig"] = base64.b64encode(data).decode()
    elif how == "none":
        envelope["signatures"] = []
    else:
        return signature[: len(signature) // 2]
    return json.dumps(document).encode()


@pytest.mark.parametrize("how", ["payload", "signature", "none", "cut"])
async def test_a_tampered_signature_is_refused(signed: Signed, how: str) -> None:
    signed.file(ONE).write_bytes(spoiled(signed.file(ONE).read_bytes(), how))
    assert isinstance(await signed.refusal(ONE), SignatureTampered)


async def test_a_rotten_signature_in_the_cache_is_fetched_again(signed: Signed) -> None:
    bundle = await signed.bundles.fetch(ONE, signed.digests[ONE])
    (kept,) = (bundle.folder / ".signatures").iterdir()
    kept.write_bytes(b"rot")
    await signed.bundles.fetch(ONE, signed.digests[ONE])
    assert kept.read_bytes() == signed.file(ONE).read_bytes()


async def test_a_registry_with_a_key_signs_what_a_server_with_the_public_key_serves(
    tmp_path: Path,
) -> None:
    private, public = key_pair(tmp_path)
    async with running_registry(tmp_path / "registry", signing_key_file=private) as caller:
        version = await caller.ready_version(await caller.create_model(), tiny_files())
        async with connect(caller.address) as channel:
            client = RegistryClient(channel, RegistryPins(channel, "endpoints", utc_now))
            bundles = BundleFolder(tmp_path / "cache", client, KeyVerifier(public))
            bundle = await bundles.fetch(version, await client.digest_of(version))
            (tmp_path / "model.sig").write_bytes(await client.signature_of(version) or b"")
    # The command of model-signing itself agrees, about a folder called as the version is.
    folder = tmp_path / version.replace("/", ".")
    bundle.folder.rename(folder)
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "model_signing", "verify", "key", str(folder)),
            *("--signature", str(tmp_path / "model.sig"), "--public_key", str(public)),
            "--ignore_unsigned_files",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_a_registry_without_a_key_serves_no_server_that_wants_signatures(
    tmp_path: Path,
) -> None:
    _, public = key_pair(tmp_path)
    async with running_registry(tmp_path / "registry") as caller:
        version = await caller.ready_version(await caller.create_model(), tiny_files())
        async with connect(caller.address) as channel:
            client = RegistryClient(channel, RegistryPins(channel, "endpoints", utc_now))
            bundles = BundleFolder(tmp_path / "cache", client, KeyVerifier(public))
            with pytest.raises(VersionUnsigned):
                await bundles.fetch(version, await client.digest_of(version))


@pytest.mark.parametrize("content", [b"no key", None])
async def test_a_key_that_can_not_be_used_stops_the_start(
    tmp_path: Path, content: bytes | None
) -> None:
    key = tmp_path / "key.pem"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(InvalidSettings):
        async with running_registry(tmp_path / "registry", signing_key_file=key):
            raise AssertionError("it started")
    with pytest.raises(InvalidSettings):
        async with running_inference(
            tmp_path / "inference", "127.0.0.1:1", "127.0.0.1:1", signature_key_file=key
        ):
            raise AssertionError("it started")
