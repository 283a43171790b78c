from __future__ import annotations

from pathlib import Path

from tests.contracts.descriptors import ROOT
from tools.protogen import GEN, generate


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.py*")
        if "__pycache__" not in path.parts
    }


def test_generated_code_is_what_the_protos_give_now(tmp_path):
    generate(tmp_path / "gen")
    fresh, present = contents(tmp_path / "gen"), contents(GEN)
    assert fresh.keys() == present.keys()
    stale = [name for name in fresh if fresh[name] != present[name]]
    assert not stale, f"run `python tools/protogen.py` in {ROOT.name}: {stale}"
