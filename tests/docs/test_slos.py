"""What the guide to objectives names exists."""

from __future__ import annotations

import re
from pathlib import Path

from services.monitor.settings import MonitorSettings

GUIDE = (Path(__file__).parents[2] / "docs" / "slos.md").read_text()


def test_the_settings_exist() -> None:
    prefix = MonitorSettings.model_config["env_prefix"]
    named = {name.lower() for name in re.findall(rf"`{prefix}(\w+)`", GUIDE)}
    assert len(named) >= 4
    assert named <= set(MonitorSettings.model_fields)
