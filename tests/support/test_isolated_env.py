"""Environments of their own: whole, or not there."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tools.isolated_env import InstallationFailed, install

pytestmark = pytest.mark.real


def test_an_environment_is_made_once_and_again_only_when_what_is_pinned_changes(tmp_path):
    recipe = _recipe(tmp_path, "1.0")
    install(recipe, tmp_path)
    assert _installed(tmp_path) == "1.0"
    mark = tmp_path / "peer/venv/mark"
    mark.touch()
    install(recipe, tmp_path)
    assert mark.exists()
    install(_recipe(tmp_path, "2.0"), tmp_path)
    assert _installed(tmp_path) == "2.0"
    assert not mark.exists()


def test_an_installation_that_broke_off_leaves_nothing_that_passes_for_whole(tmp_path):
    recipe = _recipe(tmp_path, "1.0")
    finish = recipe.with_suffix(".py")
    finish.write_text("raise SystemExit(3)")
    with pytest.raises(InstallationFailed, match="ended with 3"):
        install(recipe, tmp_path)
    assert not (tmp_path / "peer/installed.sha256").exists()
    finish.write_text("import sys, pathlib; pathlib.Path(sys.argv[1], 'finished').touch()")
    install(recipe, tmp_path)
    assert (tmp_path / "peer/installed.sha256").exists()
    assert (tmp_path / "peer/finished").exists()
    assert _installed(tmp_path) == "1.0"


def _recipe(folder: Path, version: str) -> Path:
    """Requirements of one package that holds nothing but its version."""
    wheel = folder / f"peer-{version}-py3-none-any.whl"
    about = f"peer-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("peer.py", f"VERSION = {version!r}")
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: peer\nVersion: {version}\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    recipe = folder / "peer.txt"
    recipe.write_text(f"{wheel}\n")
    return recipe


def _installed(folder: Path) -> str:
    command = [folder / "peer/venv/bin/python", "-c", "import peer; print(peer.VERSION)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
