"""Monitors and their reports to and from their protos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from roundhouse.monitor.v1 import monitor_pb2 as pb

from services.common.resources import Meta
from services.common.rpc.convert import from_duration, to_duration, to_timestamp
from services.monitor.core.resources import (
    AttributionDrift,
    DataFault,
    DriftPoint,
    DriftReport,
    DriftTest,
    HistogramBin,
    Monitor,
    PerformanceReport,
    SlicePoint,
)
from services.monitor.core.slices import COMPARED, standings

_DEFAULT_TEST = DriftTest()


def span(duration: Duration) -> timedelta:
    """A length of time."""
    return timedelta(seconds=from_duration(duration))


def monitor_to_proto(monitor: Monitor) -> pb.Monitor:
    """The monitor on the wire."""
    meta, test = monitor.meta, monitor.drift_test
    return pb.Monitor(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        endpoint=monitor.endpoint,
        window=to_duration(monitor.window.total_seconds()),
        outcome_delay=to_duration(monitor.outcome_delay.total_seconds()),
        drift_test=pb.DriftTest(
            false_discovery_rate=test.false_discovery_rate,
            effect_floor=test.effect_floor,
            persistence_hits=test.persistence_hits,
            persistence_windows=test.persistence_windows,
            min_rows=test.min_rows,
            false_alarm_budget=test.false_alarm_budget,
        ),
        dataset=monitor.dataset,
        owner=monitor.owner,
        slices=monitor.slices,
    )


def monitor_maker(message: pb.Monitor) -> Callable[[Meta], Monitor]:
    """Gives the wanted monitor its identity; what is unset gets its default."""
    fields = {"endpoint": message.endpoint, "dataset": message.dataset, "owner": message.owner}
    spans = {
        field: span(value)
        for field, value in (("window", message.window), ("outcome_delay", message.outcome_delay))
        if message.HasField(field)  # type: ignore[arg-type]  # a literal in all but its type
    }
    test, slices = drift_test_from_proto(message.drift_test), tuple(message.slices)
    return lambda meta: Monitor(meta=meta, drift_test=test, slices=slices, **fields, **spans)  # type: ignore[arg-type]  # str and timedelta fields


def fixed_fields(message: pb.Monitor) -> dict[str, object]:
    """The immutable fields that the caller named, by attribute."""
    fixed: dict[str, object] = {"endpoint": message.endpoint, "dataset": message.dataset}
    if message.HasField("window"):
        fixed["window"] = span(message.window)
    if message.HasField("outcome_delay"):
        fixed["outcome_delay"] = span(message.outcome_delay)
    if message.slices:
        fixed["slices"] = tuple(message.slices)
    return fixed


def drift_test_from_proto(test: pb.DriftTest) -> DriftTest:
    """The test with its defaults filled in."""
    default = _DEFAULT_TEST
    return DriftTest(
        false_discovery_rate=test.false_discovery_rate or default.false_discovery_rate,
        effect_floor=test.effect_floor or default.effect_floor,
        persistence_hits=test.persistence_hits or default.persistence_hits,
        persistence_windows=test.persistence_windows or default.persistence_windows,
        min_rows=test.min_rows or default.min_rows,
        false_alarm_budget=test.false_alarm_budget or default.false_alarm_budget,
    )


def drift_report_to_proto(report: DriftReport) -> pb.DriftReport:
    """The report with its histograms, slices and attributions."""
    message = drift_report_to_listed_proto(report)
    for sent, point in zip(message.points, report.points, strict=True):
        sent.bins.extend(_bins(point.bins))
    if report.slices is not None:
        message.slices.MergeFrom(
            pb.SliceDrift(
                measured=report.slices.measured,
                standing_out=report.slices.standing_out,
                lasting=report.slices.lasting,
                points=[_slice_point(point) for point in report.slices.points],
                unsliced_features=report.slices.unsliced,
            )
        )
    if report.attributions is not None:
        message.attributions.MergeFrom(_attributions(report.attributions))
    return message


def _attributions(drift: AttributionDrift) -> pb.AttributionDrift:
    return pb.AttributionDrift(
        baseline_rows=drift.baseline_rows,
        window_rows=drift.window_rows,
        measured=drift.measured,
        moved=drift.moved,
        lasting=drift.lasting,
        points=[
            pb.AttributionDrift.Point(
                feature=point.feature,
                baseline=point.baseline,
                window=point.window,
                half_width=point.half_width,
                moved=point.moved,
                hits=point.hits,
                lasts=point.lasts,
            )
            for point in drift.points
        ],
    )


def _slice_point(point: SlicePoint) -> pb.SliceDrift.Point:
    return pb.SliceDrift.Point(
        slice_feature=point.slice_feature,
        slice_value=point.slice_value,
        feature=point.feature,
        effect_size=point.effect_size,
        threshold=point.threshold,
        q_value=point.q_value,
        baseline_rows=point.baseline_rows,
        window_rows=point.window_rows,
        stands_out=point.stands_out,
        hits=point.hits,
        lasts=point.lasts,
        bins=_bins(point.bins),
    )


def _bins(bins: Iterable[HistogramBin]) -> list[pb.HistogramBin]:
    return [
        pb.HistogramBin(
            label=each.label,
            baseline_count=each.baseline_count,
            window_count=each.window_count,
        )
        for each in bins
    ]


def drift_report_to_listed_proto(report: DriftReport) -> pb.DriftReport:
    """The report without histograms, slices and attributions."""
    message = pb.DriftReport(
        name=report.meta.name,
        create_time=to_timestamp(report.meta.create_time),
        baseline_version=report.baseline_version,
        window_start_time=to_timestamp(report.window_start),
        window_end_time=to_timestamp(report.window_end),
        rows=report.rows,
        points=[_point(point) for point in report.points],
        drifted_features=report.drifted_features,
        change=pb.DriftReport.Change.Value(f"CHANGE_{report.change.value}"),
        severity=pb.DriftReport.Severity.Value(f"SEVERITY_{report.severity.value}"),
        reason=report.reason,
        faults=[_fault(fault) for fault in report.faults],
    )
    if report.concept is not None:
        message.concept.MergeFrom(
            pb.ConceptEvidence(
                evidence=report.concept.evidence,
                threshold=report.concept.threshold,
                outcomes=report.concept.outcomes,
                alarms=report.concept.alarms,
                reason=report.concept.reason,
            )
        )
    if report.estimate is not None:
        message.estimate.MergeFrom(
            pb.QualityEstimate(metrics=report.estimate.metrics, doubts=report.estimate.doubts)
        )
    return message


def _fault(fault: DataFault) -> pb.DataFault:
    return pb.DataFault(
        kind=pb.DataFault.Kind.Value(f"KIND_{fault.kind.value}"),
        feature=fault.feature,
        reason=fault.reason,
        numbers=fault.numbers,
    )


def _point(point: DriftPoint) -> pb.DriftPoint:
    return pb.DriftPoint(
        feature=point.feature,
        statistic=point.statistic,
        effect_size=point.effect_size,
        p_value=point.p_value,
        q_value=point.q_value,
        baseline_rows=point.baseline_rows,
        window_rows=point.window_rows,
        threshold=point.threshold,
        algorithm=point.algorithm,
        significant=point.significant,
        drifted=point.drifted,
        excess=point.excess,
        lasting_q_value=point.lasting_q_value,
        reason=point.reason,
        skewed=point.skewed,
    )


def performance_report_to_proto(report: PerformanceReport) -> pb.PerformanceReport:
    """The report with its slices."""
    message = performance_report_to_listed_proto(report)
    standing = _standings(report)
    message.slices.extend(
        pb.PerformanceReport.Slice(
            feature=each.feature,
            value=each.value,
            predictions=each.predictions,
            outcomes=each.outcomes,
            metrics=each.metrics,
            auc_half_width=each.auc_half_width,
            log_loss_half_width=each.log_loss_half_width,
            standings=standing[each.feature, each.value],
        )
        for each in report.slices
    )
    return message


def _standings(
    report: PerformanceReport,
) -> Mapping[tuple[str, str], dict[str, pb.PerformanceReport.Standing]]:
    """By feature and value of a slice, and by metric."""
    found: defaultdict[tuple[str, str], dict[str, pb.PerformanceReport.Standing]]
    found = defaultdict(dict)
    for metric in COMPARED:
        for each in standings(report, metric):
            found[each.slice.feature, each.slice.value][metric] = pb.PerformanceReport.Standing(
                worse_by=each.worse_by, half_width=each.half_width, worse=each.is_worse
            )
    return found


def performance_report_to_listed_proto(report: PerformanceReport) -> pb.PerformanceReport:
    """The report without slices."""
    return pb.PerformanceReport(
        name=report.meta.name,
        create_time=to_timestamp(report.meta.create_time),
        version=report.version,
        window_start_time=to_timestamp(report.window_start),
        window_end_time=to_timestamp(report.window_end),
        predictions=report.predictions,
        outcomes=report.outcomes,
        metrics=report.metrics,
        auc_half_width=report.auc_half_width,
        log_loss_half_width=report.log_loss_half_width,
    )
