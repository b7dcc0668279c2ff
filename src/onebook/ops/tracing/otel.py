"""Our spans as OpenTelemetry's: made by its SDK, and sent by its exporter where a collector is set.

Whether a trace is followed has been decided by the flag in its `traceparent`, so the sampler follows its parent.
"""

from threading import Timer

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanContext, TraceFlags

from onebook.tracing import NOBODY, Span

OTLP_QUEUE = 8_192
OTLP_DELAY_MILLIS = 500
OTLP_TIMEOUT_SECONDS = 2
CLOSE_SECONDS = 2.0


class SpanMaker:
    """One process's tracer. `close` waits for the collector, some seconds at most: call it off the event loop."""

    def __init__(self, process: str, otlp_endpoint: str) -> None:
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            sampler=ParentBased(root=ALWAYS_ON),
            resource=Resource.create({"service.namespace": "onebook", "service.name": f"onebook {process}"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._exporter = _otlp(otlp_endpoint) if otlp_endpoint else None
        if self._exporter is not None:
            self._provider.add_span_processor(
                BatchSpanProcessor(self._exporter, max_queue_size=OTLP_QUEUE, schedule_delay_millis=OTLP_DELAY_MILLIS)
            )
        self._tracer = self._provider.get_tracer("onebook")

    def make(self, span: Span) -> ReadableSpan | None:
        """The span, ended and on its way to the collector; None where OTEL_SDK_DISABLED switches the SDK off."""
        _, trace_id, parent_id, flags = span.traceparent.split("-")
        self._ids.give(int(trace_id, 16), None if span.span_id is None else int(span.span_id, 16))
        parent = trace.INVALID_SPAN_CONTEXT
        if parent_id != NOBODY:
            parent = SpanContext(
                int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
            )
        made = self._tracer.start_span(
            span.name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
            attributes=span.attributes,
            start_time=_nanoseconds(span.started_at),
        )
        made.end(_nanoseconds(span.ended_at))
        return made if isinstance(made, ReadableSpan) else None

    def close(self) -> None:
        """Send what is still waiting; what a dead collector has not taken within CLOSE_SECONDS is let go."""
        if self._exporter is None:
            self._provider.shutdown()
            return
        # The SDK would try for half a minute; an exporter that is shut down refuses the rest at once.
        limit = Timer(CLOSE_SECONDS, self._exporter.shutdown)
        limit.start()
        try:
            self._provider.shutdown()
        finally:
            limit.cancel()


class _GivenIds(IdGenerator):
    """Hands out the ids that others have been told already; random ones where there are none."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._trace_id = 0
        self._span_id: int | None = None

    def give(self, trace_id: int, span_id: int | None) -> None:
        """For the next span."""
        self._trace_id = trace_id
        self._span_id = span_id

    def generate_trace_id(self) -> int:
        """That of a trace begun here."""
        return self._trace_id

    def generate_span_id(self) -> int:
        """The given one, once."""
        given, self._span_id = self._span_id, None
        return self._random.generate_span_id() if given is None else given


def _otlp(endpoint: str) -> SpanExporter:
    # Brings requests and protobuf with it, which a process without a collector does not need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint, timeout=OTLP_TIMEOUT_SECONDS)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000  # a float of today's seconds says no more than microseconds
