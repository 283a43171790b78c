"""Drills to their messages."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from roundhouse.inference.v1 import drill_pb2 as pb

from services.common.rpc.convert import to_timestamp
from services.inference.core.drills import Measures, RollbackDrill


def drill_message(drill: RollbackDrill) -> pb.RollbackDrill:
    """`drill` as it goes over the wire."""
    meta = drill.meta
    return pb.RollbackDrill(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        state=pb.RollbackDrill.State.Value(f"STATE_{drill.state}"),
        message=drill.message,
        champion=drill.champion,
        stand_in=drill.stand_in,
        rollback=drill.rollback,
        restoring=drill.restoring,
        measures=None if drill.measures is None else _measures(drill.measures),
    )


def _measures(seen: Measures) -> pb.RollbackDrill.Measures:
    return pb.RollbackDrill.Measures(
        last_champion_answer=_duration(seen.last_answer_s),
        answers_before=seen.answers_before,
        answers_after=seen.answers_after,
        failed=seen.failed,
        p50_before=_duration(seen.before_p50_s),
        p99_before=_duration(seen.before_p99_s),
        p50_after=_duration(seen.after_p50_s),
        p99_after=_duration(seen.after_p99_s),
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message
