"""The split that a spec asks for, of the rows that there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from services.trainer.core.failures import DataFault
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import (
    Split,
    SplitMethod,
    split_by_chance,
    split_by_group,
    split_by_time,
    split_stratified,
)
from services.trainer.core.tables import Table

MICROS: Final = 1_000_000


def parted_after(spec: JobSpec, table: Table, until_us: int | None) -> Split:
    """The rows of `table` that are later than `until_us`, parted as `spec` says; None means all.

    Args:
        spec: Says how.
        table: The snapshot.
        until_us: Microseconds since the epoch.

    Raises:
        DataFault: There are none, or they can't be parted so.
    """
    if until_us is None:
        return parted(spec, table)
    rows = np.flatnonzero(table.event_time_us > until_us)
    if not len(rows):
        last = datetime.fromtimestamp(until_us / MICROS, UTC).isoformat()
        raise DataFault(
            f"none of the {len(table)} rows of the snapshot is later than {last}, until when "
            "parent_version has learned; take a snapshot with newer rows"
        )
    split = parted(spec, table.take(rows))
    return Split(rows[split.train], rows[split.validation], rows[split.test])


def parted(spec: JobSpec, table: Table) -> Split:
    """The rows of `table`, parted as `spec` says; deterministic.

    Raises:
        DataFault: They can't be parted so; the text names the field of the spec.
    """
    times = table.event_time_us
    match spec.split_method:
        case SplitMethod.TIME:
            return split_by_time(times, spec.shares)
        case SplitMethod.RANDOM:
            return split_by_chance(len(table), spec.shares, spec.seed).ordered_by(times)
        case SplitMethod.STRATIFIED:
            split = split_stratified(table.label, spec.shares, spec.seed, table.classes)
            return split.ordered_by(times)
        case SplitMethod.GROUPED:
            if table.groups is None:
                raise DataFault("split.group_column was not read with the rows")
            return split_by_group(table.groups, spec.shares, spec.seed).ordered_by(times)
