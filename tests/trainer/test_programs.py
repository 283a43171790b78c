"""Where compiled networks are kept, and that nothing of them stays behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from services.trainer.adapters.worker.programs import compiled_programs, forget_programs

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "elsewhere")
    return tmp_path


def test_programs_lie_where_nobody_else_writes_and_end_with_the_worker(home: Path) -> None:
    with compiled_programs("worker-1"):
        (folder,) = home.iterdir()
        assert os.environ[VARIABLE] == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "program.so").touch()
    assert list(home.iterdir()) == []


def test_a_folder_that_is_there_already_is_not_trusted(home: Path) -> None:
    (home / "roundhouse-compiled-worker-1").mkdir()
    with pytest.raises(FileExistsError), compiled_programs("worker-1"):
        pass


def test_what_a_killed_worker_leaves_is_removed_and_of_others_nothing(home: Path) -> None:
    kept = compiled_programs("worker-1")
    kept.__enter__()
    with compiled_programs("worker-2"):
        forget_programs("worker-1")
        forget_programs("worker-3")
        assert [each.name for each in home.iterdir()] == ["roundhouse-compiled-worker-2"]
