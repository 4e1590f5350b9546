"""Spans: one for each request of a stream over each protocol, in the trace that the client names."""

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import uvicorn
from websockets.asyncio.client import connect

from deploy_snn.bundle import Bundle
from deploy_snn.server.app import create_app
from deploy_snn.server.repository import Repository, Settings
from deploy_snn.server.rpc import RpcServer
from deploy_snn.server.rpc.messages import SERVICE, message
from deploy_snn.tensors import pack_tensors

pytest.importorskip("opentelemetry.sdk.trace", reason="no OpenTelemetry: pip install '.[otel]'")

EXPORT = Path(__file__).parent.parent.parent / "export"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
OTHER = {"traceparent": f"00-{TRACE}-c7ad6b7169203332-01"}
parse = message("ModelStreamInferResponse").FromString
X = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [9.0] * 8}


@pytest.fixture
def traced() -> tuple[Repository, Callable[[], list[Any]]]:
    """The models of a server, and the spans that have ended."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from deploy_snn.server.tracing import Tracing

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    repository = Repository(Settings([Bundle.open(EXPORT / "lif")], tracing=Tracing(provider), hosts=["testserver"]))
    repository.prepare()
    return repository, exporter.get_finished_spans


def is_child(span: Any) -> bool:
    context, parent = span.get_span_context(), span.parent
    return (f"{context.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE, "b7ad6b7169203331") and parent.is_remote


def test_http_and_websocket(traced: Any, free_port: Callable[[], int]) -> None:
    repository, spans = traced
    address = f"127.0.0.1:{free_port()}"
    config = uvicorn.Config(create_app(repository), port=int(address[10:]), log_config=None, ws="websockets-sansio")
    server = uvicorn.Server(config)

    async def infer(inputs: list[Any], headers: dict[str, str]) -> int:
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            return (await client.post("/v2/models/lif/infer", json={"inputs": inputs}, headers=headers)).status_code

    async def scenario() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert await infer([X], PARENT) == 200
        assert await infer([], PARENT) == 400
        assert await infer([X], {"traceparent": "x"}) == 200
        async with connect(f"ws://{address}/v2/models/lif/stream", additional_headers=PARENT) as wire:
            await wire.recv()
            for _ in range(2):
                await wire.send(np.ones(8, np.float32).tobytes())
                await wire.recv()
        path, context = "/v2/models/lif/sequences/a/state", {"headers": PARENT}
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            packed = pack_tensors(repository.bundles["lif"].initial_state(1))
            assert (await client.put(path, content=packed, **context)).status_code == 201
            assert (await client.put(path, content=packed, **context)).status_code == 409
            assert (await client.get(path, **context)).status_code == 200
            assert (await client.get("/v2/models/lif/sequences/b/state", **context)).status_code == 400
        repository.models["lif"].infer = broken  # an error of the server's own
        assert await infer([X], PARENT) == 500
        server.should_exit = True
        await serving

    asyncio.run(scenario())
    ended = spans()
    of_states, ended = ended[5:9], [*ended[:5], *ended[9:]]
    codes = [span.attributes.get("http.response.status_code") for span in of_states]
    assert [span.name.removesuffix(" lif") for span in of_states] == ["write state"] * 2 + ["read state"] * 2
    assert [codes, [is_child(span) for span in of_states]] == [[None, 409, None, 400], [True] * 4]
    assert [span.attributes["network.protocol.name"] for span in ended] == ["http"] * 3 + ["websocket"] * 2 + ["http"]
    assert [is_child(span) for span in ended if span.parent] == [True] * 5
    assert [index for index, span in enumerate(ended) if span.parent is None] == [2], "without a valid parent, a new trace"
    assert {span.name for span in ended} == {"infer lif"}
    assert [span.attributes.get("http.response.status_code") for span in ended] == [None, 400, None, None, None, 500]
    assert [span.status.is_ok for span in ended] == [True] * 5 + [False], "only the server's errors are failures"


async def broken(_: Any) -> None:
    raise RuntimeError("broken")


def test_grpc(traced: Any, free_port: Callable[[], int]) -> None:
    repository, spans = traced
    port = free_port()
    asked = message("ModelInferRequest")(model_name="lif")
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 8])
    asked.raw_input_contents.append(np.ones(8, np.float32).tobytes())

    async def scenario() -> None:
        repository.open()
        server = RpcServer(repository, "127.0.0.1", port)
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = list(PARENT.items())
            await channel.unary_unary(f"/{SERVICE}/ModelInfer")(asked.SerializeToString(), metadata=metadata)
            stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
            own = message("ModelInferRequest")()
            own.CopyFrom(asked)
            own.parameters["traceparent"].string_param = OTHER["traceparent"]
            messages = [asked.SerializeToString(), own.SerializeToString(), asked.SerializeToString()]
            answers = [parse(answer) async for answer in stream(iter(messages), metadata=metadata)]
            assert [answer.error_message for answer in answers] == [""] * 3
        await server.stop(1)
        await repository.close()

    asyncio.run(scenario())
    ended = sorted(spans(), key=is_child)
    assert [(span.attributes["network.protocol.name"], span.name) for span in ended] == [("grpc", "infer lif")] * 4
    assert [is_child(span) for span in ended] == [False, True, True, True]
    assert f"{ended[0].parent.span_id:016x}" == "c7ad6b7169203332", "a message may name a parent of its own"


def test_spans_arrive_at_a_collector(running: Callable) -> None:
    """``--trace`` sends them by OTLP, also those that wait when the server is asked to end."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="no OTLP exporter: pip install '.[otel]'")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "OTEL_SERVICE_NAME": "robots",
        }
        with running([EXPORT / "lif"], "--trace", environment=environment) as served:
            answer = httpx.post(f"http://{served.address}/v2/models/lif/infer", json={"inputs": [X]}, headers=PARENT)
            assert answer.status_code == 200
        collector.shutdown()
    (resource,) = received[0].resource_spans
    assert {field.key: field.value.string_value for field in resource.resource.attributes}["service.name"] == "robots"
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("infer lif", TRACE)
