"""Buffers that are used again."""

from __future__ import annotations

import subprocess
import sys

FAULTS = """
import resource, sys
from services.common.allocation import keep_freed_memory

assert keep_freed_memory() or not sys.platform.startswith("linux")
for _ in range(4):
    bytearray(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    bytes(bytearray(1 << 20))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_buffers_are_not_asked_for_anew():
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) < 200 * 256, "each MiB has 256 pages"
