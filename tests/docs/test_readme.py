"""What the README tells people to type exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.partition("#")[0].split()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.strip()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_a_make_target_that_the_readme_names_exists(command: list[str]) -> None:
    run = subprocess.run(
        ["make", "--dry-run", "--always-make", *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "roundhouse"], ids=" ".join)
def test_a_subcommand_that_the_readme_names_has_help(command: list[str]) -> None:
    words = [word for word in command[1:3] if not word.startswith("-")]
    known = words if words[:1] == ["data"] else words[:1]
    run = subprocess.run(
        [Path(sys.executable).with_name("roundhouse"), *known, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Usage" in run.stdout


@pytest.mark.parametrize("block", [b for language, b in BLOCKS if language == "python"])
def test_what_the_readme_imports_can_be_imported(block: str) -> None:
    imports = [n for n in ast.parse(block).body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_every_path_that_the_map_names_exists() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", README, flags=re.MULTILINE)
    paths = [path for path in named if "/" in path]
    assert len(paths) >= 10
    for path in paths:
        assert (ROOT / path.replace("<service>", "registry")).exists(), path


def test_every_document_that_is_linked_exists() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
