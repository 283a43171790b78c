"""Judges rollouts on the predictions that are being followed."""

from __future__ import annotations

from functools import partial

from services.common.criteria import Verdict
from services.monitor.core.ports import RolloutCase
from services.monitor.core.stream.follower import Follower
from services.monitor.core.stream.trials import TrialSpec
from services.monitor.core.verdicts import RolloutVerdict, judge_rollout
from services.monitor.core.windows import to_us


class FollowedJudge:
    """Implements `Judge`.

    Args:
        follower: Counts what both versions do.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def judge(self, case: RolloutCase) -> RolloutVerdict:
        """See `Judge`."""
        spec = TrialSpec.of(
            case.endpoint, case.candidate, case.champion, to_us(case.since), case.criteria
        )
        ask = partial(
            judge_rollout,
            criteria=case.criteria,
            min_outcomes=case.min_outcomes,
            alone=case.alone,
        )
        found = await self._follower.compared(spec, ask)
        if found is None:
            return RolloutVerdict(
                Verdict.INCONCLUSIVE, f"No monitor watches {case.endpoint!r}.", {}
            )
        return found
