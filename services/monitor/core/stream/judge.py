"""Judges rollouts on the predictions that are being followed."""

from __future__ import annotations

from datetime import datetime

from services.monitor.core.stream.follower import Follower
from services.monitor.core.verdicts import RolloutVerdict, Verdict, judge_rollout


class FollowedJudge:
    """Implements `Judge`.

    Args:
        follower: Knows the predictions of the newest windows.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def judge(
        self, endpoint: str, candidate: str, champion: str, since: datetime, min_outcomes: int
    ) -> RolloutVerdict:
        """See `Judge`."""
        new = await self._follower.predictions(endpoint, candidate, since)
        old = await self._follower.predictions(endpoint, champion, since)
        if new is None or old is None:
            return RolloutVerdict(Verdict.INCONCLUSIVE, f"No monitor watches {endpoint!r}.", {})
        return judge_rollout(new, old, min_outcomes=min_outcomes)
