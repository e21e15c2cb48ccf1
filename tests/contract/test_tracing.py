"""Traces of calls, as an OpenTelemetry collector gets them."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.tracing import TracingUnavailable, traced
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

DETECT = "/rest/2.0/face/v3/detect"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Any] = []
        self.service: dict[str, str] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.service = {each.key: each.value.string_value for each in part.resource.attributes}
            self.server.spans += [span for scope in part.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_call_is_a_span_with_its_stages_below_the_caller_s(
    collector: Collector, wire: Wire, pictures: Pictures
) -> None:
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    with traced(collector.endpoint):
        sent = json.dumps(picture).encode()
        token = f"access_token={wire.token}"
        answer = wire.post(DETECT, sent, query=token, traceparent=f"00-{TRACE}-{PARENT}-01")
        wire.code("addUser", {**picture, "group_id": "", "user_id": "obama"})
        wire.result("getGroupList")
    spans = {span.name: span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER}
    call = spans["detect"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    told = {each.key: each.value.string_value for each in call.attributes}
    assert told == {"aipface.call": "detect", "aipface.log_id": str(answer["log_id"]), "aipface.code": "0"}
    # What a call leaves behind its answer, as detect its rows, is below none.
    for stage, of in (("wait", call), ("decode", call), ("detect", call), ("database", spans["getGroupList"])):
        below = [span for span in collector.spans if span.name == stage and span.parent_span_id == of.span_id]
        assert below, stage
        assert all(of.start_time_unix_nano <= span.end_time_unix_nano for span in below)
    failed = spans["addUser"]
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert failed.trace_id != call.trace_id
    assert collector.service["service.name"] == "aipface"


def test_without_a_collector_nothing_is_traced(collector: Collector, wire: Wire) -> None:
    with traced(None):
        wire.call("getGroupList")
    assert collector.spans == []


def test_a_collector_that_is_away_harms_no_call(wire: Wire) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    with traced("http://127.0.0.1:1"):
        assert wire.result("getGroupList") == {"group_id_list": []}


def test_the_extra_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with (
        pytest.raises(TracingUnavailable, match="pip install 'aipface-server\\[otel\\]'"),
        traced("http://127.0.0.1:1"),
    ):
        pass
