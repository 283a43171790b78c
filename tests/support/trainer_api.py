"""A trainer on a real port beside a real registry, and short calls to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from roundhouse.trainer.v1 import (
    cost_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    queue_service_pb2_grpc,
    worker_service_pb2_grpc,
)

from services.registry.settings import RegistrySettings
from services.registry.wiring import registry
from services.trainer.core.jobs import RUN_SERIES
from services.trainer.core.spec import spec_to_json
from services.trainer.settings import TrainerSettings
from services.trainer.wiring import trainer
from tests.support.calls import PROJECT, TIMEOUT_S, request_id
from tests.support.registry_api import RegistryCaller
from tests.support.trainer_values import arrow_rows, spec

State = job_pb2.TrainingJob.State


def state_name(job: job_pb2.TrainingJob) -> str:
    """Such as `RUNNING`."""
    return State.Name(job.state).removeprefix("STATE_")


def csv_rows(rows: int = 1200, seed: int = 0) -> bytes:
    """`arrow_rows` as CSV."""
    table = arrow_rows(rows, seed)
    lines = [",".join(table.column_names)]
    for row in table.to_pylist():
        row["event_time"] = row["event_time"].isoformat()
        lines.append(",".join("" if value is None else str(value) for value in row.values()))
    return "\n".join(lines).encode()


class TrainerCaller:
    """Stubs of one trainer, and its longer conversations.

    Args:
        channel: To the trainer; the caller closes it.
        registry: That the trainer works with.
        registry_address: Where that is; may be empty.
        address: Where the trainer is; may be empty.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        registry: RegistryCaller,
        registry_address: str = "",
        address: str = "",
    ) -> None:
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.costs = cost_service_pb2_grpc.CostServiceStub(channel)
        self.queues = queue_service_pb2_grpc.QueueServiceStub(channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self.registry = registry
        self.registry_address = registry_address
        self.address = address

    async def prepare(self) -> None:
        """Make the snapshot and the model that `spec` names."""
        await self.registry.sealed_snapshot("january", csv_rows())
        await self.registry.create_model("delays")

    def request(
        self, job_id: str, *algorithms: str, **changes: Any
    ) -> job_service_pb2.CreateTrainingJobRequest:
        """A request for a job on that snapshot."""
        document = spec_to_json(spec(*algorithms, **changes))
        return job_service_pb2.CreateTrainingJobRequest(
            parent=PROJECT,
            training_job_id=job_id,
            training_job=job_pb2.TrainingJob(spec=ParseDict(document, job_pb2.JobSpec())),
            request_id=request_id(),
        )

    async def submit(self, job_id: str, *algorithms: str, **changes: Any) -> str:
        """The name of a new job."""
        request = self.request(job_id, *algorithms, **changes)
        creating = self.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S, wait_for_ready=True)
        return (await creating).name

    async def get(self, name: str) -> job_pb2.TrainingJob:
        """One job, also while the trainer is away for a moment."""
        return await self.jobs.GetTrainingJob(
            job_service_pb2.GetTrainingJobRequest(name=name),
            timeout=TIMEOUT_S,
            wait_for_ready=True,
        )

    async def until(
        self,
        name: str,
        holds: Callable[[job_pb2.TrainingJob], bool],
        within_s: float = 60.0,
        every_s: float = 0.02,
    ) -> job_pb2.TrainingJob:
        """The job, once `holds`; looked at so often."""
        deadline = time.monotonic() + within_s
        while True:
            job = await self.get(name)
            if holds(job):
                return job
            assert time.monotonic() < deadline, f"{state_name(job)}: {job.error} {job.attempts}"
            await asyncio.sleep(every_s)

    async def until_over(
        self, name: str, within_s: float = 90.0, every_s: float = 0.02
    ) -> job_pb2.TrainingJob:
        """The job, once it is over."""
        return await self.until(
            name,
            lambda job: state_name(job) in ("SUCCEEDED", "FAILED", "CANCELLED"),
            within_s,
            every_s,
        )

    async def points(self, name: str, series: str = "") -> list[tuple[str, str, int, float]]:
        """Every point of a job, or of one series: trial, series, step, value.

        Without `series`, of those that are the same in each run.
        """
        found: list[tuple[str, str, int, float]] = []
        token = ""
        while True:
            page = await self.jobs.ReadMetrics(
                job_service_pb2.ReadMetricsRequest(
                    parent=name, series=series, page_size=1000, page_token=token
                ),
                timeout=TIMEOUT_S,
                wait_for_ready=True,
            )
            found += [
                (each.trial, each.series, each.step, each.value)
                for each in page.points
                if series or each.series not in RUN_SERIES
            ]
            token = page.next_page_token
            if not token:
                return found

    async def until_points(
        self, name: str, count: int, series: str = "train_loss", *, within_s: float = 60.0
    ) -> None:
        """Wait for so many points of a series."""
        deadline = time.monotonic() + within_s
        while len(await self.points(name, series)) < count:
            assert time.monotonic() < deadline, "too few points"
            await asyncio.sleep(0.02)

    async def log(self, name: str) -> list[str]:
        """A job's log so far."""
        request = job_service_pb2.TailLogsRequest(name=name)
        return [line.text async for line in self.jobs.TailLogs(request, timeout=TIMEOUT_S)]

    async def versions(self) -> list[Any]:
        """Every version of the model."""
        from roundhouse.registry.v1 import model_service_pb2

        listed = await self.registry.models.ListVersions(
            model_service_pb2.ListVersionsRequest(
                parent=f"{PROJECT}/models/delays", page_size=1000
            ),
            timeout=TIMEOUT_S,
        )
        assert not listed.next_page_token
        return list(listed.versions)


@asynccontextmanager
async def running_trainer(folder: Path, **settings: Any) -> AsyncIterator[TrainerCaller]:
    """A registry with a snapshot, and a trainer, both in this process on free ports."""
    async with serving_registry(folder) as (registry_address, registry_caller):
        chosen = TrainerSettings(
            listen="127.0.0.1:0",
            metrics_listen="127.0.0.1:0",
            data_dir=folder / "trainer",
            registry_address=registry_address,
            drain_timeout_s=1.0,
            **{"lease_ttl_s": 3.0, "checkpoint_interval_s": 0.0, **settings},
        )
        async with trainer(chosen) as server:
            server.set_serving()
            address = f"127.0.0.1:{server.port}"
            async with grpc.aio.insecure_channel(address) as channel:
                caller = TrainerCaller(channel, registry_caller, registry_address, address)
                await caller.prepare()
                yield caller


@asynccontextmanager
async def serving_registry(folder: Path) -> AsyncIterator[tuple[str, RegistryCaller]]:
    """The address of a registry in this process, and a caller of it."""
    settings = RegistrySettings(
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        data_dir=folder / "registry",
        drain_timeout_s=1.0,
    )
    async with registry(settings) as server:
        server.set_serving()
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield address, RegistryCaller(channel)
