"""How a job's search spaces are searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.common.money import Money
from services.trainer.core.money import money_from_json, money_to_json
from services.trainer.core.pruning import HyperbandPruning, MedianPruning, Pruning


class Sampler(StrEnum):
    """How the next parameters are chosen. The values are names of the contract."""

    TPE = "SAMPLER_TPE"
    RANDOM = "SAMPLER_RANDOM"
    GRID = "SAMPLER_GRID"
    CMA_ES = "SAMPLER_CMA_ES"


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search.

    Attributes:
        sampler: How the next parameters are chosen.
        pruning: Which trials are stopped early; None means none.
        max_trials: Trials to choose parameters for.
        parallel_trials: Trials at a time.
        max_duration_s: Time that attempts may have worked before the last trial starts; 0 means
            no limit.
        max_cost: What the job may have cost before the last trial starts; None means no limit.
        patience_trials: Trials in a row without a new best one; 0 means no limit.
    """

    sampler: Sampler
    pruning: Pruning | None
    max_trials: int
    parallel_trials: int = 1
    max_duration_s: float = 0.0
    patience_trials: int = 0
    max_cost: Money | None = None


def tuning_from_json(document: Mapping[str, Any]) -> Tuning:
    """The search in the proto3 JSON of the contract's Tuning, with the contract's defaults."""
    return Tuning(
        sampler=Sampler(document.get("sampler", Sampler.TPE.value)),
        pruning=_pruning_from_json(document),
        max_trials=document["max_trials"],
        parallel_trials=document.get("parallel_trials") or 1,
        max_duration_s=float(document.get("max_duration", "0s").removesuffix("s")),
        patience_trials=document.get("patience_trials", 0),
        max_cost=money_from_json(document["max_cost"]) if "max_cost" in document else None,
    )


def tuning_to_json(tuning: Tuning) -> dict[str, Any]:
    """The inverse of `tuning_from_json`, defaults included."""
    document: dict[str, Any] = {
        "sampler": tuning.sampler.value,
        "max_trials": tuning.max_trials,
        "parallel_trials": tuning.parallel_trials,
        "patience_trials": tuning.patience_trials,
    }
    if tuning.max_duration_s:
        document["max_duration"] = f"{tuning.max_duration_s:.6f}s"
    if tuning.max_cost is not None:
        document["max_cost"] = money_to_json(tuning.max_cost)
    match tuning.pruning:
        case MedianPruning(startup_trials=startup, warmup_steps=warmup):
            document["median"] = {"startup_trials": startup, "warmup_steps": warmup}
        case HyperbandPruning(min_steps=steps, reduction_factor=factor, brackets=brackets):
            document["hyperband"] = {
                "min_steps": steps,
                "reduction_factor": factor,
                "brackets": brackets,
            }
        case None:
            pass
    return document


def _pruning_from_json(document: Mapping[str, Any]) -> Pruning | None:
    if "median" in document:
        found, usual = document["median"], MedianPruning()
        return MedianPruning(
            found.get("startup_trials") or usual.startup_trials, found.get("warmup_steps", 0)
        )
    if "hyperband" in document:
        found, default = document["hyperband"], HyperbandPruning()
        return HyperbandPruning(
            found.get("min_steps") or default.min_steps,
            found.get("reduction_factor") or default.reduction_factor,
            found.get("brackets") or default.brackets,
        )
    return None
