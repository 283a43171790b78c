"""Evaluations recorded in a real registry: once, whatever dies in between."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.rpc.client import connect
from services.trainer.adapters.evaluation_record import EvaluationRecord
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.failures import DataFault
from services.trainer.core.purposes import Purpose
from services.trainer.core.scores import Scores
from tests.support.registry_api import digest_of, running_registry


async def test_scores_recorded_again_with_another_latency_are_the_first_ones(
    tmp_path: Path,
) -> None:
    async with (
        running_registry(tmp_path) as caller,
        connect(caller.address) as channel,
    ):
        record = EvaluationRecord(
            version=await caller.ready_version(await caller.create_model()),
            snapshot=await caller.sealed_snapshot(),
            split="test",
            split_digest=digest_of(b"rows"),
            scores=Scores(100, 0.5, {"auc": 0.7}, {"auc": 0.01}),
            slices=(),
            evaluator="projects/default/trainingJobs/first",
            purpose=Purpose.TEST,
            latency_ms={"latency.p99_ms": 1.0},
        )
        registry, key = RegistryClient(channel, patience_s=5.0), uuid.uuid4()
        first = await registry.record(record, key)
        slower = replace(record, latency_ms={"latency.p99_ms": 9.0})
        assert await registry.record(slower, key) == first
        with pytest.raises(DataFault, match=first):
            await registry.record(record, uuid.uuid4())
