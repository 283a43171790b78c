"""Bundles, a data plane and a real Triton for the inference service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.inference.core.ports import Bundle
from services.inference.core.routing import Variant
from services.inference.core.signature import parse_signature
from tests.support.bundles import TinyModel, tiny_files, write_bundle
from tests.support.serving import DataPlane, data_plane, oip_server, version_name


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    """A data plane that runs models in this process."""
    async with data_plane(tmp_path) as running:
        yield running


@pytest.fixture(params=["grpcio", "native"])
async def oip_address(plane: DataPlane, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """`host:port` of `plane`, behind each of the servers."""
    async with oip_server(plane, native=request.param == "native") as address:
        yield address


@pytest.fixture
def publish(tmp_path: Path):
    """Writes a version's bundle to the source and gives the variant that would serve it."""

    def write(number: int, bias: float = 0.0, weight_bp: int = 10_000, **signature) -> Variant:
        files = tiny_files(TinyModel(bias), **signature)
        digest = write_bundle(tmp_path / "source", version_name(number), files)
        return Variant(version_name(number), digest, weight_bp)

    return write


@pytest.fixture
def bundle(tmp_path: Path):
    """Makes a verified bundle of a tiny model, as the cache would give it."""

    def make(bias: float = 0.0, files: dict[str, bytes] | None = None) -> Bundle:
        files = files or tiny_files(TinyModel(bias))
        digest = write_bundle(tmp_path / "bundles", f"v{bias}", files)
        signature = parse_signature(files["signature.json"])
        return Bundle(version_name(1), digest, tmp_path / "bundles" / f"v{bias}", signature)

    return make
