"""One suite of four processes and one Triton; everything is measured on them in one run."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from roundhouse.inference.v1 import endpoint_pb2
from tritonclient.grpc import InferenceServerClient

from benchmarks.harness import Bar, Report, Row
from benchmarks.loop import ingestion, serving
from benchmarks.servers import triton_server
from tests.support.triton import TritonServer
from tests.system.clients import Clients, clients_of
from tests.system.loop import LoopResult, run_loop
from tests.system.scenario import create_endpoint
from tests.system.suite import Suite, running_suite
from tests.system.world import World, shrunken_world

_RECOVERY_GOAL_S = 20.0

_LIMITS = (
    "Callers, services and Triton share the machine's cores over loopback, so only ratios within "
    "one run mean anything. Triton runs the model in its python backend, the only one in the wheel "
    "that the tests use: a full image with the onnxruntime backend is faster. Both endpoints log "
    "no observations and record no spans; the loop's own endpoint logs. The time to a new version "
    "serving is bounded below by the rows that two drifted windows and three phases need, and by "
    "training."
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    serving_rounds: int
    serving_s: float
    ingest_rounds: int
    ingest_batches: int


_FULL = Effort(serving_rounds=5, serving_s=3.0, ingest_rounds=5, ingest_batches=50)
_QUICK = Effort(serving_rounds=2, serving_s=0.5, ingest_rounds=2, ingest_batches=20)


def measure(*, quick: bool) -> Report:
    """See the folder's README."""
    with (
        tempfile.TemporaryDirectory(prefix="roundhouse-benchmark-") as name,
        triton_server(Path(name)) as triton,
    ):
        return asyncio.run(_measure(Path(name), triton, _QUICK if quick else _FULL))


async def _measure(folder: Path, triton: TritonServer, effort: Effort) -> Report:
    world = shrunken_world()
    settings = {"inference": {"triton_address": triton.address, "trace_sample_ratio": "0"}}
    async with running_suite(folder, settings=settings) as suite, clients_of(suite) as clients:
        result = await run_loop(suite, clients, world)
        targets = await _targets(suite, clients, triton, world, result)
        served = await asyncio.to_thread(
            serving.calls_per_second,
            targets,
            rounds=effort.serving_rounds,
            seconds=effort.serving_s,
        )
        ingested = await asyncio.to_thread(
            ingestion.rows_per_second,
            suite.address("monitor"),
            result.episode.candidate,
            folder,
            batches=effort.ingest_batches,
            rounds=effort.ingest_rounds,
        )
    recovered = _recovery(result)
    return Report(
        rows=[*served, *ingested, *recovered],
        bars=[
            *serving.bars(served),
            *ingestion.bars(ingested),
            Bar.at_most(recovered[-1].name, recovered[-1].value, _RECOVERY_GOAL_S, "s"),
        ],
        limits=_LIMITS,
    )


async def _targets(
    suite: Suite, clients: Clients, triton: TritonServer, world: World, result: LoopResult
) -> list[tuple[str, str, Path]]:
    """The same version behind two endpoints and in Triton itself."""
    runtimes = {
        "in-process": endpoint_pb2.Endpoint.RUNTIME_ONNX_RUNTIME,
        "in-triton": endpoint_pb2.Endpoint.RUNTIME_TRITON,
    }
    for endpoint_id, runtime in runtimes.items():
        await create_endpoint(
            clients,
            endpoint_id,
            endpoint_pb2.Endpoint(
                initial_version=result.episode.candidate,
                initial_approval=result.episode.approval,
                runtime=runtime,
            ),
        )
    model, version = _only_model(triton)
    requests = {
        serving.DIRECT: (triton.address, model, version),
        serving.IN_PROCESS: (suite.address("inference"), "in-process", ""),
        serving.FRONT: (suite.address("inference"), "in-triton", ""),
    }
    targets = []
    for number, (name, (address, model_name, model_version)) in enumerate(requests.items()):
        path = suite.folder / f"request-{number}.bin"
        path.write_bytes(serving.infer_request(model_name, model_version, world.flights[0]))
        targets.append((name, address, path))
    return targets


def _only_model(triton: TritonServer) -> tuple[str, str]:
    """Name and version of the model that the inference service has loaded into Triton."""
    with InferenceServerClient(triton.address) as client:
        (statistics,) = client.get_inference_statistics().model_stats
    return statistics.name, statistics.version


def _recovery(result: LoopResult) -> list[Row]:
    return [
        Row(
            "first drifted row to first answer of the new version",
            "s",
            result.seconds_to_first_answer,
        ),
        Row(
            "first drifted row to the new version having all the traffic",
            "s",
            result.seconds_to_promotion,
            facts={"predictions": len(result.log.predictions)},
        ),
    ]
