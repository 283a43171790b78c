"""W3C `traceparent` to and from OpenTelemetry's span contexts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

TRACER_NAME: Final = "roundhouse.rpc"
_TRACE_ID_BITS: Final = 128
_SPAN_ID_BITS: Final = 64
_DRAWN: Final = otel_context.create_key("drawn")
_DRAWN_CONTEXT: Final = otel_context.set_value(_DRAWN, True, otel_context.Context())
_LENGTH: Final = len("00-" + "0" * 32 + "-" + "0" * 16 + "-00")


def tracer() -> trace.Tracer:
    """The tracer of the provider that `services.common.telemetry` has set."""
    return _tracer_of(trace.get_tracer_provider())


@lru_cache(maxsize=1)
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    """Kept: asking the provider anew was 7% of what a unary call costs."""
    return provider.get_tracer(TRACER_NAME)


class HeadSampler(ParentBased):
    """Does as the caller's trace does, and records a share of the traces that begin here.

    Args:
        share: Of the traces that begin here, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        super().__init__(TraceIdRatioBased(share) if share else ALWAYS_OFF)
        self.share = share

    # `Any`: the arguments are the library's and go back to it.
    def should_sample(
        self, parent_context: otel_context.Context | None, *rest: Any, **named: Any
    ) -> SamplingResult:
        """See `Sampler`; a trace that `start_server_span` has drawn is recorded."""
        if parent_context is not None and otel_context.get_value(_DRAWN, parent_context):
            return ALWAYS_ON.should_sample(parent_context, *rest, **named)
        return super().should_sample(parent_context, *rest, **named)


def start_server_span(name: str, parent: SpanContext | None, attributes: Mapping[str, str]) -> Span:
    """The span of a call that has arrived, not yet the current one.

    Draws first whether a trace that begins here is recorded: the library asks its sampler only
    after it has made most of a span, which was a sixth of what a call of a small model cost.
    """
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if parent is not None:
        context = set_span_in_context(NonRecordingSpan(parent))
    elif not isinstance(sampler, HeadSampler):
        context = None
    elif random.random() < sampler.share:  # noqa: S311 - a sample
        context = _DRAWN_CONTEXT
    else:
        return NonRecordingSpan(
            SpanContext(
                random.getrandbits(_TRACE_ID_BITS) or 1,
                random.getrandbits(_SPAN_ID_BITS) or 1,
                is_remote=False,
            )
        )
    return tracer().start_span(name, context, kind=SpanKind.SERVER, attributes=attributes)


def parse_traceparent(value: str) -> SpanContext | None:
    """The caller's span; None if `value` breaks the W3C form, as that asks to ignore it."""
    if len(value) != _LENGTH or value[:2] == "ff":
        return None
    try:
        parent = SpanContext(
            trace_id=int(value[3:35], 16),
            span_id=int(value[36:52], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(value[53:55], 16)),
        )
    except ValueError:
        return None
    return parent if parent.is_valid else None


def format_traceparent(span: SpanContext) -> str:
    """`span` as the parent of what the peer does."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def current_span_context() -> SpanContext:
    """The running span's; invalid outside of one."""
    return get_current_span().get_span_context()


@contextmanager
def step_of(trace_id: str, name: str, *, recorded: bool) -> Iterator[None]:
    """A controller's step in the one trace of what it carries through, across restarts.

    Args:
        trace_id: 32 hex digits, such as the uid of the resource that is carried.
        name: Of the step's span.
        recorded: Whether the step and the calls it makes get spans; a poll that is
            repeated for hours should not.
    """
    parent = SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(trace_id[-16:], 16) or 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if recorded else TraceFlags.DEFAULT),
    )
    with tracer().start_as_current_span(name, set_span_in_context(NonRecordingSpan(parent))):
        yield


def adopt(span: Span) -> None:
    """Make `span` the current one for the rest of the running task.

    There is no way back on purpose: a stream's generator may be closed in another
    context than it ran in, where OpenTelemetry's detach fails.
    """
    otel_context.attach(set_span_in_context(span))


def adopt_unsampled(parent: SpanContext) -> None:
    """Pass the caller's unsampled trace on without the cost of a span."""
    adopt(NonRecordingSpan(parent))
