"""A span for each SQL statement of a request that is traced: its text with placeholders, never its values."""

from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, get_current_span
from sqlalchemy import Engine, event

_SPAN = "transrec_span"
_LONGEST = 2000  # characters of a statement


def trace_statements(engine: Engine, provider: TracerProvider) -> None:
    """Make spans of all that the engine executes from now on, as children of the request's span."""
    tracer, system = provider.get_tracer("transrec.store"), engine.dialect.name

    def before(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: bool) -> None:
        if context is None or not get_current_span().is_recording():  # the background's polling
            return
        name = statement.split(None, 1)[0].upper()
        attributes = {"db.system.name": system, "db.query.text": statement[:_LONGEST]}
        setattr(context, _SPAN, tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes))

    def after(_c: Any, _cursor: Any, _statement: str, _p: Any, context: Any, _many: bool) -> None:
        _end(context)

    def failed(error: Any) -> None:
        _end(error.execution_context, type(error.original_exception).__name__)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _end(context: Any, error: str | None = None) -> None:
    span: Span | None = getattr(context, _SPAN, None)
    if span is None:
        return
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
    span.end()
