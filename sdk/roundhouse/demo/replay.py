"""The rest of the year as live traffic, on a fast clock, each outcome after its flight."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
from roundhouse.client import AsyncClient, Prediction, PredictOptions
from roundhouse.demo import flights, resources
from roundhouse.demo.clock import FastClock
from roundhouse.monitor.v1.ingest_service_pb2 import IngestOutcomesRequest

IN_FLIGHT: Final = 4
"""Requests at once: enough to keep the services busy, few enough to keep the order of time."""

_HOUR_COLUMN: Final = "hours_since_epoch"
_HOUR_US: Final = 3_600_000_000
_OUTCOMES_EVERY_US: Final = 12 * _HOUR_US


@dataclass(frozen=True, slots=True)
class Departures:
    """The flights that leave one airport within one hour: one request.

    Attributes:
        month: Of the departures.
        origin: The airport.
        event_us: The hour, microseconds since the epoch.
        inputs: Columns by feature, [rows] each.
        late: int64 [rows], what came true.
        outcome_us: int64 [rows], when it was known.
    """

    month: flights.Month
    origin: str
    event_us: int
    inputs: Mapping[str, npt.NDArray[Any]]
    late: npt.NDArray[np.int64]
    outcome_us: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Served:
    """What was predicted for one hour of departures."""

    departures: Departures
    prediction: Prediction


@dataclass
class Replay:
    """Plays months of flights against the endpoint.

    Attributes:
        client: To the services.
        clock: Says when each hour is due.
        served: Every prediction so far, in the order of time of departure.
        outcomes: Outcomes that the monitor has acknowledged.
    """

    client: AsyncClient
    clock: FastClock
    served: list[Served] = field(default_factory=list)
    outcomes: int = 0
    _due: list[tuple[int, str, int]] = field(default_factory=list)
    _batches: int = 0

    async def play(self, departing: Iterator[Departures]) -> None:
        """Ask for every flight in its order and report each outcome once the clock is past it."""
        running: list[asyncio.Task[Served]] = []
        report: asyncio.Task[None] | None = None
        next_report_us = 0
        async with asyncio.TaskGroup() as group:
            for departures in departing:
                await self.clock.wait_until(departures.event_us)
                if departures.event_us >= next_report_us:
                    await self._collect(running)
                    if report is not None:
                        await report
                    # The monitor makes them durable while the next flights leave.
                    report = group.create_task(self._report_until(departures.event_us))
                    next_report_us = departures.event_us + _OUTCOMES_EVERY_US
                if len(running) >= IN_FLIGHT:
                    self._remember(await running.pop(0))
                running.append(group.create_task(self._ask(departures)))
            await self._collect(running)

    async def report_rest(self) -> None:
        """Report the outcomes of the last flights, which landed after the replay's end."""
        await self._report_until(np.iinfo(np.int64).max)

    async def _ask(self, departures: Departures) -> Served:
        hour = datetime.fromtimestamp(departures.event_us / 1e6, tz=UTC)
        key = f"{hour:%Y%m%dT%H}-{departures.origin}"
        options = PredictOptions(prediction_id=f"departures-{key}", sticky_key=key, event_time=hour)
        prediction = await self.client.predict(resources.ENDPOINT_ID, departures.inputs, options)
        return Served(departures, prediction)

    async def _collect(self, running: list[asyncio.Task[Served]]) -> None:
        while running:
            self._remember(await running.pop(0))

    def _remember(self, served: Served) -> None:
        self.served.append(served)
        landed = zip(served.departures.outcome_us, served.departures.late, strict=True)
        for row, (outcome_us, late) in enumerate(landed):
            known = (int(outcome_us), served.prediction.row_id(row), int(late))
            heapq.heappush(self._due, known)

    async def _report_until(self, now_us: int) -> None:
        known = []
        while self._due and self._due[0][0] <= now_us:
            known.append(heapq.heappop(self._due))
        if known:
            self._batches += 1
            request = IngestOutcomesRequest(
                batch_id=f"outcomes-{self._batches:06d}", arrow_stream=_arrow(known)
            )
            self.outcomes += await self.client.ingest_outcomes([request])


def departures_of(
    files: Mapping[flights.Month, Path], months: Sequence[flights.Month]
) -> Iterator[Departures]:
    """The departures of `months`, hour by hour and airport by airport, in the order of time."""
    for month in months:
        table = pa.parquet.read_table(files[month])
        hour = _microseconds(table[flights.EVENT_TIME]) // _HOUR_US
        table = table.append_column(_HOUR_COLUMN, pa.array(hour)).sort_by(
            [(_HOUR_COLUMN, "ascending"), (flights.ORIGIN, "ascending")]
        )
        hour, origin = table[_HOUR_COLUMN].to_numpy(), _values(table[flights.ORIGIN])
        inputs = {name: _values(table[name]) for name in flights.FEATURES}
        late = table[flights.TARGET].to_numpy()
        outcome_us = _microseconds(table[flights.OUTCOME_TIME])
        changes = (hour[1:] != hour[:-1]) | (origin[1:] != origin[:-1])
        starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(hour)], strict=True):
            rows = slice(start, stop)
            yield Departures(
                month=month,
                origin=str(origin[start]),
                event_us=int(hour[start]) * _HOUR_US,
                inputs={name: values[rows] for name, values in inputs.items()},
                late=late[rows],
                outcome_us=outcome_us[rows],
            )


def _microseconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _values(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy()
    return values


def _arrow(known: Sequence[tuple[int, str, int]]) -> bytes:
    batch = pa.record_batch(
        {
            "prediction_id": pa.array([row_id for _, row_id, _ in known], pa.string()),
            "outcome": pa.array([late for _, _, late in known], pa.int64()),
            "event_time": pa.array([at for at, _, _ in known], pa.timestamp("us", "UTC")),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded
