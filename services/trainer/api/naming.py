"""What requests name beside the job itself: its queue, and the trace that they are in."""

from __future__ import annotations

from services.common.errors import FieldViolation, InvalidRequest
from services.common.names import parent_of
from services.common.rpc.tracing import current_span_context, format_traceparent
from services.trainer.core.queues import DEFAULT_QUEUE


def queue_id(asked: str, project: str, field: str) -> str:
    """The queue that a job is to wait in; the default one where none is asked for.

    Args:
        asked: By resource name.
        project: Of the job, by resource name.
        field: Where in the request it stands.

    Raises:
        InvalidRequest: It is one of another project.
    """
    if not asked:
        return DEFAULT_QUEUE
    if parent_of(asked) != project:
        raise InvalidRequest([FieldViolation(field, f"is {asked!r}; must be a queue of {project}")])
    return asked.rpartition("/")[2]


def traceparent() -> str:
    """W3C trace context of the call at hand; empty if it is in no trace."""
    span = current_span_context()
    return format_traceparent(span) if span.is_valid else ""
