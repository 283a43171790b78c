"""docs/integrity.md names commands and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from roundhouse.cli.app import app
from typer.testing import CliRunner

from services.inference.settings import InferenceSettings
from services.registry.settings import RegistrySettings

TEXT = (Path(__file__).parents[2] / "docs" / "integrity.md").read_text()
COMMANDS = re.findall(r"^roundhouse (.+)$", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_takes_the_options_that_are_shown(line: str) -> None:
    assert isinstance(app, typer.Typer)
    words = line.split()
    shown = CliRunner().invoke(app, [*words[:2], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


def test_the_settings_exist() -> None:
    named = set(re.findall(r"ROUNDHOUSE_[A-Z_]+[A-Z]", TEXT))
    known = {
        f"{kind.model_config['env_prefix']}{field}".upper()
        for kind in (RegistrySettings, InferenceSettings)
        for field in kind.model_fields
    }
    assert named
    assert named <= known
