"""Every service's schema has one history."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from services.common.store import migrations

SERVICES = Path(__file__).parents[2] / "services"
FOLDERS = sorted(SERVICES.glob("*/adapters/migrations"))


@pytest.mark.filterwarnings("error")  # two files with one revision are a warning of Alembic's
@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.parts[-3] for folder in FOLDERS])
def test_revisions_are_a_line_without_forks(folder: Path):
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).with_name("alembic")))
    config.set_main_option("version_locations", str(folder))
    config.set_main_option("path_separator", "newline")

    found = list(ScriptDirectory.from_config(config).walk_revisions())

    assert len(found) == len(list(folder.glob("[!_]*.py")))
    assert [each.down_revision for each in found] == [each.revision for each in found[1:]] + [None]
