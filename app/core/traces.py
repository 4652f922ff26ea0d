"""Traces, as an option: where spans go. Who makes them: FastAPI itself, and `app/store/traced.py`."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

from app.core.errors import Misconfigured

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
EXPORT_SECONDS = 5  # also the most that a stop waits for the last spans


def check_endpoint(endpoint: str) -> None:
    """Raise `Misconfigured` when the extra `otel` is not installed, or for what is no HTTP URL."""
    if not endpoint:
        return
    if not endpoint.startswith(("http://", "https://")):
        raise Misconfigured("TRANSREC_OTLP_ENDPOINT is no HTTP URL. Set it to one such as http://host:4318.")
    try:
        import_module(EXPORTER)
    except ImportError as error:
        raise Misconfigured(
            "TRANSREC_OTLP_ENDPOINT is set, but OpenTelemetry is not installed. Install it: "
            "pip install 'transrec-serve[otel]', or unset the variable."
        ) from error


def tracer_provider(endpoint: str) -> "TracerProvider | None":
    """What sends spans to `{endpoint}/v1/traces`; None for no endpoint, and then nothing is imported.

    Raises as `check_endpoint` does.
    """
    check_endpoint(endpoint)
    if not endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    version = metadata.version("transrec-serve")
    resource = Resource.create({"service.name": "transrec-serve", "service.version": version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
