"""Versions that monitors can't judge, from their gate to an endpoint that observes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from roundhouse.trainer.v1 import job_pb2

from tests.support.calls import refused
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import InferenceCaller, Registered, running_inference
from tests.support.trainer_api import TrainerCaller


@asynccontextmanager
async def unobserved_endpoint(
    caller: TrainerCaller, job: job_pb2.TrainingJob, endpoint: str, folder: Path
) -> AsyncIterator[InferenceCaller]:
    """A service with an endpoint of the job's version, which is gated and approved first.

    An endpoint that would observe it is refused, by the field that says so.
    """
    gate = await caller.registry.gate(job.evaluation)
    assert gate.passed, gate.verdicts
    approval = await caller.registry.ask(job.model_version, gate.name)
    await caller.registry.decide(approval.name)
    version = Registered(job.model_version, approval.name)
    async with (
        fake_monitor() as monitor,
        running_inference(folder, caller.registry_address, monitor.address) as inference,
    ):
        with refused() as refusal:
            await inference.create_endpoint(version, endpoint)
        assert (refusal.code, refusal.fields()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            ["endpoint.log_observations"],
        )
        await inference.create_endpoint(version, endpoint, log_observations=False)
        yield inference
