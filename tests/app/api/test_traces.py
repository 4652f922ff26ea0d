"""Traces, as a real OTLP receiver gets them."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.core.config import Settings
from app.core.log import JsonLines
from tests.app.api.conftest import OPERATOR, Server, client, running_app

ROUTE = "/v1/channels/{channel}/recommendations"


@contextmanager
def receiver() -> Iterator[tuple[str, list[Span]]]:
    """The URL of an OTLP/HTTP receiver, and the spans that it has got."""
    spans: list[Span] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                assert names["service.name"] == "transrec-serve"
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", spans
        listening.shutdown()
        thread.join()


@contextmanager
def traced(backbone: str, valkey_url: str, home: Path, endpoint: str) -> Iterator[Server]:
    settings = {
        "home": home,
        "redis_url": valkey_url,
        "backbone": backbone,
        "device": "cpu",
        "operator_key": OPERATOR,
        "otlp_endpoint": endpoint,
        "access_log": "all",
    }
    with running_app(Settings.model_validate(settings)) as server:
        yield server


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


def test_a_request_is_a_trace_that_goes_on_from_the_callers(
    backbone: tuple[str, object], valkey_url: str, tmp_path: Path
) -> None:
    caller, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with receiver() as (url, spans):
        with (
            traced(backbone[0], valkey_url, tmp_path, url) as server,
            client(server.url, OPERATOR) as platform,
        ):
            platform.post("/v1/admin/tenants", json={"name": "shop"})
            headers = {"traceparent": f"00-{caller}-{parent}-01", "X-Request-ID": "mine"}
            path = "/v1/channels/nope/recommendations?tenant=shop"
            assert platform.post(path, json={"history": ["i1"]}, headers=headers).status_code == 404
        # Stopped: all spans have been sent.
        mine = [span for span in spans if span.trace_id.hex() == caller]
        request = next(span for span in mine if span.kind == Span.SPAN_KIND_SERVER)
        assert request.parent_span_id.hex() == parent
        assert request.name == f"POST {ROUTE}"
        assert attributes(request)["http.response.status_code"] == 404
        statements = [span for span in mine if span.kind == Span.SPAN_KIND_CLIENT]
        assert {span.name for span in statements} == {"BEGIN", "SELECT"}
        assert {attributes(span)["db.system.name"] for span in statements} == {"sqlite"}
        known = {span.span_id for span in mine}
        assert all(span.parent_span_id in known for span in statements)
        assert OPERATOR not in str(spans) and "shop" not in str(statements)  # placeholders, no values
        inserted = [span for span in spans if span.name == "INSERT"]
        assert inserted and all(span.parent_span_id for span in inserted)  # no span of the background


def test_the_log_line_names_the_trace(
    backbone: tuple[str, object], valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, level = logging.getLogger(), logging.getLogger().level
    with receiver() as (url, spans), traced(backbone[0], valkey_url, tmp_path, url) as server:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        with client(server.url, OPERATOR) as platform:
            platform.get("/v1/admin/tenants", headers={"X-Request-ID": "mine"})
        server.app.state.traces.force_flush()
        root.removeHandler(handler)
        root.setLevel(level)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
        line = next(line for line in lines if line.get("request_id") == "mine")
        assert line["trace_id"] in {span.trace_id.hex() for span in spans}


def test_a_receiver_that_is_away_costs_nobody_an_answer(
    backbone: tuple[str, object], valkey_url: str, tmp_path: Path
) -> None:
    away = "http://127.0.0.1:1"
    with traced(backbone[0], valkey_url, tmp_path, away) as server, client(server.url, OPERATOR) as platform:
        assert platform.get("/v1/admin/tenants").status_code == 200
        assert platform.get("/health/ready").status_code == 200
