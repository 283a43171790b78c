"""What can't be trained faster, or not on this trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.abilities import Ability, unable
from services.trainer.core.spec import JobSpec


def acceleration_faults(
    spec: JobSpec, abilities: Mapping[str, Ability], gpus: int, root: str
) -> Iterator[FieldViolation]:
    """Everything in `spec` that keeps it from being accelerated as it asks.

    Args:
        spec: As it was sent.
        abilities: What each algorithm there is can do.
        gpus: That this trainer has.
        root: Path of the spec.
    """
    asked = spec.acceleration
    if asked is None:
        return
    path = f"{root}.acceleration"
    if spec.gpus > gpus:
        text = f"takes {spec.gpus} GPUs, one for each worker; this trainer has {gpus}"
        yield FieldViolation(f"{path}.device", text)
    if asked.compile:
        why = "which can't be compiled"
        yield from unable(spec, abilities, lambda each: each.compiles, why, root)
    else:
        why = "which can't be accelerated"
        yield from unable(spec, abilities, lambda each: each.accelerates, why, root)
    if spec.mode.keeps_the_graph:
        yield FieldViolation(path, f"is for networks that are trained; {spec.mode} trains none")
    if spec.privacy is not None:
        text = "clips gradients row by row on the CPU: leave it out with acceleration"
        yield FieldViolation(f"{root}.privacy", text)
    if asked.compile and spec.parallelism is not None:
        text = "is for one worker: the shards of a batch are computed one by one"
        yield FieldViolation(f"{path}.compile", text)
