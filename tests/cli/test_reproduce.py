"""Jobs repeated by the guide's commands, beside a real trainer; and how that is told."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.cli.views.reproduction import sentence
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.reproduction_pb2 import Reproduction

from services.trainer.core.reproduction import Subject
from services.trainer.core.spec import Candidate
from tests.support.trainer_api import running_trainer, state_name

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
SECTION = GUIDE.split("\n## The same again\n")[1].partition("\n## ")[0]
CANDIDATES = (
    Candidate("lightgbm", {"rounds": 10}),
    Candidate("mlp", {"epochs": 4, "hidden_units": 8}),
)


def words_of(command: str) -> list[str]:
    return [quoted or word for quoted, word in re.findall(r"'([^']+)'|(\S+)", command)]


@pytest.mark.real
async def test_the_guide_s_commands_repeat_a_job_and_tell_how_it_compares(tmp_path, capsys):
    watch, told, show, listed = re.findall(r"^\$ roundhouse (.*)$", SECTION, re.MULTILINE)
    (line,) = re.findall(r"^nightly-again .*$", SECTION, re.MULTILINE)
    async with running_trainer(tmp_path) as caller:
        before = ["--data-dir", str(tmp_path), "--address", f"trainer={caller.address}"]

        async def printed(command: str, *more: str) -> str:
            capsys.readouterr()
            code = await asyncio.to_thread(run, [*before, *words_of(command), *more])
            assert code == Exit.OK, capsys.readouterr().err
            return capsys.readouterr().out

        job = await caller.until_over(await caller.submit("nightly", candidates=CANDIDATES))
        assert state_name(job) == "SUCCEEDED", job.error
        assert "nightly can be repeated." in await printed(watch, "--validate-only")
        assert line in await printed(watch)
        shown = await printed("jobs show nightly-again")
        assert "repeats nightly and makes no version" in shown
        assert line in shown
        for subject in Subject:
            assert re.search(rf"{subject.name.lower()} +│ equal", shown)
        submitted = json.loads(await printed(told, "--json"))
        assert (submitted["owner"], submitted["budget"]["units"]) == ("ann", "2")
        assert submitted["reproduction"]["tolerance"] == 0.001
        await caller.until_over(submitted["name"])
        assert "the same to the last bit" in await printed(show)
        found = json.loads(await printed(listed, "--json"))
        assert [each["name"].rpartition("/")[2] for each in found] == ["checked", "nightly-again"]


def repetition(verdict: Reproduction.Verdict.ValueType, **fields: object) -> TrainingJob:
    return TrainingJob(
        name="projects/default/trainingJobs/again",
        reproduces="projects/default/trainingJobs/nightly",
        reproduction=Reproduction(tolerance=1e-5, verdict=verdict, **fields),
    )


def test_where_two_runs_parted_is_told_with_both_values():
    parted = Reproduction.Difference(
        subject=Reproduction.SUBJECT_POINTS,
        trial="mlp-1",
        item="train_loss",
        step=3,
        original="0.5",
        repeated="0.25",
    )
    assert sentence(repetition(Reproduction.VERDICT_DIFFERENT, parted=parted)) == (
        "repeats nightly: different; they parted in points, mlp-1, train_loss, step 3: "
        "0.5 then, 0.25 now"
    )


@pytest.mark.parametrize("verdict", Reproduction.Verdict.values())
def test_every_verdict_has_words(verdict):
    assert sentence(repetition(verdict)).startswith("repeats nightly: ")
