"""Whether the rows that shall judge a version are new to it and to those that it descends from.

The registry's ledger refuses a second look when it is recorded; here it is found before hours of
training are spent on it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from roundhouse.registry.v1 import model_pb2

from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.core.failures import DataFault
from services.trainer.core.parents import Mode
from services.trainer.core.purposes import Purpose
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Indices, Split, rows_digest

SPLIT_FILE = "split.parquet"


async def check_fresh(spec: JobSpec, split: Split, registry: RegistryClient) -> None:
    """That validation and test part can judge a version which descends from another.

    Raises:
        DataFault: The parent or one that it descends from was tested or selected on the rows of
            the test part; or, in a mode that takes something over, was trained on rows that shall
            judge what becomes of it.
        DependencyAway: The registry does not answer.
    """
    if not spec.parent_version:
        return
    looks = await registry.looks_at(
        spec.snapshot, rows_digest(split.test), (Purpose.TEST, Purpose.SELECTION)
    )
    if not looks and spec.mode is Mode.FULL:
        return
    line = await registry.line_of(spec.parent_version)
    for version in line:
        if version.name in looks:
            raise DataFault(
                f"the rows of the test part have judged {version.name} before, in "
                f"{looks[version.name]}: a second look by what descends from it would be no test; "
                f"take a snapshot of newer rows"
            )
    if spec.mode is Mode.FULL:
        return
    judging = np.concatenate([split.validation, split.test])
    for version in line:
        if spec.snapshot in version.snapshots:
            await _check_untrained(version, judging, registry)


async def _check_untrained(
    version: model_pb2.ModelVersion, judging: Indices, registry: RegistryClient
) -> None:
    if SPLIT_FILE not in {file.path for file in version.files}:
        return
    data = await registry.artifact(version, SPLIT_FILE)
    known = np.intersect1d(_rows(data, ("train", "validation")), judging)
    if len(known):
        raise DataFault(
            f"{version.name} was trained on {len(known)} of the {len(judging)} rows that shall "
            "judge what takes over from it; take a snapshot of newer rows"
        )


def _rows(data: bytes, parts: Collection[str]) -> Indices:
    table = pq.read_table(pa.BufferReader(data))
    part = np.asarray(table["part"].cast(pa.string()).to_pylist(), dtype=object)
    rows: Indices = table["row"].to_numpy()[np.isin(part, list(parts))]
    return rows
