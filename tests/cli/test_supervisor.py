"""The supervisor keeps children alive and leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from roundhouse.cli.supervisor.process import ProcessExit, ProcessSpec, SupervisedProcess
from roundhouse.cli.supervisor.suite import SuiteError, free_ports, given_ports, running_suite

from tests.support.eventually import eventually

SLEEPER = """
import pathlib, signal, subprocess, sys, time
children = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("started", "a") as record:
    record.write(f"{children.pid}\\n")
time.sleep(600)
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> ProcessSpec:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    return ProcessSpec(
        service="sleeper",
        module="sleeper",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        log_file=tmp_path / "sleeper.log",
    )


def grandchildren(folder: Path) -> list[int]:
    record = folder / "started"
    return [int(line) for line in record.read_text().split()] if record.exists() else []


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_killed_child_is_started_again(
    sleeper: ProcessSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exits: list[ProcessExit] = []
    process = SupervisedProcess(sleeper, on_exit=exits.append)
    task = asyncio.create_task(process.run())
    await eventually(lambda: len(grandchildren(tmp_path)) == 1)
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: len(grandchildren(tmp_path)) == 2)
    assert exits == [ProcessExit("sleeper", -signal.SIGKILL, exits[0].restart_in_s, 1)]
    assert process.pid != first
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await eventually(lambda: not any(map(is_running, grandchildren(tmp_path))))
    assert process.pid is None


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio, os
from pathlib import Path
from roundhouse.cli.supervisor.process import ProcessSpec, SupervisedProcess
spec = ProcessSpec("s", "sleeper", {**os.environ, "PYTHONPATH": "."}, Path("s.log"))
asyncio.run(SupervisedProcess(spec, on_exit=print).run())
"""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=tmp_path)
    await eventually(lambda: bool(grandchildren(tmp_path)))
    (child,) = psutil.Process(supervisor.pid).children()
    supervisor.kill()
    await supervisor.wait()
    await eventually(lambda: not is_running(child.pid))
    for pid in grandchildren(tmp_path):
        os.kill(pid, signal.SIGKILL)


async def test_two_suites_can_not_share_a_folder(tmp_path: Path) -> None:
    async with running_suite(tmp_path, free_ports(), on_exit=print):
        with pytest.raises(SuiteError, match="Another suite"):
            async with running_suite(tmp_path, free_ports(), on_exit=print):
                pytest.fail("started twice")


def test_taken_ports_are_named() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SuiteError, match=str(port)):
            given_ports(port)


def test_free_ports_are_all_different() -> None:
    ports = free_ports()
    numbers = {number for pair in ports.values() for number in (pair.grpc, pair.metrics)}
    assert len(numbers) == 8
