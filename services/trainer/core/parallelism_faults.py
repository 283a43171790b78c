"""What can't be trained by several workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.abilities import Ability, unable
from services.trainer.core.spec import JobSpec


def parallelism_faults(
    spec: JobSpec, abilities: Mapping[str, Ability], root: str
) -> Iterator[FieldViolation]:
    """Everything in `spec` that its workers can't share, or not so.

    Args:
        spec: As it was sent.
        abilities: What each algorithm there is can do.
        root: Path of the spec.
    """
    asked = spec.parallelism
    if asked is None:
        return
    path = f"{root}.parallelism"
    if asked.min_workers > asked.max_workers:
        text = f"is {asked.min_workers}; must not be above max_workers, {asked.max_workers}"
        yield FieldViolation(f"{path}.min_workers", text)
    if asked.max_workers > asked.shards:
        text = f"is {asked.max_workers}; more than the {asked.shards} shards have nothing to do"
        yield FieldViolation(f"{path}.max_workers", text)
    why = "which workers can't train together"
    yield from unable(spec, abilities, lambda each: each.trains_in_parallel, why, root)
    if spec.mode.keeps_the_graph:
        yield FieldViolation(path, f"is for networks that are trained; {spec.mode} trains none")
    if spec.privacy is not None:
        text = "draws its batches and noise in one place: leave it out with parallelism"
        yield FieldViolation(f"{root}.privacy", text)
    if spec.lanes > 1:
        text = f"is {spec.lanes}; with parallelism the workers share one trial at a time: set 1"
        yield FieldViolation(f"{root}.tuning.parallel_trials", text)
