"""Half a year of an airline's monitor, and peers that know how its version came to serve."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.common.resources import Meta
from services.common.rpc.server import serving
from services.common.store.database import Database
from services.monitor.core.alerts.failures import Findings
from services.monitor.core.deciding import Choice
from services.monitor.core.evidence import Evidence
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import (
    AttributionDrift,
    AttributionPoint,
    ChangeKind,
    DecisionKind,
    DriftPoint,
    DriftReport,
    HistogramBin,
    PerformanceReport,
    RetrainPolicy,
    Severity,
    SliceDrift,
    SlicePoint,
    SliceQuality,
)
from services.monitor.core.slos.objectives import (
    BudgetAction,
    BudgetRule,
    QualityBar,
    Sli,
    SliKind,
    Slo,
)
from services.monitor.core.use_cases.failures import note_failure
from services.monitor.core.use_cases.identities import new_meta
from services.monitor.core.use_cases.retraining import record_decision, save_episode
from services.monitor.core.use_cases.slos import create_slo
from services.monitor.settings import MonitorSettings
from services.monitor.wiring import monitor
from tests.support.dashboard_peers import CANDIDATE, FIRST_WEEK, ROLLOUT, Peers, peer_apis
from tests.support.job_failures import job_failure
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import (
    CHAMPION,
    DATASET,
    JOB,
    MONITOR,
    policy_of,
    watched,
)
from tests.support.processes import free_ports

APPROVAL = f"{CANDIDATE}/approvals/a"
FEATURES = ("wind", "temperature", "visibility", "carrier", "origin", "hour", "distance", "score")
WEEKS = 24


@dataclass
class Scene:
    """A dashboard with something to see.

    Attributes:
        url: Of the page.
        monitor: Address of the monitor.
        peers: Address of registry, trainer and inference.
        database: The monitor's, opened once more, as a replica would.
        waiting: The episode that waits for an approval.
    """

    url: str
    monitor: str
    peers: str
    database: Database
    waiting: Episode


@asynccontextmanager
async def dashboard_scene(
    folder: Path, history: Callable[[MonitorTx], Episode] | None = None
) -> AsyncIterator[Scene]:
    """A real monitor with half a year behind it, or another history, and its page."""
    database_url = f"sqlite:///{folder / 'metadata.db'}"
    (port,) = free_ports(1)
    async with monitor_database(database_url) as database:
        waiting = await written(database, history or write_history)
        (first, *_) = await written(database, lambda tx: tx.episodes.under(MONITOR))
        async with serving("peers", "127.0.0.1:0", peer_apis(Peers(first.meta.uid))) as peers:
            peers.set_serving()
            address = f"127.0.0.1:{peers.port}"
            settings = MonitorSettings(
                listen="127.0.0.1:0",
                dashboard_listen=f"127.0.0.1:{port}",
                data_dir=folder,
                database_url=database_url,
                registry_address=address,
                trainer_address=address,
                inference_address=address,
                drain_timeout_s=2.0,
            )
            async with monitor(settings) as server:
                server.set_serving()
                url, own = f"http://127.0.0.1:{port}/", f"127.0.0.1:{server.port}"
                yield Scene(url, own, address, database, waiting)


def end_waiting_episode(tx: MonitorTx, waiting: Episode) -> Episode:
    """The person said no."""
    return save_episode(
        tx, waiting.moved_to(EpisodeState.REJECTED, tx.now, message="Wind sensors first."), {}
    )


def write_history(tx: MonitorTx) -> Episode:
    """Half a year of one monitor; gives the episode that waits for an approval."""
    watched(tx, owner="on-call@airline.example", slices=("carrier",))
    policy = policy_of(tx)
    bar = Sli(SliKind.QUALITY, quality=QualityBar("auc", 0.73, 1))
    create_slo(
        tx,
        f"{MONITOR}/slos/good",
        lambda meta: Slo(
            meta=meta, sli=bar, target=0.9, min_bad_events=1, budget_policy=(_FREEZE,)
        ),
    )
    for week in range(WEEKS):
        _write_week(tx, week)
    _lose_workers(tx)
    _walked(tx, _retrain(tx, policy, 3), _WAY)
    _decline(tx, policy, 6, "MARGINAL", "Different in this window alone: temperature (0 drifted).")
    _walked(tx, _retrain(tx, policy, 9), [*_WAY[:2], (EpisodeState.FAILED, _GUST_IS_GONE)])
    _decline(tx, policy, 10, "COOL_DOWN", "Declined: the last episode ended 7.0 days ago.")
    return _walked(tx, _retrain(tx, policy, 21), _WAY[:5])


def _lose_workers(tx: MonitorTx) -> None:
    """Three workers on one machine, of two jobs."""
    found = Findings(("epoch 3 of 40", "worker w-1 is gone"), (), "mlp-1, step 2, sha256:ab")
    for job, attempt in (("first-0", 1), ("first-0", 2), ("fares-9", 1)):
        lost = job_failure(
            job, attempt, "WORKER_LOST", tx.now, node="n7", message="worker w-1 is gone"
        )
        note_failure(tx, lost, found)


_FREEZE = BudgetRule(BudgetAction.FREEZE_TRAINING, 0.1, 0.25)
_GUST_IS_GONE = {"message": "The template job's column `gust` is gone."}
_WAY = (
    (EpisodeState.SNAPSHOT_BUILT, {"snapshot": f"{DATASET}/snapshots/s"}),
    (EpisodeState.TRAINING, {"training_job": JOB}),
    (EpisodeState.EVALUATING, {"candidate": CANDIDATE}),
    (EpisodeState.GATED, {"message": "AUC 0.7312 is at least 0.7208."}),
    (EpisodeState.AWAITING_APPROVAL, {"approval": APPROVAL}),
    (EpisodeState.ROLLING_OUT, {"rollout": ROLLOUT}),
    (EpisodeState.PROMOTED, {"message": "Every phase passed."}),
)


def _walked(tx: MonitorTx, episode: Episode, way: Sequence[tuple[EpisodeState, Any]]) -> Episode:
    for state, facts in way:
        episode = save_episode(tx, episode.moved_to(state, tx.now, **facts), {})
    return episode


def _write_week(tx: MonitorTx, week: int) -> None:
    key = f"{FIRST_WEEK + timedelta(weeks=week):%Y%m%dt%H%M%Sz}"
    tx.drift_reports.add(_drift(new_meta(tx, f"{MONITOR}/driftReports/{key}"), week))
    for version, suffix in (("", ""), (CHAMPION, "-serving")):
        name = f"{MONITOR}/performanceReports/{key}{suffix}"
        tx.performance_reports.add(_performance(new_meta(tx, name), week, version))


def drift_reports() -> list[DriftReport]:
    """Those of the half year, the oldest first, without a database."""
    meta = Meta(f"{MONITOR}/driftReports/r", "r", 1, FIRST_WEEK, FIRST_WEEK)
    return [_drift(meta, week) for week in range(WEEKS)]


def _drift(meta: Meta, week: int) -> DriftReport:
    start = FIRST_WEEK + timedelta(weeks=week)
    shift = _shift(week)
    points = tuple(
        _point(name, (shift if name == "wind" else 0.0) + 0.12 * math.sin(week + i), shift > 0.5)
        for i, name in enumerate(FEATURES)
    )
    drifting = any(point.drifted for point in points)
    return DriftReport(
        meta=meta,
        baseline_version=CHAMPION,
        window_start=start,
        window_end=start + timedelta(weeks=1),
        rows=6000 + 40 * week,
        points=points,
        change=ChangeKind.DATA_DRIFT if drifting else ChangeKind.NONE,
        severity=Severity.TICKET if drifting else Severity.NONE,
        reason="Wind goes further than it did in training: 3 of the last 4 windows show it."
        if drifting
        else "Nothing goes further than it did in training.",
        slices=_in_slices(week),
        attributions=_attributions(week),
    )


def _attributions(week: int) -> AttributionDrift:
    """The scores have left the wind for the origin."""
    hits = min(4, max(0, week - 16))
    points = tuple(
        AttributionPoint(
            feature=feature,
            baseline=before,
            window=now if hits else before,
            half_width=0.15,
            moved=hits > 0,
            hits=hits,
            lasts=hits >= 3,
        )
        for feature, before, now in (("wind", 0.6, 0.1), ("origin", 0.05, 0.5))
    )
    moved = sum(point.moved for point in points)
    lasting = sum(point.lasts for point in points)
    return AttributionDrift(
        baseline_rows=900,
        window_rows=1000,
        measured=2,
        moved=moved,
        lasting=lasting,
        points=points,
    )


def _in_slices(week: int) -> SliceDrift:
    """The wind has gone from what was trained on at one carrier, twice as far as over all."""
    points = tuple(
        _in_slice(carrier, _point("wind", shift, may_drift=True), hits)
        for carrier, shift, hits in (
            ("HA", 2 * _shift(week), min(4, max(0, week - 16))),
            ("UA", 0, 0),
        )
    )
    standing_out = sum(point.stands_out for point in points)
    lasting = sum(point.lasts for point in points)
    return SliceDrift(
        measured=2, standing_out=standing_out, lasting=lasting, points=points, unsliced=()
    )


def _in_slice(carrier: str, point: DriftPoint, hits: int) -> SlicePoint:
    return SlicePoint(
        slice_feature="carrier",
        slice_value=carrier,
        feature=point.feature,
        effect_size=point.effect_size,
        threshold=point.threshold,
        q_value=point.q_value,
        baseline_rows=sum(each.baseline_count for each in point.bins),
        window_rows=sum(each.window_count for each in point.bins),
        stands_out=point.drifted,
        hits=hits if point.drifted else 0,
        lasts=point.drifted and hits >= 3,
        bins=point.bins,
    )


def _performance(meta: Meta, week: int, version: str) -> PerformanceReport:
    start = FIRST_WEEK + timedelta(weeks=week)
    shift = _shift(week)
    return PerformanceReport(
        meta=meta,
        version=version,
        window_start=start,
        window_end=start + timedelta(weeks=1),
        predictions=6000 + 40 * week,
        outcomes=5900 + 40 * week,
        metrics={
            "auc": 0.735 - 0.03 * shift + 0.006 * math.sin(week),
            "log_loss": 0.44 + 0.02 * shift,
        },
        auc_half_width=0.011,
        log_loss_half_width=0.008,
        slices=tuple(
            SliceQuality(
                feature="carrier",
                value=carrier,
                predictions=rows + 10,
                outcomes=rows,
                metrics={"auc": auc, "log_loss": 0.44} if auc else {"log_loss": 0.7},
                auc_half_width=0.01 if auc else 0.0,
                log_loss_half_width=0.02 if auc else 0.0,
            )
            for carrier, rows, auc in (("UA", 4000, 0.73), ("HA", 900, 0.61), ("OO", 1, 0.0))
        ),
    )


def _shift(week: int) -> float:
    """How far the wind has gone from what was trained on."""
    return max(0, week - 16) * 0.25


def _point(feature: str, shift: float, may_drift: bool) -> DriftPoint:
    def count(bin_: int, mean: float) -> int:
        return round(1000 * math.exp(-((bin_ - 5 - 3 * mean) ** 2) / 8))

    effect = min(1.0, abs(shift) * 0.3)
    drifted = may_drift and effect >= 0.1
    return DriftPoint(
        feature=feature,
        statistic=100 * effect,
        effect_size=effect,
        p_value=1e-9 if drifted else 0.5,
        q_value=1e-8 if drifted else 0.7,
        baseline_rows=40_000,
        window_rows=6_000,
        threshold=0.1,
        algorithm="numeric",
        significant=drifted,
        drifted=drifted,
        bins=tuple(
            HistogramBin(f"[{bin_}, {bin_ + 1})", 7 * count(bin_, 0.0), count(bin_, shift))
            for bin_ in range(12)
        ),
        reason=f"{feature} is {effect:.2f} away; 0.10 counts once it lasts.",
    )


def _decline(tx: MonitorTx, policy: RetrainPolicy, week: int, reason: str, words: str) -> None:
    choice = Choice(DecisionKind.DECLINED, reason, words, {}, "")
    evidence = Evidence(event_time=FIRST_WEEK + timedelta(weeks=week))
    record_decision(tx, policy, choice, evidence, CHAMPION)


def _retrain(tx: MonitorTx, policy: RetrainPolicy, week: int) -> Episode:
    start = FIRST_WEEK + timedelta(weeks=week - 1)
    choice = Choice(
        DecisionKind.TRIGGERED,
        "DATA_DRIFT",
        "Drifted: wind (1 drifted, 1 suffices).",
        {},
        f"{MONITOR}/driftReports/{start:%Y%m%dt%H%M%Sz}",
    )
    evidence = Evidence(event_time=start + timedelta(weeks=1))
    decision = record_decision(tx, policy, choice, evidence, CHAMPION)
    episode = tx.episodes.get(decision.episode)
    assert episode is not None
    return replace(episode)
