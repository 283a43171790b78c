"""What jobs of other than two classes can ask for: real trainer, real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from roundhouse.trainer.v1 import job_pb2

from services.trainer.adapters.learning.native import WEIGHTS_FILE, native_from
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.parents import MaximumLoss, Mode
from services.trainer.core.robustness import Robustness
from services.trainer.core.spec import Candidate
from services.trainer.core.tasks import Task
from tests.support.calls import refused
from tests.support.class_values import class_rows
from tests.support.quantity_values import FEW_ROWS, quantity_rows
from tests.support.text_values import small_encoder, text_rows, text_spec
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.trainer.test_api_judging import evaluation_called, shown
from tests.trainer.test_classes_served import artifact, csv_of

pytestmark = pytest.mark.real
NETWORK = (Candidate("mlp", {**FEW_ROWS["mlp"], "hidden_units": 128}),)
LITTLE = MaximumLoss(rmse=0.5, mae=0.5)


async def succeeded(
    caller: TrainerCaller, job_id: str, candidates: tuple[Candidate, ...], **changes: Any
) -> job_pb2.TrainingJob:
    """A job on quantities of its own month, once it is over."""
    seed = len(await caller.versions())
    month = await caller.registry.sealed_snapshot(
        f"{job_id}-rows", csv_of(quantity_rows(seed=seed))
    )
    asked = {"target": "minutes", "task": Task.REGRESSION, "metric": "rmse", "snapshot": month}
    name = await caller.submit(job_id, candidates=candidates, **asked, **changes)
    job = await caller.until_over(name)
    assert state_name(job) == "SUCCEEDED", job.error
    return job


async def test_quantities_are_stressed_trained_further_distilled_and_quantised(
    caller: TrainerCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = await succeeded(
        caller, "parent", NETWORK, robustness=Robustness(maximum_fall={"noise": 50})
    )
    tested = await evaluation_called(caller, parent.evaluation)
    assert tested.metrics["robustness.missing.fall"] > tested.metrics["robustness.noise.fall"] > 0
    assert "robustness.noise.flipped" not in tested.metrics
    capsys.readouterr()
    await shown(caller, "models", "robustness", "delays/1")
    assert "rmse worse by" in capsys.readouterr().out

    taken = {"parent_version": parent.model_version, "maximum_loss": LITTLE}
    further = await succeeded(caller, "further", NETWORK, mode=Mode.WARM_START, **taken)
    before, after = [
        native_from(await artifact(caller, job.model_version, WEIGHTS_FILE)).scale
        for job in (parent, further)
    ]
    assert before == after is not None
    tested = await evaluation_called(caller, further.evaluation)
    assert tested.metrics["parent.rmse"] > 0
    assert "fidelity.agreement" not in tested.metrics
    card = (await artifact(caller, further.model_version, "card.md")).decode()
    assert "Beside it: predictions " in card

    students = (Candidate("linear_regression", {}),)
    student = await succeeded(caller, "student", students, mode=Mode.DISTILLATION, **taken)
    written = json.loads(await artifact(caller, student.model_version, "evaluation.json"))
    assert written["parent"]["version"] == parent.model_version
    assert 0 < written["parent"]["fidelity"]["mean_difference"] < written["baseline"]["mae"]
    assert written["parity"]["largest_difference"] <= 1e-5

    ways = (Candidate("int8_dynamic", {}), Candidate("int8_static", {}))
    small = await succeeded(caller, "small", ways, mode=Mode.QUANTIZATION, **taken)
    tested = await evaluation_called(caller, small.evaluation)
    assert tested.metrics["graph.size_bytes"] < 0.7 * tested.metrics["parent.graph.size_bytes"]
    assert 0 < tested.metrics["fidelity.mean_difference"] < 20


async def test_classes_are_calibrated_in_graph_evaluation_and_card(
    caller: TrainerCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = await caller.registry.sealed_snapshot("fates", csv_of(class_rows(2400)))
    name = await caller.submit(
        "first",
        candidates=(Candidate("decision_tree", {"max_depth": 30, "min_leaf_rows": 5}),),
        target="fate",
        task=Task.MULTICLASS,
        metric="log_loss",
        snapshot=rows,
        calibration=CalibrationMethod.SIGMOID,
        cross_validation_folds=2,
    )
    job = await caller.until_over(name)
    assert state_name(job) == "SUCCEEDED", job.error
    tested = await evaluation_called(caller, job.evaluation)
    before = tested.uncalibrated
    assert tested.metrics["calibration_error"] < before.metrics["calibration_error"]
    assert tested.metrics["log_loss"] < before.metrics["log_loss"]
    assert sum(each.rows for each in tested.reliability) == tested.rows
    assert sum(each.rows for each in before.reliability) == tested.rows
    training = json.loads(await artifact(caller, job.model_version, "training.json"))
    assert len(training["calibration"]["map"]["shifts"]) == 4
    card = (await artifact(caller, job.model_version, "card.md")).decode()
    assert "| test, before calibration |" in card
    assert "CALIBRATION_SIGMOID, learned from" in card
    capsys.readouterr()
    await shown(caller, "models", "reliability", "delays/1")
    assert "promise" in capsys.readouterr().out


async def test_what_reads_texts_is_tried_with_typos_trained_further_and_quantised(
    tmp_path: Path,
) -> None:
    encoder = small_encoder(tmp_path / "small")
    job = text_spec()
    asked = {
        "target": job.target,
        "features": job.features,
        "time_column": job.time_column,
        "split_method": job.split_method,
        "slices": (),
    }
    lora = (Candidate("text_lora", {"rank": 2, "epochs": 1, "learning_rate": 0.01}),)
    async with running_trainer(tmp_path, encoders={"small": str(encoder)}) as caller:

        async def made(job_id: str, candidates: tuple[Candidate, ...], **changes: Any) -> str:
            rows = csv_of(text_rows(240, seed=len(await caller.versions())))
            snapshot = await caller.registry.sealed_snapshot(f"{job_id}-rows", rows)
            changes = {**asked, **changes, "snapshot": snapshot, "candidates": candidates}
            found = await caller.until_over(await caller.submit(job_id, **changes))
            assert state_name(found) == "SUCCEEDED", found.error
            return found.evaluation

        first = await evaluation_called(caller, await made("first", lora, robustness=Robustness()))
        assert {"robustness.typos.flipped", "robustness.dropped_words.fall"} <= set(first.metrics)
        (version,) = [each.name for each in await caller.versions()]
        native = native_from(await artifact(caller, version, WEIGHTS_FILE))
        (digest,) = native.texts.values()
        taken = {"parent_version": version}
        further = await evaluation_called(
            caller, await made("further", lora, mode=Mode.WARM_START, **taken)
        )
        assert 0 < further.metrics["fidelity.agreement"] <= 1
        small = (Candidate("int8_dynamic", {}),)
        evaluation = await made("small", small, mode=Mode.QUANTIZATION, **taken)
        quantised = evaluation.partition("/evaluations/")[0]
        training = json.loads(await artifact(caller, quantised, "training.json"))
        assert training["encoder"]["digest"] == digest
        with refused() as refusal:
            await made("ranges", (Candidate("int8_static", {}),), mode=Mode.QUANTIZATION, **taken)
        assert refusal.fields() == ["training_job.spec.candidates[0].algorithm"]
