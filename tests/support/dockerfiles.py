"""Dockerfiles, carried out in a folder where no container engine runs."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dockerfile_parse import DockerfileParser

REPOSITORY = Path(__file__).resolve().parents[2]

_ENGINE_STEPS = ("apt-get", "useradd")
"""What begins the RUN steps that change the system and so need a container."""

_NOT_SENT = shutil.ignore_patterns("gen", "__pycache__")
"""What .dockerignore keeps from the builder, in the folders that the files copy."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: `name` such as `RUN`, and all that follows it as `value`."""

    name: str
    value: str


def parse(path: Path) -> list[Instruction]:
    """A Dockerfile's instructions, comments left out."""
    parser = DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    return [
        Instruction(step["instruction"], step["value"])
        for step in parser.structure
        if step["instruction"] != "COMMENT"
    ]


def values(instructions: list[Instruction], name: str) -> list[str]:
    """What follows each instruction of this name."""
    return [each.value for each in instructions if each.name == name]


def environment(instructions: list[Instruction]) -> dict[str, str]:
    """The variables that ENV sets."""
    return dict(value.split("=", 1) for value in values(instructions, "ENV"))


def command(value: str) -> list[str]:
    """The words of an ENTRYPOINT, or of a HEALTHCHECK's CMD, in exec form."""
    return [str(word) for word in json.loads(value[value.index("[") :])]


class Image:
    """What a Dockerfile makes, with a folder in the place of `/`.

    Args:
        instructions: The file. Its stages share the one folder, so that copying from one
            stage to another does nothing.
        root: An empty folder.
    """

    def __init__(self, instructions: list[Instruction], root: Path) -> None:
        self._instructions = instructions
        self._root = root
        self._folder = root

    def build(self) -> None:
        """Carry out every step but those that need a container.

        Raises:
            subprocess.CalledProcessError: A RUN step failed.
        """
        for step in self._instructions:
            match step.name:
                case "WORKDIR":
                    self._folder = Path(self._relocated(step.value))
                    self._folder.mkdir(parents=True, exist_ok=True)
                case "COPY" if not step.value.startswith("--from="):
                    self._copy(*shlex.split(step.value))
                case "RUN" if not step.value.startswith(_ENGINE_STEPS):
                    self._run(self._relocated(step.value))

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """The variables of its processes, some of them changed as `docker run --env` would."""
        base = {"HOME": str(self._folder), "LANG": "C.UTF-8", "PATH": os.defpath}
        own = {
            name: self._relocated(value).replace("$PATH", base["PATH"])
            for name, value in environment(self._instructions).items()
        }
        return base | own | dict(changes)

    def program(self, words: list[str]) -> list[str]:
        """A command with its program and its files where they are in this folder."""
        binaries = self._relocated("/opt/roundhouse/bin")
        return [f"{binaries}/{words[0]}", *map(self._relocated, words[1:])]

    def _copy(self, *paths: str) -> None:
        *sources, target = paths
        into = self._folder / self._relocated(target)
        for source in sources:
            origin = REPOSITORY / source
            if origin.is_dir():
                shutil.copytree(origin, into, ignore=_NOT_SENT)
            else:
                destination = into / origin.name if target.endswith("/") else into
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, destination)

    def _run(self, script: str) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "ROUNDHOUSE_"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["/bin/sh", "-ec", script],
            check=True,
            cwd=self._folder,
            env=inherited | {"PATH": path},
            stdin=subprocess.DEVNULL,
        )

    def _relocated(self, text: str) -> str:
        return re.sub(r"(?<![\w./])/(?=opt/|src\b|var/)", f"{self._root}/", text)
