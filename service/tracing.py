"""Traces of requests for OpenTelemetry, where the extra ``otel`` is installed and ``otlp_endpoint`` names a collector.

One span for each call and one for each of its stages. Spans name calls, codes and log ids, never apps, groups or
people. Without a collector nothing here costs more than a look at a variable.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from service import __version__, metrics

SERVICE = "aipface"
EXPORT_SECONDS = 3.0
"""How long a batch is offered to the collector; so long may stopping take while that is away."""


class TracingUnavailable(Exception):
    """Traces were asked for and cannot be made; the text is for the operator."""


class Tracing:
    """Makes spans and sends them in the background, in batches; what the collector does not take is dropped."""

    def __init__(self, endpoint: str) -> None:
        """``endpoint`` is the collector's base address, to which ``/v1/traces`` is added (OTLP over HTTP).

        The variables of OpenTelemetry's SDK (``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, …) are obeyed.
        Raises :class:`TracingUnavailable`.
        """
        try:
            from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise TracingUnavailable(
                f"otlp_endpoint is set and {error.name} is missing: pip install 'aipface-server[otel]'"
            ) from None
        resource = Resource.create({"service.version": __version__})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": SERVICE}))
        self._extract = propagate.extract
        self._kinds, self._status = trace.SpanKind, trace.Status(trace.StatusCode.ERROR)
        self._current = trace.get_current_span
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    @contextlib.contextmanager
    def call(self, name: str, headers: Mapping[str, str], log_id: int) -> Iterator[Call]:
        """A call within the block, below the caller's span where ``headers`` name one (W3C trace context)."""
        attributes = {"aipface.call": name, "aipface.log_id": str(log_id)}
        context = self._extract(headers)
        kind = self._kinds.SERVER
        with self._tracer.start_as_current_span(name, context, kind=kind, attributes=attributes) as span:
            yield Call(span, self._status)

    def stage(self, stage: str, seconds: float) -> None:
        """A stage that ends now, of the call that this thread works on; work of nobody is left out."""
        if not self._current().is_recording():
            return
        end = time.time_ns()
        self._tracer.start_span(stage, start_time=end - int(seconds * 1e9)).end(end)

    def stop(self) -> None:
        """Send what is left, and stop."""
        self._provider.shutdown()


class Call:
    """The span of a call, to be told how it ended."""

    def __init__(self, span: Any = None, failure: Any = None) -> None:
        self._span = span
        self._failure = failure

    def ended(self, code: int | str, *, failed: bool) -> None:
        """``code`` is what the answer says."""
        if self._span is None:
            return
        self._span.set_attribute("aipface.code", str(code))
        if failed:
            self._span.set_status(self._failure)


_active: Tracing | None = None
_NOTHING = Call()


@contextlib.contextmanager
def traced(endpoint: str | None) -> Iterator[None]:
    """Within the block calls and stages are traced, if there is an endpoint. Raises :class:`TracingUnavailable`."""
    global _active  # noqa: PLW0603 - like the metrics, traces belong to the process
    if endpoint is None:
        yield
        return
    tracing = _active = Tracing(endpoint)
    metrics.on_stage(tracing.stage)
    try:
        yield
    finally:
        _active = None
        metrics.on_stage(None)
        tracing.stop()


@contextlib.contextmanager
def call(name: str, headers: Mapping[str, str], log_id: int) -> Iterator[Call]:
    """The span of a call, if calls are traced."""
    if _active is None:
        yield _NOTHING
        return
    with _active.call(name, headers, log_id) as span:
        yield span
