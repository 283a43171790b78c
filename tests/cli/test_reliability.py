"""Whether probabilities keep their promise: measured, kept with the evaluation, and shown."""

from __future__ import annotations

import asyncio
import json
import uuid

import numpy as np
import pytest
from roundhouse.cli.app import run
from roundhouse.cli.commands.model_reliability import picture
from roundhouse.cli.failures import Exit
from roundhouse.registry.v1.evaluation_pb2 import Evaluation
from roundhouse.registry.v1.evaluation_service_pb2 import RecordEvaluationRequest

from services.common.rpc.client import connect
from services.trainer.adapters.evaluation_record import EvaluationRecord
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.purposes import Purpose
from services.trainer.core.scores import score
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.registry_api import digest_of, running_registry


async def test_what_the_trainer_measured_is_kept_and_shown(tmp_path, capsys):
    random = np.random.default_rng(7)
    probability = random.beta(2, 3, 2000)
    label = (random.random(2000) < probability**2).astype(np.int64)
    scores, before = score(label, probability), score(label, np.sqrt(probability))
    async with running_registry(tmp_path) as caller, connect(caller.address) as channel:
        record = EvaluationRecord(
            version=await caller.ready_version(await caller.create_model()),
            snapshot=await caller.sealed_snapshot(),
            split="test",
            split_digest=digest_of(b"rows"),
            scores=scores,
            slices=(),
            evaluator="projects/default/trainingJobs/first",
            purpose=Purpose.TEST,
            latency_ms={},
            uncalibrated=before,
        )
        await RegistryClient(channel, patience_s=5.0).record(record, uuid.uuid4())
        shown = ["--address", f"registry={caller.address}", "models", "reliability", "delays/1"]
        assert await asyncio.to_thread(run, [*shown, "--split", "validation"]) == Exit.FAILED
        capsys.readouterr()
        assert await asyncio.to_thread(run, [*shown, "--json"]) == Exit.OK
        printed = capsys.readouterr().out  # the registry logs to the same place
        assert await asyncio.to_thread(run, shown) == Exit.OK
        shown_both = capsys.readouterr().out
    found, _ = json.JSONDecoder().raw_decode(printed[printed.index("{\n") :])
    assert [each["frequency"] for each in found["reliability"]] == [
        each.frequency for each in scores.reliability
    ]
    assert sum(int(each["rows"]) for each in found["reliability"]) == 2000
    assert found["metrics"]["brier"] == scores.values["brier"]
    assert found["uncalibrated"]["metrics"] == before.values
    assert [each["mean_score"] for each in found["uncalibrated"]["reliability"]] == [
        each.mean_score for each in before.reliability
    ]
    assert f"before calibration: calibration error {before.values['calibration_error']:.4f}" in (
        " ".join(shown_both.split())
    )
    assert f"calibrated: calibration error {scores.values['calibration_error']:.4f}" in (
        " ".join(shown_both.split())
    )


@pytest.mark.parametrize(
    ("bins", "field"),
    [
        ([(0.0, 0.5, 99)], "evaluation.reliability"),
        ([(0.0, 0.5, 50), (0.4, 1.0, 50)], "evaluation.reliability[1]"),
        ([(0.5, 0.5, 100)], "evaluation.reliability[0]"),
    ],
    ids=["a row too few", "overlapping", "empty"],
)
@pytest.mark.parametrize("before", [False, True], ids=["calibrated", "before calibration"])
async def test_intervals_that_do_not_hold_each_row_once_are_refused(tmp_path, bins, field, before):
    async with running_registry(tmp_path) as caller:
        evaluation = Evaluation(
            snapshot=await caller.sealed_snapshot(),
            split="test",
            split_digest=digest_of(b"rows"),
            rows=100,
            metrics={"auc": 0.7},
        )
        evaluation.uncalibrated.metrics["auc"] = 0.7
        holder = evaluation.uncalibrated if before else evaluation
        for lower, upper, rows in bins:
            holder.reliability.add(lower=lower, upper=upper, rows=rows)
        request = RecordEvaluationRequest(
            parent=await caller.ready_version(await caller.create_model()),
            evaluation=evaluation,
            request_id=request_id(),
        )
        with refused() as refusal:
            await caller.evaluations.RecordEvaluation(request, timeout=TIMEOUT_S)
    part = "uncalibrated." if before else ""
    assert refusal.fields() == [field.replace("reliability", f"{part}reliability")]


@pytest.mark.parametrize(
    ("promised", "came_true", "drawn"),
    [
        (0.5, 0.5, "█" * 20 + "|" + "·" * 19),
        (1.0, 0.0, "·" * 39 + "|"),
        (0.0, 1.0, "|" + "█" * 39),
    ],
)
def test_the_picture_marks_the_promise_on_what_came_true(promised, came_true, drawn):
    assert picture(Evaluation.ReliabilityBin(mean_score=promised, frequency=came_true)) == drawn
