"""Every way to fail has its exit code and one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from roundhouse.cli.failures import EXIT_CODES_HELP, Exit
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE, free_ports

from tests.support.command_line import CommandLine


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """A command line whose services are away."""
    addresses = {name: f"127.0.0.1:{ports.grpc}" for name, ports in free_ports().items()}
    (tmp_path / ADDRESSES_FILE).write_text(json.dumps(addresses))
    return CommandLine(tmp_path)


def test_a_service_that_is_away_is_unavailable_and_says_how_to_start_it(
    nowhere: CommandLine,
) -> None:
    result = nowhere("models", "list")
    assert result.code == Exit.UNAVAILABLE
    assert "roundhouse up" in result.err
    assert result.out == ""


def test_the_status_of_services_that_are_away_is_unavailable(nowhere: CommandLine) -> None:
    result = nowhere("status", "--json")
    assert result.code == Exit.UNAVAILABLE
    assert [each["serving"] for each in json.loads(result.out)] == [False] * 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "dance"),
        ("models", "approve", "no-version-at-all"),
        ("predict", "flights"),
        ("predict", "flights", "no-equals-sign"),
        ("--address", "registry", "models", "list"),
        ("--address", "elsewhere=127.0.0.1:1", "models", "list"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    nowhere: CommandLine, arguments: tuple[str, ...]
) -> None:
    result = nowhere(*arguments)
    assert result.code == Exit.USAGE
    assert result.err


def test_a_file_of_an_unknown_format_is_a_usage_error(nowhere: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data.xlsx").touch()
    file = str(tmp_path / "data.xlsx")
    result = nowhere("data", "import", file, "--dataset", "d", "--snapshot", "s")
    assert result.code == Exit.USAGE


def test_a_spec_that_is_no_json_is_a_usage_error(nowhere: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"snapshoot": "x"}')
    result = nowhere("jobs", "submit", "j", "--spec", str(tmp_path / "spec.json"))
    assert result.code == Exit.USAGE
    assert "snapshoot" in result.err


def test_help_lists_every_command_and_exit_code(nowhere: CommandLine) -> None:
    result = nowhere("--help")
    assert result.code == Exit.OK
    text = " ".join(result.out.split())
    for command in ("up", "demo", "status", "data", "jobs", "models", "aliases", "endpoints"):
        assert command in text
    for command in ("rollouts", "predict", "drift", "explain"):
        assert command in text
    assert all(str(int(code)) in EXIT_CODES_HELP for code in Exit)
