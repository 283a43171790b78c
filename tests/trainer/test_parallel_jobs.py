"""Jobs that several workers train: killed helpers and workers change neither bits nor attempts."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import psutil
import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.trainer.v1 import job_pb2

from services.trainer.core.parallelism import Parallelism
from services.trainer.core.spec import Candidate, spec_to_json
from services.trainer.core.states import JobState
from tests.support.calls import TIMEOUT_S, refused
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.support.trainer_process import workers_of
from tests.support.trainer_values import spec
from tests.trainer.test_api_versions import artifact

pytestmark = pytest.mark.real
NETWORK = (Candidate("mlp", {"epochs": 16, "hidden_units": 8, "batch_rows": 64}),)


def crew() -> list[psutil.Process]:
    """The worker of the trainer in this process, then its helpers in the order of their start."""
    return sorted(workers_of(os.getpid()), key=lambda process: process.create_time())


async def graph_of(caller: TrainerCaller, job: job_pb2.TrainingJob) -> bytes:
    assert state_name(job) == JobState.SUCCEEDED.value, job.error
    return await artifact(caller, job.model_version, "model.onnx")


async def test_three_workers_of_which_some_are_killed_make_the_version_that_one_makes(
    tmp_path: Path,
) -> None:
    async with running_trainer(tmp_path) as caller:
        alone = await caller.submit("alone", candidates=NETWORK, parallelism=Parallelism(1, 1))
        one = await caller.until_over(alone)
        name = await caller.submit("three", candidates=NETWORK, parallelism=Parallelism(2, 3))
        await caller.until_points(name, 5)
        *_, youngest = crew()
        youngest.kill()
        await caller.until_points(name, 9)
        # The worker itself: the next attempt goes on from the checkpoint, with helpers of its own.
        crew()[0].kill()
        three = await caller.until_over(name, within_s=200)
        assert await graph_of(caller, three) == await graph_of(caller, one)
        assert await caller.points(name) == await caller.points(alone)
        assert [attempt.state for attempt in three.attempts] == [
            job_pb2.Attempt.STATE_LOST,
            job_pb2.Attempt.STATE_SUCCEEDED,
        ]
        there = {value for _, _, _, value in await caller.points(name, "workers")}
        assert there <= {2.0, 3.0}
        assert 3.0 in there
        assert {value for _, _, _, value in await caller.points(alone, "workers")} == {1.0}
        log = await caller.log(name)
        assert any("mlp-1 has 3 workers from step" in line for line in log)


async def test_what_several_can_t_train_is_refused_by_its_field(caller: TrainerCaller) -> None:
    request = caller.request("trees", "decision_tree", parallelism=Parallelism(3, 2))
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert refusal.reason == "INVALID_SPEC"
    assert refusal.fields() == [
        "training_job.spec.parallelism.min_workers",
        "training_job.spec.candidates[0].algorithm",
    ]


async def test_the_command_line_says_how_many_workers_a_spec_has(
    caller: TrainerCaller, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec_to_json(spec("mlp"))))
    before = ("--data-dir", str(tmp_path), "--address", f"trainer={caller.address}")
    submit = ("jobs", "submit", "shared", "--spec", str(file), "--validate-only", "--json")

    async def told(workers: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, [*before, *submit, "--workers", workers])
        found = capsys.readouterr()
        return code, found.out, found.err

    for workers, bounds in (("2-4", (2, 4)), ("3", (3, 3))):
        code, out, _ = await told(workers)
        asked = json.loads(out)["spec"]["parallelism"]
        assert (code, asked["min_workers"], asked["max_workers"]) == (Exit.OK, *bounds)
    for workers, cause in (("4-2", "parallelism.min_workers"), ("some", "such as 2-4 or 3")):
        code, _, err = await told(workers)
        assert (code, cause in err) == (Exit.USAGE, True)
