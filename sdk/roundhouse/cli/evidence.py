"""What is known of a rollout by now: what inference keeps, and what the monitor sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from roundhouse.cli.output import ERR
from roundhouse.client import Client
from roundhouse.client.errors import Unavailable
from roundhouse.inference.v1.rollout_pb2 import Phase, Rollout
from roundhouse.inference.v1.rollout_service_pb2 import GetRolloutRequest, GetShadowReportRequest
from roundhouse.inference.v1.shadow_pb2 import ShadowReport
from roundhouse.monitor.v1.judgement_service_pb2 import JudgeRolloutRequest

_WHOLE_BASIS_POINTS: Final = 10_000
_ROLLOUT_ALPHA: Final = 0.05
"""What the phases of a rollout share; see `Criteria.alpha`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A rollout with everything that speaks for and against it.

    Attributes:
        rollout: Its present share of the traffic has the findings of this moment.
        shadows: Comparisons of the shadow phases that have begun, in order.
    """

    rollout: Rollout
    shadows: list[ShadowReport]


def evidence_of(client: Client, name: str) -> Evidence:
    """The rollout called `name` as it stands.

    While the monitor is away, the present phase has no findings, and a line on stderr says so.
    """
    rollout = client.rollouts.GetRollout(GetRolloutRequest(name=name))
    if rollout.state in (Rollout.STATE_RUNNING, Rollout.STATE_PAUSED):
        try:
            _add_findings(client, rollout)
        except Unavailable:
            ERR.print("The monitor is away: what it sees of the present phase is not known.")
    return Evidence(rollout, shadow_reports(client, rollout))


def shadow_reports(client: Client, rollout: Rollout) -> list[ShadowReport]:
    """Comparisons of the shadow phases that have begun, in order."""
    return [
        client.rollouts.GetShadowReport(
            GetShadowReportRequest(name=f"{rollout.name}/shadows/{outcome.phase}")
        )
        for outcome in rollout.outcomes
        if rollout.phases[outcome.phase].kind == Phase.KIND_SHADOW
    ]


def _add_findings(client: Client, rollout: Rollout) -> None:
    """Ask the monitor of the present phase what inference asks of it, which it keeps at the end."""
    if not rollout.outcomes or rollout.outcomes[-1].HasField("end_time"):
        return
    present = rollout.outcomes[-1]
    phase = rollout.phases[present.phase]
    if phase.kind != Phase.KIND_CANARY:
        return
    request = JudgeRolloutRequest(
        endpoint=rollout.name.rpartition("/rollouts/")[0],
        candidate=rollout.version,
        champion=rollout.previous_version,
        since_time=present.start_time,
        min_outcomes=phase.min_outcomes,
        criteria=phase.criteria,
        alone=phase.weight_basis_points == _WHOLE_BASIS_POINTS,
    )
    if not phase.criteria.HasField("alpha"):
        request.criteria.alpha = _ROLLOUT_ALPHA / len(rollout.phases)
    found = client.judgements.JudgeRollout(request)
    present.reason = found.reason
    present.ClearField("numbers")
    present.numbers.update(found.numbers)
    present.ClearField("findings")
    present.findings.extend(found.findings)
