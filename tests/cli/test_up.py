"""`roundhouse up`: the four services on one machine, kept running."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from roundhouse.cli.failures import Exit

from tests.support.command_line import (
    CommandLine,
    started_suite,
    stopped,
)

pytestmark = pytest.mark.real


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_restarts_what_dies_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = started_suite(tmp_path)
    supervisor = psutil.Process(process.pid)
    services = supervisor.children()
    assert len(services) == 4
    os.kill(services[0].pid, signal.SIGKILL)
    command = CommandLine(tmp_path)
    deadline = time.monotonic() + 60
    while services[0] in supervisor.children() or command("status").code:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    everyone = [supervisor, *supervisor.children(recursive=True)]
    printed = stopped(process, number)
    assert process.returncode == Exit.INTERRUPTED
    assert "without authentication" in printed
    assert "starting it again" in printed
    _, alive = psutil.wait_procs(everyone, timeout=10)
    assert alive == []
