"""A monitor with its registry, a window of many columns, and a page with a year behind it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.harness import Report, Row
from benchmarks.monitor import ingestion, painting, wide
from benchmarks.monitor.ingestion import Intake, profile_file, running_intake
from benchmarks.monitor.ours import baseline
from benchmarks.monitor.wide import Window
from services.common.profiles import Profile
from tests.support.monitor_api import MonitorCaller
from tests.support.registry_api import BUNDLE, RegistryCaller
from tests.system.suite import Suite

_LIMITS = (
    "Sender, monitor and registry share the machine's cores and its disk over loopback, and so do "
    "browser and dashboard. What is given per second of CPU depends on the cores alone. Evidently "
    "works column by column, so it is asked for few of the columns, with all their rows; its peak "
    "memory is of these few. Both get numbers alone, one in ten columns moved, and each run counts "
    "only if it found exactly those."
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    intake_batches: int
    intake_rounds: int
    window: Window
    evidently_window: Window
    paint_rounds: int


_FULL = Effort(
    intake_batches=20,
    intake_rounds=3,
    window=Window(reference=10, rows=100, columns=20),
    evidently_window=Window(reference=10, rows=100, columns=1),
    paint_rounds=3,
)
_QUICK = Effort(
    intake_batches=5,
    intake_rounds=1,
    window=Window(reference=2, rows=5, columns=2),
    evidently_window=Window(reference=2, rows=5, columns=1),
    paint_rounds=1,
)
_PROFILE_BLOCKS = 2


def measure(*, quick: bool) -> Report:
    """See the folder's README."""
    effort = _QUICK if quick else _FULL
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="roundhouse-benchmark-") as name:
        folder = Path(name)
        taken = _taken_in(folder / "intake", effort)
        painted = _painted(folder / "page", effort)
        compared = [wide.judged(effort.window)]
        compared += _tried(lambda: wide.reported(effort.evidently_window, folder), failures)
    return Report(
        rows=[*taken, *compared, *painted],
        bars=[*ingestion.bars(taken), *wide.bars(compared), *painting.bars(painted)],
        limits=_LIMITS,
        failures=failures,
    )


def _taken_in(folder: Path, effort: Effort) -> list[Row]:
    folder.mkdir()
    profile = baseline(_PROFILE_BLOCKS, 1)
    with running_intake(folder) as suite:
        version = asyncio.run(_watched_version(suite, profile))
        intake = Intake(suite, version, effort.intake_batches)
        taken = intake.rows(effort.intake_rounds)
    counted = ingestion.counted(profile, batches=effort.intake_batches, rounds=effort.intake_rounds)
    return [*taken, *counted]


async def _watched_version(suite: Suite, profile: Profile) -> str:
    """A version with a baseline, and a monitor of the endpoint that is to serve it."""
    await suite.wait_until_serving("registry", "monitor")
    async with grpc.aio.insecure_channel(suite.address("registry")) as channel:
        registry = RegistryCaller(channel)
        files = {**BUNDLE, "profile.json": profile_file(profile)}
        version = await registry.ready_version(await registry.create_model(), files)
    async with grpc.aio.insecure_channel(suite.address("monitor")) as channel:
        await MonitorCaller(channel).create_monitor()
    return version


def _painted(folder: Path, effort: Effort) -> list[Row]:
    folder.mkdir()
    return painting.first_paints(folder, effort.paint_rounds)


def _tried(measured: Callable[[], Row], failures: list[str]) -> list[Row]:
    """What a peer took, or nothing and why."""
    try:
        return [measured()]
    except RuntimeError as error:
        failures.append(f"Evidently: {error}")
        return []
