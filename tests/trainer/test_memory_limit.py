"""What a worker's processes may allocate."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import interpreter_environment

SCRIPT = """
import resource
from services.trainer.adapters.worker.limits import limit_memory
limit_memory(1024)
try:
    bytearray(2 * 2**30)
except MemoryError:
    print("refused")
print(len(bytearray(2**20)))
"""


@pytest.mark.real
def test_a_process_gets_no_more_memory_than_its_limit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=interpreter_environment(),
    )
    assert done.stdout.split() == ["refused", str(2**20)]
