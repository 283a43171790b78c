"""Dry runs of retrain policies against what was judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.common.errors import FieldViolation, InvalidRequest
from services.common.money import Money
from services.monitor.core.errors import DryRunTooLong
from services.monitor.core.ports import MonitorTx
from services.monitor.core.replaying import Replayed, known_cost, replayed, usual_span
from services.monitor.core.resources import RetrainPolicy
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.use_cases.policies import check_policy

MAX_WINDOWS: Final = 10_000
"""Of one dry run: a year of hourly windows."""


@dataclass(frozen=True, slots=True)
class DryRunOrder:
    """What is to be tried.

    Attributes:
        monitor: By resource name.
        policy: To try; None: the monitor's own, all together.
        start: Earliest end of a window, inclusive.
        end: Latest end of a window, exclusive.
        span: That an assumed episode lasts, in event time; None: as long as they usually do.
    """

    monitor: str
    policy: RetrainPolicy | None
    start: datetime
    end: datetime
    span: timedelta | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What came of it.

    Attributes:
        decisions: In the order of event time.
        templates: By policy, the job whose spec its retrainings would have repeated.
        windows: That were decided on.
        unkept: Judged windows in the range without evidence.
        real_episodes: That were started on the range's windows.
        span: That an assumed episode lasts.
        usual_cost: What the newest retraining was charged; None if that is not known.
        weighs_costs: Whether a policy's decisions depend on costs.
    """

    decisions: Sequence[Replayed]
    templates: Mapping[str, str]
    windows: int
    unkept: int
    real_episodes: int
    span: timedelta
    usual_cost: Money | None
    weighs_costs: bool

    @property
    def started(self) -> Sequence[Replayed]:
        """The decisions that would have started an episode."""
        return [decision for decision in self.decisions if decision.episode is not None]

    @property
    def declined(self) -> Mapping[str, int]:
        """Declined decisions by reason."""
        return Counter(
            decision.choice.reason for decision in self.decisions if decision.episode is None
        )

    def cost_of(self, decision: Replayed, templates: Mapping[str, Money | None]) -> Money | None:
        """What a started episode was charged, or would be.

        Args:
            decision: One of `started`.
            templates: What the template jobs were charged, where that is known.
        """
        real = decision.episode.real if decision.episode else None
        charged = real.cost if real else None
        return charged or self.usual_cost or templates.get(self.templates[decision.policy])


def dry_run(tx: MonitorTx, order: DryRunOrder) -> DryRun:
    """What policies would have decided on the windows of a range.

    Raises:
        MonitorNotFound: There is none.
        InvalidRequest: The range or the policy makes no sense.
        DryRunTooLong: The range holds more than `MAX_WINDOWS` judged windows.
    """
    monitor = the_monitor(tx, order.monitor, "parent")
    if order.start >= order.end:
        raise InvalidRequest([FieldViolation("end_time", "must be later than start_time")])
    policies: Sequence[RetrainPolicy] = tx.policies.under(order.monitor)
    if order.policy is not None:
        check_policy(order.policy)
        policies = [order.policy]
    span = (order.start, order.end)
    judgements = tx.judgements_between(order.monitor, *span, MAX_WINDOWS + 1)
    if len(judgements) > MAX_WINDOWS:
        raise DryRunTooLong(MAX_WINDOWS)
    episodes = tx.episodes.under(order.monitor)
    lasting = usual_span(episodes, monitor.window) if order.span is None else order.span
    return DryRun(
        decisions=list(replayed(policies, judgements, episodes, lasting)),
        templates={policy.meta.name: policy.template_job for policy in policies},
        windows=len(judgements),
        unkept=tx.judged_windows_between(order.monitor, *span) - len(judgements),
        real_episodes=sum(order.start <= each.event_time < order.end for each in episodes),
        span=lasting,
        usual_cost=known_cost(episodes),
        weighs_costs=any(policy.budget or policy.worth_of_hundredth for policy in policies),
    )
