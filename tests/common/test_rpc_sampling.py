"""Which of the traces that begin at a server are recorded."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from services.common.rpc.tracing import HeadSampler, parse_traceparent, start_server_span

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def sampled(monkeypatch):
    """Sets the sampler for the test."""

    def sample(sampler) -> None:
        provider = TracerProvider(sampler=sampler)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    return sample


@pytest.mark.parametrize(("share", "recorded"), [(0.0, 0), (1.0, 400)])
def test_none_or_all_of_the_traces_that_begin_here_are_recorded(sampled, share, recorded):
    sampled(HeadSampler(share))
    spans = [start_server_span("s/m", None, {}) for _ in range(400)]
    assert sum(span.is_recording() for span in spans) == recorded
    assert len({span.get_span_context().trace_id for span in spans}) == 400
    assert all(span.get_span_context().is_valid for span in spans)
    assert all(span.get_span_context().trace_flags.sampled == bool(recorded) for span in spans)


def test_the_share_is_drawn_once_for_each_trace(sampled):
    sampled(HeadSampler(0.5))
    recorded = sum(start_server_span("s/m", None, {}).is_recording() for _ in range(4000))
    # Ten standard deviations around a half: drawn twice, it would be a quarter.
    assert 1684 < recorded < 2316


def test_a_trace_that_was_drawn_has_no_parent(sampled):
    sampled(HeadSampler(1.0))
    span = start_server_span("s/m", None, {"rpc.system": "grpc"})
    assert (span.parent, dict(span.attributes)) == (None, {"rpc.system": "grpc"})


def test_the_callers_recorded_trace_goes_on_whatever_the_share(sampled):
    sampled(HeadSampler(0.0))
    span = start_server_span("s/m", parse_traceparent(CALLER), {})
    assert span.is_recording()
    assert f"{span.get_span_context().trace_id:032x}" == CALLER.split("-")[1]


def test_another_sampler_decides_for_itself(sampled):
    sampled(ALWAYS_ON)
    assert start_server_span("s/m", None, {}).is_recording()
