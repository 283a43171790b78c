"""How well the versions of each model did, on one scale for all kinds of model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from services.common.names import parent_of
from services.monitor.core.resources import PerformanceReport

_RECALL: Final = "recall."


@dataclass(frozen=True, slots=True)
class Skill:
    """A metric as the share of the way from the trivial baseline, 0, to no error, 1.

    The trivial baseline gives every row the same answer; what does worse is below 0. (Murphy, A.
    H.: Skill scores based on the mean square error, 1988.)

    Attributes:
        metric: That it is of.
        value: Of the metric.
        share: Of the way.
        half_width: Of the 95 % interval of `share`; 0 where it is not known.
    """

    metric: str
    value: float
    share: float
    half_width: float = 0.0


def skill_of(metrics: Mapping[str, float], half_widths: Mapping[str, float]) -> Skill | None:
    """The skill that these metrics show; None where none of them has a known baseline.

    Of two classes it is that of `auc`, whose baseline is a half (the Gini coefficient); of more
    classes that of `balanced_accuracy`, whose baseline is one part in as many as have rows; of
    quantities it is `r2`, which is a skill already.

    Args:
        metrics: Of the same rows.
        half_widths: Of their 95 % intervals, where known.
    """
    classes = sum(1 for name in metrics if name.startswith(_RECALL))
    floors = {
        "auc": 0.5,
        "r2": 0.0,
        **({"balanced_accuracy": 1 / classes} if classes > 1 else {}),
    }
    for metric, floor in floors.items():
        if metric in metrics:
            value, room = metrics[metric], 1 - floor
            half_width = half_widths.get(metric, 0.0) / room
            return Skill(metric, value, (value - floor) / room, half_width)
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """That a version came to have all the traffic of an endpoint.

    Attributes:
        version: By resource name.
        endpoint: By resource name.
        since: The clock of inference.
    """

    version: str
    endpoint: str
    since: datetime


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """What a version scored on the rows that it was registered with.

    Attributes:
        evaluation: By resource name.
        metrics: By name.
        half_widths: Of the 95 % intervals, where known.
        slices: Metrics by feature and value of a slice.
    """

    evaluation: str
    metrics: Mapping[str, float]
    half_widths: Mapping[str, float]
    slices: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Histories:
    """What other services know of a project's models.

    Attributes:
        models: By resource name, those that never served too.
        services: Of all endpoints, in the order of their time.
        tests: Of the versions that served, by resource name; those without a test are left out.
        left_out: Models beyond the most that are told.
    """

    models: Sequence[str]
    services: Sequence[Service]
    tests: Mapping[str, HeldOutScore]
    left_out: int


class ModelHistories(Protocol):
    """Which versions of which models served."""

    async def of(self, project: str) -> Histories:
        """Those of a project.

        Raises:
            RemoteError: The registry or inference is away.
        """
        ...

    async def test_of(self, version: str) -> HeldOutScore | None:
        """What a version scored before it served; None where the registry has no test of it.

        Raises:
            RemoteError: The registry is away, or has no such version.
        """
        ...


@dataclass(frozen=True, slots=True)
class LiveQuality:
    """A version's skill in one window, by the outcomes that are known."""

    report: PerformanceReport
    skill: Skill


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version that served.

    Attributes:
        services: Where, in the order of time.
        test: What it scored before it served; None where the registry has no test of it.
        skill: Of that; None where no metric of it has a known baseline.
        live: What it scored while it served, the oldest window first.
    """

    version: str
    services: tuple[Service, ...]
    test: HeldOutScore | None
    skill: Skill | None
    live: tuple[LiveQuality, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A model with those of its versions that served, in the order in which they first did."""

    model: str
    versions: tuple[ServedVersion, ...]


def families_of(histories: Histories, reports: Iterable[PerformanceReport]) -> Sequence[Family]:
    """Each model with the versions that served; those of which none ever did come last.

    Args:
        histories: Of the project.
        reports: Of the project's monitors, on single versions, in any order.
    """
    live: dict[str, list[LiveQuality]] = {}
    for report in sorted(reports, key=lambda each: each.window_start):
        half_widths = {"auc": report.auc_half_width, "log_loss": report.log_loss_half_width}
        skill = skill_of(report.metrics, half_widths)
        if skill is not None:
            live.setdefault(report.version, []).append(LiveQuality(report, skill))
    services: dict[str, list[Service]] = {}
    for each in histories.services:
        services.setdefault(each.version, []).append(each)
    versions: dict[str, list[ServedVersion]] = {}
    for version, where in services.items():
        test = histories.tests.get(version)
        versions.setdefault(model_of(version), []).append(
            ServedVersion(
                version,
                tuple(where),
                test,
                skill_of(test.metrics, test.half_widths) if test else None,
                tuple(live.get(version, ())),
            )
        )
    families = [Family(model, tuple(versions.get(model, ()))) for model in histories.models]
    return sorted(families, key=lambda family: (not family.versions, family.model))


def model_of(version: str) -> str:
    """The model of a version, by resource name."""
    return parent_of(version)
