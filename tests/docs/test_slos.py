"""What the guide to objectives names exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from services.inference.settings import InferenceSettings
from services.monitor.settings import MonitorSettings
from tests.support.prometheus import program

GUIDE = (Path(__file__).parents[2] / "docs" / "slos.md").read_text()


def test_the_settings_exist() -> None:
    for settings, number in ((MonitorSettings, 4), (InferenceSettings, 1)):
        prefix = settings.model_config["env_prefix"]
        named = {name.lower() for name in re.findall(rf"`{prefix}(\w+)`", GUIDE)}
        assert len(named) >= number
        assert named <= set(settings.model_fields)


def test_the_dashboard_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"`roundhouse (dashboards .+?) > dashboard.json`", GUIDE)
    assert run(command.split()) == Exit.OK
    assert json.loads(capsys.readouterr().out)["title"] == "Roundhouse"


@pytest.mark.real
def test_alertmanager_takes_the_configuration(tmp_path: Path) -> None:
    _, configuration = re.findall(r"```yaml\n(.+?)```", GUIDE, flags=re.DOTALL)
    file = tmp_path / "alertmanager.yaml"
    file.write_text(configuration)
    checked = subprocess.run(
        [program("amtool"), "check-config", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 inhibit rules" in checked.stdout
