"""Bundles, a data plane and a real Triton for the inference service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc.aio as aio_client
from tritonclient.grpc import service_pb2_grpc

from services.inference.core.ports import Bundle
from services.inference.core.routing import Variant
from services.inference.core.signature import parse_signature
from tests.support.bundles import TinyModel, tiny_files, write_bundle
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import registry_with_models, running_inference
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


@pytest.fixture
async def client(oip_address):
    connected = aio_client.InferenceServerClient(oip_address)
    yield connected
    await connected.close()


@pytest.fixture
async def stub(oip_address):
    async with grpc.aio.insecure_channel(oip_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
async def registry(tmp_path):
    async with registry_with_models(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def monitor():
    async with fake_monitor() as running:
        yield running


@pytest.fixture
async def inference(tmp_path, registry, monitor):
    async with running_inference(
        tmp_path / "inference", registry.address, monitor.address
    ) as caller:
        yield caller
