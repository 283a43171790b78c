"""Logs, traces and metrics of one process, set by one call in `__main__`."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, cast

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter, start_http_server
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from services.common.causality import causality
from services.common.rpc.tracing import HeadSampler
from services.common.settings import CommonSettings

_QUEUED_SPANS: Final = 1 << 14  # a second of a busy service; more are dropped, with a warning
_FILE_EXPORT_DELAY_MS: Final = 200  # a killed process loses no more of its trace than this
_OTLP_EXPORT_DELAY_MS: Final = 2000
_OTLP_TIMEOUT_S: Final = 3  # a collector that is away holds the end of the process this long

# Local variables hold payloads, features and secrets, which never go into a log.
_WITHOUT_LOCALS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


LOST_LINES: Final = Counter(
    "roundhouse_log_lines_lost",
    "Lines, or parts of them, that standard error did not take: its disk is full or it is gone.",
)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What `telemetry` has started.

    Attributes:
        metrics_port: Of the Prometheus endpoint, also when port 0 was asked for.
    """

    metrics_port: int


@dataclass(frozen=True, slots=True)
class TraceSinks:
    """Where a process's spans go, and how many of them.

    Attributes:
        otlp_endpoint: URL of an OTLP collector; None: none.
        trace_file: Gets each span as a line of JSON; None: none.
        sample_ratio: Share of traces started in the process that are recorded.
    """

    otlp_endpoint: str | None
    trace_file: Path | None
    sample_ratio: float


def trace_sinks(settings: CommonSettings) -> TraceSinks:
    """The sinks that a service's settings name; its child processes share them."""
    return TraceSinks(settings.otlp_endpoint, settings.trace_file, settings.trace_sample_ratio)


@contextmanager
def telemetry(service: str, settings: CommonSettings) -> Iterator[Telemetry]:
    """Logs, traces and metrics of this process until the block ends, then flushed.

    Once per process: OpenTelemetry's provider can't be replaced.

    Args:
        service: `service.name` of every span and line.
        settings: The service's own.

    Raises:
        OSError: `metrics_listen` is taken, or `trace_file` can't be opened.
    """
    configure_logs(service, settings.log_level)
    host, _, port = settings.metrics_listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"))
    try:
        with traced(service, trace_sinks(settings)):
            yield Telemetry(metrics_port=server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def traced(service: str, sinks: TraceSinks) -> Iterator[None]:
    """Records this process's spans until the block ends, then flushes them.

    Once per process: OpenTelemetry's provider can't be replaced.

    Args:
        service: `service.name` of every span.
        sinks: Where they go.

    Raises:
        OSError: The trace file can't be opened.
    """
    provider = _tracer_provider(service, sinks)
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def configure_logs(service: str, level: str) -> None:
    """Structured logs to stderr: JSON lines, or columns on a terminal.

    Lines of libraries that use the standard `logging` come out alike.
    """
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(service),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [
            structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS),
            structlog.processors.JSONRenderer(default=str),
        ]
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))


class _Forgiving(io.TextIOBase):
    """A stream that can be full or gone: what is lost is counted, and fails no call."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @override
    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            LOST_LINES.inc()
            return len(text)

    @override
    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            LOST_LINES.inc()


class _Origin:
    """Says in each line which service, trace and episode it belongs to."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        line["service"] = line.get("service", self._service)
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = f"{span.trace_id:032x}"
            line["span_id"] = f"{span.span_id:016x}"
        origin = causality()
        if origin.correlation_id:
            line["correlation_id"] = origin.correlation_id
        return line


def _tracer_provider(service: str, sinks: TraceSinks) -> TracerProvider:
    processors: list[BatchSpanProcessor] = []
    if sinks.otlp_endpoint is not None:
        exporter = OTLPSpanExporter(
            endpoint=sinks.otlp_endpoint,
            insecure=not sinks.otlp_endpoint.startswith("https://"),
            timeout=_OTLP_TIMEOUT_S,
        )
        processors.append(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUED_SPANS,
                schedule_delay_millis=_OTLP_EXPORT_DELAY_MS,
            )
        )
    if sinks.trace_file is not None:
        processors.append(
            BatchSpanProcessor(
                FileSpanExporter(sinks.trace_file),
                max_queue_size=_QUEUED_SPANS,
                schedule_delay_millis=_FILE_EXPORT_DELAY_MS,
            )
        )
    # Without a taker the ids still stand in the logs, but no span is recorded.
    provider = TracerProvider(
        sampler=HeadSampler(sinks.sample_ratio if processors else 0.0),
        resource=Resource.create({"service.name": service}),
        shutdown_on_exit=False,
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


class FileSpanExporter(SpanExporter):
    """Appends each span as one line of JSON; several processes may share the file.

    Args:
        path: Made if missing, with its folder.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append whole lines by single writes, so that processes don't mix theirs."""
        for span in spans:
            os.write(self._file, span.to_json(indent=None).encode() + b"\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        os.close(self._file)
