"""The images hold what their service needs and no more, and their service starts from them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerfiles import REPOSITORY, Image, command, environment, parse, values
from tests.support.processes import ServerProcess, free_ports

SERVICES = ["registry", "trainer", "inference", "monitor"]

FOREIGN = {
    "registry": {"torch", "scikit-learn", "onnxruntime", "tritonclient", "deltalake", "typer"},
    "trainer": {"tritonclient", "deltalake", "typer"},
    "inference": {"torch", "scikit-learn", "pandas", "deltalake", "typer"},
    "monitor": {"torch", "onnxruntime", "tritonclient", "typer"},
}
"""Distributions that belong to other services or to people's tools."""


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, removed at the end: an image is too big to keep for a look."""
    folder = tmp_path / "root"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def dockerfile(service: str) -> Path:
    return REPOSITORY / "docker" / f"{service}.Dockerfile"


def test_every_stage_stands_on_one_exactly_versioned_base(service: str):
    bases = {value.split()[0] for value in values(parse(dockerfile(service)), "FROM")}

    assert len(bases) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases.pop())


def test_the_service_runs_unprivileged(service: str):
    instructions = parse(dockerfile(service))
    names = [each.name for each in instructions]

    assert values(instructions, "USER") == ["roundhouse"]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_just_the_extra_of_the_service_is_installed_under_the_constraints(service: str):
    installs = [run for run in values(parse(dockerfile(service)), "RUN") if "pip install" in run]

    extras = f"{service},signing" if service in ("registry", "inference") else service
    assert f'".[{extras}]"' in installs[-1]
    assert all("--constraint constraints.txt" in install for install in installs)
    if service == "trainer":
        constraints = (REPOSITORY / "constraints.txt").read_text().splitlines()
        version = next(line for line in constraints if line.startswith("torch=="))
        assert version.split("+")[0] in installs[0]


def test_exposed_ports_are_those_that_the_service_listens_on(service: str):
    instructions = parse(dockerfile(service))
    variables = environment(instructions)
    prefix = f"ROUNDHOUSE_{service.upper()}_"
    port, metrics_port = (
        variables[f"{prefix}{name}"].removeprefix("0.0.0.0:")
        for name in ("LISTEN", "METRICS_LISTEN")
    )

    assert values(instructions, "EXPOSE") == [f"{port} {metrics_port}"]
    assert command(values(instructions, "HEALTHCHECK")[0])[-1] == f"127.0.0.1:{port}"


def test_the_entry_point_is_a_script_of_the_package(service: str):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (entry,) = command(values(parse(dockerfile(service)), "ENTRYPOINT")[0])

    assert project["scripts"][entry] == f"services.{service}.__main__:main"


@pytest.mark.real
@pytest.mark.timeout(900)
def test_an_image_built_in_a_clean_folder_starts_its_service(
    service: str, root: Path, tmp_path: Path
):
    instructions = parse(dockerfile(service))
    image = Image(instructions, root)
    image.build()

    installed = distributions(image)
    assert FOREIGN[service].isdisjoint(installed)
    assert run(image, ["python", "-m", "pip", "check"]).returncode == 0

    (entry,) = values(instructions, "ENTRYPOINT")
    (healthcheck,) = values(instructions, "HEALTHCHECK")
    port, metrics_port = free_ports(2)
    prefix = f"ROUNDHOUSE_{service.upper()}_"
    changes = {
        f"{prefix}LISTEN": f"127.0.0.1:{port}",
        f"{prefix}METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
    }
    probe = [*command(healthcheck)[:-1], f"127.0.0.1:{port}"]

    assert run(image, probe).returncode != 0
    server = ServerProcess(
        image.program(command(entry)),
        log=tmp_path / "service.log",
        environment=image.environment(changes),
    )
    try:
        server.wait_until_ready(
            lambda: run(image, probe).returncode == 0, ports=[port, metrics_port]
        )
    finally:
        server.stop()


def distributions(image: Image) -> set[str]:
    listed = run(image, ["python", "-m", "pip", "list", "--format=json"])
    return {each["name"].lower() for each in json.loads(listed.stdout)}


def run(image: Image, words: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        image.program(words),
        env=image.environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=False,
    )
