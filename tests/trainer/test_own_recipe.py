"""A recipe of another package: the one of the cookbook, installed and run; and broken ones."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from roundhouse.registry.v1 import model_service_pb2

from services.trainer.adapters import recipes
from services.trainer.adapters.recipes import UnusableRecipe, load_recipes
from services.trainer.core.spec import Candidate
from tests.support.calls import TIMEOUT_S
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name

COOKBOOK = Path(__file__).parents[2] / "docs" / "cookbook" / "own_recipe"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the cookbook's package is installed in, on the path of every process."""
    folder = tmp_path / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder), str(COOKBOOK)]
    subprocess.run(command, check=True, timeout=120)
    monkeypatch.syspath_prepend(str(folder))
    return folder


async def training_of(caller: TrainerCaller, version: str) -> dict[str, object]:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path="training.json")
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    training: dict[str, object] = json.loads(b"".join([part.chunk async for part in parts]))
    return training


@pytest.mark.real
@pytest.mark.usefixtures("installed")
async def test_an_installed_recipe_trains_and_registers_a_version_like_any_other(
    tmp_path: Path,
) -> None:
    candidates = (Candidate("linear_discriminant", {"shrinkage": 0.2}),)
    async with running_trainer(tmp_path) as caller:
        job = await caller.until_over(await caller.submit("own", candidates=candidates))
        assert state_name(job) == "SUCCEEDED", job.error
        training = await training_of(caller, job.model_version)
    assert training["winner"] == {
        "algorithm": "linear_discriminant",
        "parameters": {"shrinkage": 0.2},
        "package": "roundhouse-linear-discriminant 1.0.0",
    }


def entry(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One more entry point, beside those that are installed."""
    known = recipes._installed()
    broken = EntryPoint(name, value, recipes.GROUP)
    monkeypatch.setattr(recipes, "_installed", lambda: [*known, broken])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("gone", "no_such_module:RECIPE", "can't be imported"),
        ("module", "json:dumps", "must be a Recipe"),
        ("other", "services.trainer.adapters.recipes.mlp:RECIPE", "calls itself 'mlp'"),
        ("mlp", "services.trainer.adapters.recipes.mlp:RECIPE", "two packages"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    entry(monkeypatch, name, value)
    with pytest.raises(UnusableRecipe, match=why) as refusal:
        load_recipes()
    assert name in str(refusal.value)
