"""Versions that learn newer rows alone: real trainer, real registry, real workers."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from roundhouse.registry.v1 import model_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.adapters.learned_until import LEARNED_UNTIL
from services.trainer.core.parents import Mode
from services.trainer.core.spec import Candidate
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, csv_rows, state_name
from tests.support.trainer_values import arrow_rows

pytestmark = pytest.mark.real
NETWORK = (Candidate("mlp", {"hidden_units": 8, "epochs": 3, "batch_rows": 32}),)


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def training_of(caller: TrainerCaller, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await artifact(caller, version, "training.json"))
    return found


async def test_a_snapshot_that_has_grown_teaches_its_new_rows_alone(caller: TrainerCaller) -> None:
    everything = csv_rows().splitlines()
    first_half = await caller.registry.sealed_snapshot("half", b"\n".join(everything[:601]))
    parent = await caller.until_over(
        await caller.submit("network", candidates=NETWORK, snapshot=first_half)
    )
    until_us = (await training_of(caller, parent.model_version))[LEARNED_UNTIL]
    asked = {"mode": Mode.INCREMENTAL, "parent_version": parent.model_version}
    job = await caller.until_over(await caller.submit("more", candidates=NETWORK, **asked))
    assert state_name(job) == "SUCCEEDED", job.error
    rows = pq.read_table(
        pa.BufferReader(await artifact(caller, job.model_version, "split.parquet"))
    )["row"]
    times = arrow_rows()["event_time"].cast(pa.int64())
    assert pa.compute.min(times.take(rows)).as_py() > until_us
    assert len(rows) == pa.compute.sum(pa.compute.greater(times, until_us)).as_py() < 700
    training = await training_of(caller, job.model_version)
    assert training[LEARNED_UNTIL] > until_us
    card = (await artifact(caller, job.model_version, "card.md")).decode()
    assert "training it further on newer rows alone" in card
    # Scored again, the parent is asked about the very same rows.
    scored = await caller.jobs.EvaluateVersion(
        job_service_pb2.EvaluateVersionRequest(
            training_job=job.name,
            version=parent.model_version,
            split="validation",
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    written = json.loads(await artifact(caller, job.model_version, "evaluation.json"))
    assert scored.metrics["auc"] == pytest.approx(written["parent"]["validation"]["auc"])
    with refused() as refusal:
        await caller.submit("forest", "random_forest", **asked)
    assert refusal.fields() == ["training_job.spec.candidates[0].algorithm"]


async def test_a_snapshot_without_newer_rows_is_a_data_fault(caller: TrainerCaller) -> None:
    parent = await caller.until_over(await caller.submit("network", candidates=NETWORK))
    early = await caller.registry.sealed_snapshot(
        "early", b"\n".join(csv_rows(seed=1).splitlines()[:301])
    )
    job = await caller.until_over(
        await caller.submit(
            "more",
            candidates=NETWORK,
            snapshot=early,
            mode=Mode.INCREMENTAL,
            parent_version=parent.model_version,
        )
    )
    assert (state_name(job), job.error.error_class) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_DATA_FAULT,
    )
    assert "none of the 300 rows of the snapshot is later" in job.error.message
