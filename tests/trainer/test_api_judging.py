"""What a version is looked at for beside its scores: real trainer, real registry, real gate."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.registry.v1 import evaluation_pb2, evaluation_service_pb2, model_service_pb2
from roundhouse.trainer.v1 import job_pb2

from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.fairness import DISPARITIES, Fairness
from services.trainer.core.parents import Mode
from services.trainer.core.robustness import Robustness
from services.trainer.core.row_changes import Check
from services.trainer.core.spec import Candidate
from tests.support.calls import TIMEOUT_S, refused
from tests.support.trainer_api import TrainerCaller, csv_rows, state_name

pytestmark = pytest.mark.real


async def json_artifact(caller: TrainerCaller, version: str, path: str) -> dict[str, Any]:
    """A JSON file of a version."""
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    content: dict[str, Any] = json.loads(b"".join([part.chunk async for part in parts]))
    return content


async def evaluation_called(caller: TrainerCaller, name: str) -> evaluation_pb2.Evaluation:
    request = evaluation_service_pb2.GetEvaluationRequest(name=name)
    return await caller.registry.evaluations.GetEvaluation(request, timeout=TIMEOUT_S)


async def shown(caller: TrainerCaller, *words: str) -> int:
    """The exit code of a command that asks the registry alone."""
    address = ["--address", f"registry={caller.registry_address}"]
    return await asyncio.to_thread(run, [*address, *words])


async def test_groups_are_compared_in_the_bundle_the_registry_and_the_command_line(
    caller: TrainerCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    job = await caller.until_over(
        await caller.submit(
            "first",
            "logistic_regression",
            slices=("origin", "carrier"),
            fairness=Fairness(("origin",), 20),
            decision_threshold=0.4,
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    evaluation = await evaluation_called(caller, job.evaluation)
    names = {f"fairness.{name}.origin" for name in DISPARITIES}
    assert names <= set(evaluation.metrics)
    assert names <= set(evaluation.standard_errors)
    written = await json_artifact(caller, job.model_version, "evaluation.json")
    assert written["fairness"]["threshold"] == 0.4
    (column,) = written["fairness"]["columns"]
    odds = "equalized_odds_difference"
    assert column["disparities"][odds]["value"] == evaluation.metrics[f"fairness.{odds}.origin"]
    assert {group["value"] for group in column["groups"]} == {"EWR", "JFK", "LGA"}
    by_slice = {(part.column, part.value): part.metrics for part in evaluation.slices}
    ewr = next(group for group in column["groups"] if group["value"] == "EWR")
    told = by_slice["origin", "EWR"]["true_positive_rate"]
    assert told == ewr["estimates"]["true_positive_rate"]["value"]
    assert all(
        "true_positive_rate" not in metrics
        for (name, _), metrics in by_slice.items()
        if name == "carrier"
    )
    version = job.model_version.split("/models/")[1].replace("/versions/", "/")
    capsys.readouterr()
    assert await shown(caller, "models", "fairness", version) == Exit.OK
    printed = " ".join(capsys.readouterr().out.split())
    assert "decided 1 from a probability of 0.4 on" in printed
    assert "equal opportunity difference" in printed


async def test_a_version_that_was_not_compared_says_so(caller: TrainerCaller) -> None:
    await caller.until_over(await caller.submit("first"))
    assert await shown(caller, "models", "fairness", "delays/1") == Exit.FAILED


async def test_a_group_column_that_slices_nothing_is_refused_by_its_field(
    caller: TrainerCaller,
) -> None:
    with refused() as refusal:
        await caller.submit("first", fairness=Fairness(("carrier",)))
    assert refusal.fields() == ["training_job.spec.fairness.columns[0]"]


async def test_a_winner_is_tried_with_changed_rows_before_the_test(
    caller: TrainerCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"robustness": Robustness(maximum_flipped={"order": 0.0})}
    with refused() as refusal:
        await caller.submit("first", **asked)
    assert refusal.fields() == ["training_job.spec.robustness.maximum_flipped"]
    job = await caller.until_over(
        await caller.submit(
            "first",
            "logistic_regression",
            robustness=Robustness(maximum_fall={"noise": 0.2}),
            calibration=CalibrationMethod.SIGMOID,
            decision_threshold=0.4,
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    metrics = (await evaluation_called(caller, job.evaluation)).metrics
    of_text = {Check.TYPOS, Check.DROPPED_WORDS}
    assert {f"robustness.{check}.flipped" for check in set(Check) - of_text} <= set(metrics)
    assert metrics["robustness.missing.fall"] > metrics["robustness.noise.fall"]
    written = (await json_artifact(caller, job.model_version, "evaluation.json"))["robustness"]
    assert (written["rows"], written["metric"], written["noise"]) == (180, "auc", 0.1)
    assert written["checks"]["missing"]["worst"][0]["feature"] == "distance"
    assert written["checks"]["units"]["fall"] == metrics["robustness.units.fall"]
    assert any("worst on 180 rows: noise of" in line for line in await caller.log(job.name))
    capsys.readouterr()
    assert await shown(caller, "models", "robustness", "delays/1") == Exit.OK
    assert "180 rows of the validation part" in " ".join(capsys.readouterr().out.split())


async def test_a_winner_that_loses_too_much_is_not_registered(caller: TrainerCaller) -> None:
    bar = Robustness(maximum_fall={"missing": 0.001})
    job = await caller.until_over(await caller.submit("first", robustness=bar))
    assert (state_name(job), job.error.error_class, len(job.attempts)) == (
        "FAILED",
        job_pb2.JobError.ERROR_CLASS_NOT_ROBUST,
        1,
    )
    assert "missing of " in job.error.message
    assert await caller.versions() == []


async def test_a_quantised_network_is_tried_as_it_is_served(caller: TrainerCaller) -> None:
    network = (Candidate("mlp", {"hidden_units": 32, "epochs": 2}),)
    parent = await caller.until_over(await caller.submit("network", candidates=network))
    february = await caller.registry.sealed_snapshot("february", csv_rows(seed=1))
    job = await caller.until_over(
        await caller.submit(
            "small",
            "int8_dynamic",
            mode=Mode.QUANTIZATION,
            parent_version=parent.model_version,
            snapshot=february,
            robustness=Robustness(),
            fairness=Fairness(("origin",), 20),
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    metrics = (await evaluation_called(caller, job.evaluation)).metrics
    # Ranges of activations are those of a batch, so that rows are no more each for itself.
    assert metrics["robustness.order_difference"] > 0
    listed = await caller.registry.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(parent=parent.model_version),
        timeout=TIMEOUT_S,
    )
    (baseline,) = (
        each
        for each in listed.evaluations
        if each.purpose == evaluation_pb2.Evaluation.PURPOSE_BASELINE
    )
    assert "fairness.demographic_parity_difference.origin" in baseline.metrics
    assert not any(name.startswith("robustness.") for name in baseline.metrics)
