"""The split that a spec asks for, of the rows that there are."""

from __future__ import annotations

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
