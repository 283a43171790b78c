"""What is measured: the service as a process, with a real registry, in front of a real Triton."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import grpc
import pyarrow as pa
from roundhouse.inference.v1 import endpoint_pb2
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest
from tritonclient.grpc import InferenceServerClient

from benchmarks.inference.models import BenchmarkModel
from benchmarks.inference.targets import Target, grpc_answers
from benchmarks.servers import triton_server
from tests.support.fake_monitor import FakeMonitor, fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.processes import free_ports, wait_until
from tests.support.triton import TritonServer

_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 60.0

DIRECT = "Triton called directly"
IN_PROCESS = "endpoint, ONNX Runtime in the process"
FRONT = "endpoint in front of Triton"
ECHO = "bare echo"

_RUNTIMES = {
    IN_PROCESS: endpoint_pb2.Endpoint.RUNTIME_ONNX_RUNTIME,
    FRONT: endpoint_pb2.Endpoint.RUNTIME_TRITON,
}


@dataclass(frozen=True, slots=True)
class World:
    """What runs for the whole benchmark.

    Attributes:
        targets: By model, every server that answers for it.
    """

    targets: Mapping[str, Sequence[Target]]
    triton: TritonServer

    def revive(self, target: Target) -> None:
        """Return once `target` answers; a Triton that has died is started anew.

        The service loads its models into it again by itself.

        Raises:
            TimeoutError: It does not answer.
        """
        if not self.triton.is_running:
            self.triton.restart()
        if target.server != ECHO:
            wait_until(lambda: grpc_answers(target), what="answer", timeout_s=_READY_S, poll_s=0.2)


class _Acknowledging(FakeMonitor):
    """Acknowledges observations and forgets them."""

    async def IngestObservations(
        self, request_iterator: AsyncIterator[ingest.IngestObservationsRequest], _: object
    ) -> AsyncIterator[ingest.IngestObservationsResponse]:
        async for request in request_iterator:
            rows = pa.ipc.open_stream(request.arrow_stream).read_all().num_rows
            yield ingest.IngestObservationsResponse(batch_id=request.batch_id, rows=rows)


@asynccontextmanager
async def world(folder: Path, models: Sequence[BenchmarkModel]) -> AsyncIterator[World]:
    """The service, a Triton and an echo, each of which has answered once for each model.

    The service routes, logs every observation and traces one call in a hundred.

    Args:
        folder: For all that they keep.
        models: To serve.
    """
    async with AsyncExitStack() as stack:
        triton = stack.enter_context(triton_server(folder))
        registry = await stack.enter_async_context(registry_with_models(folder / "registry"))
        acknowledging = _Acknowledging()  # type: ignore[abstract]  # a part of a server is enough
        monitor = await stack.enter_async_context(fake_monitor(monitor=acknowledging))
        address, pid = stack.enter_context(
            _inference(folder, registry.address, monitor.address, triton.address)
        )
        echo = stack.enter_context(_echo())
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        async with asyncio.timeout(_READY_S):
            await channel.channel_ready()
        inference = InferenceCaller(channel, address)
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
            found[model.name] = [
                _target(folder, model, server, *request) for server, request in requests.items()
            ]
        serving = World(found, triton)
        for target in chain.from_iterable(found.values()):
            await asyncio.to_thread(serving.revive, target)
        yield serving


def _target(
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
    return Target(server, address, path, pid)


def _endpoint_id(model: BenchmarkModel, runtime: endpoint_pb2.Endpoint.Runtime.ValueType) -> str:
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
