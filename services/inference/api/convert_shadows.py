"""Shadow reports to their messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from roundhouse.inference.v1 import shadow_pb2 as pb

from services.common.rpc.convert import to_timestamp
from services.inference.core.shadows import (
    Interval,
    ShadowReport,
    agreement,
    latency_quantile_s,
    score_distance,
    score_shift,
)


def shadow_report_message(report: ShadowReport) -> pb.ShadowReport:
    """`report` as it goes over the wire."""
    meta, tally = report.meta, report.tally
    return pb.ShadowReport(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        version=report.version,
        champion=report.champion,
        mirrored_requests=tally.mirrored,
        compared_requests=tally.compared,
        failed_requests=tally.failed,
        dropped_requests=tally.dropped,
        expired_requests=tally.expired,
        compared_rows=tally.rows,
        agreement=_estimate(agreement(tally)),
        score_shift=_estimate(score_shift(tally)),
        mean_score_distance=tally.distance_sum / tally.compared if tally.compared else 0.0,
        score_distribution_distance=score_distance(tally),
        champion_score_counts=tally.champion_scores,
        candidate_score_counts=tally.candidate_scores,
        champion_latency=_latency(tally.champion_latencies),
        candidate_latency=_latency(tally.candidate_latencies),
    )


def _estimate(interval: Interval | None) -> pb.ShadowReport.Estimate | None:
    if interval is None:
        return None
    return pb.ShadowReport.Estimate(value=interval.value, low=interval.low, high=interval.high)


def _latency(counts: Sequence[int]) -> pb.ShadowReport.Latency | None:
    p50_s, p99_s = latency_quantile_s(counts, 0.5), latency_quantile_s(counts, 0.99)
    if p50_s is None or p99_s is None:
        return None
    message = pb.ShadowReport.Latency()
    message.p50.FromTimedelta(timedelta(seconds=p50_s))
    message.p99.FromTimedelta(timedelta(seconds=p99_s))
    return message
