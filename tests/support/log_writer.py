"""Takes batches in until it is killed: `python -m tests.support.log_writer URL OPTIONS FIRST`.

Prints `ready`, then the id of each batch once it is acknowledged, and in between `commits` so
that a killer can choose its moment.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

from services.monitor.core.stream.batches import ObservationBatch, OutcomeBatch
from tests.support.prediction_logs import LogPlace, WrittenLog, written_log
from tests.support.predictions import DAY, MONDAY, World

ROWS = 20


async def main(place: LogPlace, first: int) -> None:
    async with written_log(place) as written:
        print("ready", flush=True)
        for number in itertools.count(first, 4):
            await asyncio.gather(*(_send(written, number + each) for each in range(4)))


async def _send(written: WrittenLog, number: int) -> None:
    world = World(number)
    rows = world.observations(ROWS, MONDAY, MONDAY + 7 * DAY)
    ids = [f"{number}/{each}" for each in rows.column("prediction_id").to_pylist()]
    rows = rows.set_column(0, "prediction_id", [ids])
    await written.committer.submit(ObservationBatch, f"o{number}", rows)
    print(f"o{number}", flush=True)
    await written.committer.submit(OutcomeBatch, f"y{number}", world.outcomes(rows))
    print(f"y{number}", flush=True)


if __name__ == "__main__":
    url, options, start = sys.argv[1:]
    asyncio.run(main(LogPlace(url, json.loads(options)), int(start)))
