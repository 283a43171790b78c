"""Training snapshots, for episodes and for callers."""

from __future__ import annotations

from datetime import timedelta

from services.monitor.adapters.refusals import refusals
from services.monitor.core.errors import NoTrainingRows, PrivacyHeld
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import StepRefused
from services.monitor.core.ports import BuiltSnapshot, SnapshotOrder, TrainingSnapshots


class RefusableSnapshots:
    """Implements `TrainingSnapshots`; a final answer of a peer becomes `StepRefused`.

    Args:
        snapshots: Writes them.
    """

    def __init__(self, snapshots: TrainingSnapshots) -> None:
        self._snapshots = snapshots

    async def build(self, order: SnapshotOrder) -> BuiltSnapshot:
        """See `TrainingSnapshots`."""
        with refusals("registry"):
            return await self._snapshots.build(order)


class EpisodeSnapshots:
    """Implements `SnapshotBuilder`.

    Args:
        snapshots: Writes them.
    """

    def __init__(self, snapshots: TrainingSnapshots) -> None:
        self._snapshots = snapshots

    async def build(self, episode: Episode) -> str:
        """See `SnapshotBuilder`."""
        plan = episode.plan
        start = None
        if plan.lookback_days:
            start = episode.event_time - timedelta(days=plan.lookback_days)
        order = SnapshotOrder(
            monitor=episode.monitor,
            endpoint=plan.endpoint,
            dataset=plan.dataset,
            snapshot_id=f"episode-{episode.meta.uid[:8]}",
            start=start,
            end=episode.event_time,
            template_job=plan.template_job,
            include_template_snapshot=plan.include_template_snapshot,
            request_id=episode.request_id("snapshot"),
        )
        try:
            return (await self._snapshots.build(order)).name
        except (NoTrainingRows, PrivacyHeld) as error:
            raise StepRefused(str(error)) from error
