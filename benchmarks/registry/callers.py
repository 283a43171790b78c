"""A process of callers: `python -m benchmarks.registry.callers SERVER ADDRESS PID WITH CALLERS S`.

SERVER is `roundhouse` or `mlflow`, PID its process, whose CPU time is counted with its children's;
WITH is `files` or `metadata`, S the seconds. Each caller is a thread with a connection of its own
that goes through the cycle again and again. With `metadata` the alias moves between two versions
that were made ready before. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle as endless

import psutil

from benchmarks.registry.cycles import Cycle, MlflowCycle, RoundhouseCycle

_SERVERS: dict[str, Callable[[str, int], Cycle]] = {
    "roundhouse": RoundhouseCycle,
    "mlflow": MlflowCycle,
}
_WARM_UP_S = 0.3
STEPS = ("create", "move", "resolve")


def main(
    server: str, address: str, pid: int, *, files: bool, callers: int, seconds: float
) -> dict[str, float]:
    """Cycles per second, the server's CPU time and latencies of each step in milliseconds."""
    latencies_s: dict[str, list[float]] = {step: [] for step in STEPS}
    cycles_done = [0] * callers
    ends = [0.0] * callers
    failures: list[BaseException] = []
    ready = threading.Barrier(callers + 1)
    cycles = [_SERVERS[server](address, number) for number in range(callers)]

    def call(number: int, cycle: Cycle) -> None:
        try:
            prepared = endless([cycle.create_with_files() for _ in range(2)])
            ready.wait()
            begin = time.perf_counter() + _WARM_UP_S
            # At least one that counts, however slow the machine.
            while (started := time.perf_counter()) < begin + seconds or not ends[number]:
                version = cycle.create_with_files() if files else cycle.create()
                created = time.perf_counter()
                cycle.move(version if files else next(prepared))
                moved = time.perf_counter()
                cycle.resolve()
                resolved = time.perf_counter()
                cycles_done[number] += 1
                if started >= begin:
                    ends[number] = resolved - begin
                    latencies_s["create"].append(created - started)
                    latencies_s["move"].append(moved - created)
                    latencies_s["resolve"].append(resolved - moved)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=call, args=each) for each in enumerate(cycles)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
        cpu_before_s = _cpu_s(pid)
    except threading.BrokenBarrierError:
        cpu_before_s = 0.0
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"{len(failures)} callers failed, the first with {failures[0]!r}")
    figures = {
        "cycles_per_s": len(latencies_s["create"]) / max(ends),
        "server_cpu_ms_per_cycle": (_cpu_s(pid) - cpu_before_s) * 1000 / sum(cycles_done),
    }
    for step, taken in latencies_s.items():
        taken.sort()
        figures[f"{step}_p50_ms"] = taken[len(taken) // 2] * 1000
        figures[f"{step}_p99_ms"] = taken[int(len(taken) * 0.99)] * 1000
    return figures


def _cpu_s(pid: int) -> float:
    process = psutil.Process(pid)
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        used = each.cpu_times()
        total += used.user + used.system
    return total


if __name__ == "__main__":
    name, target, pid, content, count, duration = sys.argv[1:]
    result = main(
        name,
        target,
        int(pid),
        files=content == "files",
        callers=int(count),
        seconds=float(duration),
    )
    print(json.dumps(result))
