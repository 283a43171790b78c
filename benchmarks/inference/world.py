"""What is measured: the service as a process, with a real registry, in front of a real Triton."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa
from roundhouse.inference.v1 import endpoint_pb2
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

from benchmarks.inference import mlserver
from benchmarks.inference.models import BenchmarkModel
from benchmarks.servers import triton_server
from tests.support.fake_monitor import FakeMonitor, fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.processes import free_ports
from tests.support.triton import TritonServer

_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 60.0

DIRECT = "Triton called directly"
IN_PROCESS = "endpoint, ONNX Runtime in the process"
FRONT = "endpoint in front of Triton"
ECHO = "bare echo"
MLSERVER = "MLServer"

_RUNTIMES = {
    IN_PROCESS: endpoint_pb2.Endpoint.RUNTIME_ONNX_RUNTIME,
    FRONT: endpoint_pb2.Endpoint.RUNTIME_TRITON,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one kind of server answers for one model.

    Attributes:
        request: File with the serialized request.
        pid: The process whose CPU time counts; None where nothing is asked of it.
    """

    server: str
    address: str
    request: Path
    pid: int | None


class _Acknowledging(FakeMonitor):
    """Acknowledges observations and forgets them."""

    async def IngestObservations(self, request_iterator, _):
        async for request in request_iterator:
            rows = pa.ipc.open_stream(request.arrow_stream).read_all().num_rows
            yield ingest.IngestObservationsResponse(batch_id=request.batch_id, rows=rows)


@asynccontextmanager
async def targets(
    folder: Path, models: Sequence[BenchmarkModel], *, with_peer: bool
) -> AsyncIterator[dict[str, list[Target]]]:
    """By model, every server that answers for it; each has answered once.

    The service routes, logs every observation and traces one call in a hundred.

    Args:
        folder: For all that they keep.
        models: To serve.
        with_peer: Whether MLServer, which must be installed, is one of them.
    """
    async with AsyncExitStack() as stack:
        triton = stack.enter_context(triton_server(folder))
        registry = await stack.enter_async_context(registry_with_models(folder / "registry"))
        monitor = await stack.enter_async_context(fake_monitor(monitor=_Acknowledging()))
        address, pid = stack.enter_context(
            _inference(folder, registry.address, monitor.address, triton.address)
        )
        echo = stack.enter_context(_echo())
        peer = None
        if with_peer:
            peer = stack.enter_context(mlserver.mlserver(folder / "mlserver", models))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        async with asyncio.timeout(_READY_S):
            await channel.channel_ready()
        inference = InferenceCaller(channel)
        found: dict[str, list[Target]] = {}
        for model in models:
            approved = await registry.approved(files=dict(model.files))
            direct = set(_loaded(triton))
            for runtime in _RUNTIMES.values():
                name = _endpoint_id(model, runtime)
                await inference.create_endpoint(approved, name, runtime=runtime, alias="")
            (loaded,) = set(_loaded(triton)) - direct
            requests = {
                DIRECT: (triton.address, loaded, "1", None),
                IN_PROCESS: (address, _endpoint_id(model, _RUNTIMES[IN_PROCESS]), "", pid),
                FRONT: (address, _endpoint_id(model, _RUNTIMES[FRONT]), "", pid),
                ECHO: (echo[0], model.id, "", echo[1]),
            }
            if peer is not None:
                requests[MLSERVER] = (peer[0], model.id, "", peer[1])
            found[model.name] = [
                await _target(folder, model, server, *request)
                for server, request in requests.items()
            ]
        yield found


async def _target(
    folder: Path,
    model: BenchmarkModel,
    server: str,
    address: str,
    name: str,
    version: str,
    pid: int | None,
) -> Target:
    path = folder / f"{model.id}-{server}.request"
    path.write_bytes(model.request(name, version))
    if server != ECHO:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = oip_grpc.GRPCInferenceServiceStub(channel)
            request = oip.ModelInferRequest.FromString(path.read_bytes())
            answer = await stub.ModelInfer(request, timeout=_READY_S)
        if "probabilities" not in [output.name for output in answer.outputs]:
            raise RuntimeError(f"{server} answers without probabilities: {answer}")
    return Target(server, address, path, pid)


def _endpoint_id(model: BenchmarkModel, runtime: int) -> str:
    return f"{model.id}-{endpoint_pb2.Endpoint.Runtime.Name(runtime)[8:].lower().replace('_', '-')}"


def _loaded(triton: TritonServer) -> list[str]:
    """Names of the models that the service has loaded into Triton."""
    with InferenceServerClient(triton.address) as client:
        return [each.name for each in client.get_inference_statistics().model_stats]


@contextmanager
def _inference(folder: Path, registry: str, monitor: str, triton: str) -> Iterator[tuple[str, int]]:
    """The service's address and process."""
    port, metrics_port = free_ports(2)
    settings = {
        "listen": f"127.0.0.1:{port}",
        "metrics_listen": f"127.0.0.1:{metrics_port}",
        "data_dir": str(folder / "inference"),
        "registry_address": registry,
        "monitor_address": monitor,
        "triton_address": triton,
        "trace_file": str(folder / "inference.trace.jsonl"),
        "trace_sample_ratio": "0.01",
        "drain_timeout_s": "2",
    }
    variables = {f"ROUNDHOUSE_INFERENCE_{name.upper()}": value for name, value in settings.items()}
    with (
        (folder / "inference.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "services.inference"],
            cwd=_ROOT,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield settings["listen"], process.pid
        finally:
            process.terminate()


@contextmanager
def _echo() -> Iterator[tuple[str, int]]:
    """The echo's address and process."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.inference.echo"],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.kill()
