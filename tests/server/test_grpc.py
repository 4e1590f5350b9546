"""The server over gRPC, by Triton's own client: the driver that every server passes, streams, health, reflection, TLS."""

import queue
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.testing import assert_array_equal
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from deploy_snn.bundle import Bundle
from deploy_snn.server.rpc.messages import SERVICE

from .. import serving_driver  # noqa: TID252
from ..serving_driver import EXPORT, MODELS, drive, expected  # noqa: TID252

RPC = EXPORT.parent / "deploy_snn" / "server" / "rpc"


@pytest.fixture(scope="module")
def served(running: Callable, free_port: Callable[[], int]) -> Iterator[tuple[str, str]]:
    """The addresses of a server, for gRPC and for HTTP."""
    port = free_port()
    with running([EXPORT / name for name in MODELS], "--grpc-port", port, "--model-control") as served:
        yield f"127.0.0.1:{port}", served.address


def test_driver(served: tuple[str, str]) -> None:
    with serving_driver.grpc(served[0]) as client:
        drive(client)


def tensor(x: np.ndarray) -> triton.InferInput:
    given = triton.InferInput("x", list(x.shape), "FP32")
    given.set_data_from_numpy(x)
    return given


def test_streams_in_one_call(served: tuple[str, str]) -> None:
    """Sixteen streams in one bidirectional call, all sent ahead, mistakes among them; answers come in order."""
    bundle, steps, names = Bundle.open(EXPORT / "srm0"), 20, [f"s{i}" if i % 2 else 100 + i for i in range(1, 17)]
    drives = {n: 25 * np.random.default_rng(i).random((steps, 1, 8), np.float32) for i, n in enumerate(names)}
    wanted = {name: expected(bundle, {"x": x}, name)[1]["s"] for name, x in drives.items()}
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(served[0]) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        asked = []
        for step in range(steps):
            for name in names:
                flags = {"sequence_start": step == 0, "sequence_end": step == steps - 1}
                if step == 5:
                    client.async_stream_infer("srm0", [tensor(drives[name][step, :, :7])], sequence_id=name)
                    asked.append(None)
                request_id = f"{name}/{step}"
                client.async_stream_infer(
                    "srm0", [tensor(drives[name][step])], sequence_id=name, request_id=request_id, **flags
                )
                asked.append((name, step))
        for what in asked:
            result, error = answers.get(timeout=60)
            if what is None:
                assert "input 'x' is float32 [1, 7]" in str(error)
                continue
            assert error is None, error
            name, step = what
            assert result.get_response().id == f"{name}/{step}"
            assert_array_equal(result.as_numpy("s"), wanted[name][step])
        client.stop_stream()


def test_large_requests_keep_their_order(served: tuple[str, str]) -> None:
    """A chunk of 320 KB, which is parsed in a thread, between steps of the same stream."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(served[0]) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for index, x in enumerate((np.ones((1, 8)), np.ones((10_000, 1, 8)), np.ones((1, 8)))):
            client.async_stream_infer("lif", [tensor(x.astype(np.float32))], sequence_id="large", sequence_start=index == 0)
        results = [answers.get(timeout=60) for _ in range(3)]
        client.stop_stream()
    assert [error for _, error in results] == [None] * 3
    steps = [result.get_response().parameters["sequence_step"].int64_param for result, _ in results]
    assert steps == [1, 10_001, 10_002]


def stream_requests(count: int, steps: int, model: str = "srm0") -> Iterator[bytes]:
    """Serialised requests, each of which starts a stream of its own with a chunk of steps."""
    x = np.full((steps, 1, 8), 9, np.float32)
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    request.parameters["sequence_start"].bool_param = True
    for number in range(1, count + 1):
        request.id = str(number)
        request.parameters["sequence_id"].int64_param = number
        yield request.SerializeToString()


def test_requests_in_progress_are_answered_after_the_client_has_ended_its_side(served: tuple[str, str]) -> None:
    """The client half-closes the call while most of its requests wait; each of them still gets its response."""
    with grpc.insecure_channel(served[0]) as channel:
        answers = [*channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(stream_requests(60, 1900), timeout=60)]
    parsed = [service_pb2.ModelStreamInferResponse.FromString(answer) for answer in answers]
    assert [(answer.infer_response.id, answer.error_message) for answer in parsed] == [(str(n), "") for n in range(1, 61)]


def test_a_client_that_reads_no_responses_is_not_read(served: tuple[str, str]) -> None:
    """The server reads a bounded number of requests from a client that does not read its responses."""
    sent = 0

    def requests() -> Iterator[bytes]:
        nonlocal sent
        for request in stream_requests(10**4, 1900, "lif"):
            sent += 1
            yield request

    with grpc.insecure_channel(served[0]) as channel:
        call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(requests())
        before, deadline = -1, time.monotonic() + 60
        while sent != before:
            assert time.monotonic() < deadline, f"{sent} requests were read"
            before = sent
            time.sleep(1)
        call.cancel()
    assert 64 < sent < 5000


def test_both_protocols_share_streams(served: tuple[str, str]) -> None:
    x = np.full((1, 8), 9, np.float32)
    given = tritonclient.http.InferInput("x", [1, 8], "FP32")
    given.set_data_from_numpy(x)
    with triton.InferenceServerClient(served[0]) as rpc, tritonclient.http.InferenceServerClient(served[1]) as http:
        rpc.infer("lif", [tensor(x)], sequence_id="shared", sequence_start=True)
        http.infer("lif", [given], sequence_id="shared")
        answer = rpc.infer("lif", [tensor(x)], sequence_id="shared", sequence_end=True, parameters={"sequence_step": 2})
        assert answer.get_response().parameters["sequence_step"].int64_param == 3
        with pytest.raises(InferenceServerException, match="has no stream here"):
            rpc.infer("lif", [tensor(x)], sequence_id="shared")


def test_what_the_server_says_of_itself(served: tuple[str, str]) -> None:
    """The same over both protocols."""
    with triton.InferenceServerClient(served[0]) as rpc, tritonclient.http.InferenceServerClient(served[1]) as http:
        assert rpc.is_server_live()
        assert rpc.is_server_ready()
        assert rpc.is_model_ready("lif", "1")
        assert not rpc.is_model_ready("lif", "2")
        assert rpc.get_server_metadata(as_json=True) == http.get_server_metadata()
        metadata = rpc.get_model_metadata("diehl_cook_2015")
        assert next((t.name, t.datatype, list(t.shape)) for t in metadata.outputs) == ("exc.s", "BOOL", [-1, 16])
        config, from_http = rpc.get_model_config("srm0").config, http.get_model_config("srm0")
        assert [(t.name, t.data_type, list(t.dims), t.optional) for t in config.input] == [
            ("x", model_config_pb2.TYPE_FP32, [-1, 8], False),
            ("noise", model_config_pb2.TYPE_FP32, [-1, 8], True),
        ]
        assert [t["name"] for t in from_http["input"]] == ["x", "noise"]
        with pytest.raises(InferenceServerException, match="x"):
            rpc.infer("srm0", [tensor(np.zeros((1, 7), np.float32))])
        before = http.get_inference_statistics("srm0")["model_stats"][0]
        rpc.infer("srm0", [tensor(np.zeros((3, 8), np.float32))])
        after = rpc.get_inference_statistics("srm0").model_stats[0]
        assert after.inference_count - before["inference_count"] == 3
        assert after.execution_count - before["execution_count"] == 1
        stats, stats_before = after.inference_stats, before["inference_stats"]
        assert (stats.success.count - stats_before["success"]["count"], stats.fail.count) == (
            1,
            stats_before["fail"]["count"],
        )
        assert stats.fail.count > 0
        assert stats.success.ns > stats_before["success"]["ns"]
        assert {stat["name"] for stat in http.get_inference_statistics()["model_stats"]} == set(MODELS)
        rpc.unload_model("input")
        states = {model.name: model.state for model in rpc.get_model_repository_index().models}
        assert states == dict.fromkeys(MODELS, "READY") | {"input": "UNAVAILABLE"}
        rpc.load_model("input")
        assert rpc.is_model_ready("input")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.raw_input_contents.append(b""), "raw_input_contents has 2 entries for 1 inputs"),
        (lambda m: m.inputs[0].shape.__setitem__(0, -1), "expected at most 8 axes"),
        (lambda m: m.inputs[0].shape.__setitem__(0, 2**40), "expected at most 8 axes"),
        (lambda m: m.inputs[0].shape.extend([1] * 9), "expected at most 8 axes"),
        (lambda m: m.inputs[0].__setattr__("datatype", "INT8"), "unknown datatype INT8"),
        (lambda m: m.raw_input_contents.__setitem__(0, b"12"), "has 2 bytes"),
        (lambda m: m.parameters["sequence_id"].__setattr__("string_param", "a" * 300), "sequence_id has 300 bytes"),
        (lambda m: m.parameters["sequence_id"].__setattr__("double_param", 1.5), "sequence_id: expected a whole number"),
        (lambda m: m.parameters["sequence_id"].SetInParent(), "sequence_id: expected"),
        (lambda m: m.parameters["sequence_start"].__setattr__("int64_param", 1), "sequence_start: Input should be"),
        (lambda m: m.outputs.add(name="v"), "unknown output 'v'"),
    ],
)
def test_mistakes(spoil: Callable[[Any], object], message: str, served: tuple[str, str]) -> None:
    asked = service_pb2.ModelInferRequest(model_name="lif", raw_input_contents=[bytes(32)])
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 8])
    with grpc.insecure_channel(served[0]) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        assert infer(asked).raw_output_contents[0] == bytes(8)
        del asked.raw_input_contents[:]
        asked.inputs[0].contents.fp32_contents.extend([9.0] * 8)
        assert infer(asked).outputs[0].shape == [1, 8]
        asked.inputs[0].ClearField("contents")
        asked.raw_input_contents.append(bytes(32))
        spoil(asked)
        with pytest.raises(grpc.RpcError) as refused:
            infer(asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in refused.value.details()


def test_health_and_reflection(served: tuple[str, str]) -> None:
    with grpc.insecure_channel(served[0]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in ("", SERVICE):
            answer = check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="unknown service nobody"):
            check(health_pb2.HealthCheckRequest(service="nobody"))
        found = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in found.get_services()
        service = DescriptorPool(found).FindServiceByName(SERVICE)  # as grpcurl asks for it
        assert service.methods_by_name["ModelStreamInfer"].client_streaming


def test_a_token_and_tls(running: Callable, free_port: Callable[[], int], tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    options = f"{request} -addext subjectAltName=DNS:localhost".split(" ")
    subprocess.run([openssl, *options, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port, grpc_port = free_port(), free_port()
    arguments = ("--grpc-port", grpc_port, "--ssl-certfile", certificate, "--ssl-keyfile", key)
    with running([EXPORT / "lif"], *arguments, port=port, environment={"DEPLOY_SNN_TOKEN": "secret"}, scheme="https"):
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{grpc_port}", credentials) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            assert check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        tls = {"ssl": True, "root_certificates": str(certificate)}
        with triton.InferenceServerClient(f"localhost:{grpc_port}", **tls) as client:
            assert client.is_server_live()
            for guess in ({}, {"authorization": "Bearer guess"}):
                with pytest.raises(InferenceServerException, match="a bearer token is required"):
                    client.infer("lif", [tensor(np.zeros((1, 8), np.float32))], headers=guess)
                with pytest.raises(InferenceServerException, match="a bearer token is required"):
                    client.get_model_repository_index(headers=guess)
            passing = {"authorization": "Bearer secret"}
            answer = client.infer("lif", [tensor(np.zeros((1, 8), np.float32))], headers=passing)
            assert answer.as_numpy("s").shape == (1, 8)
            with pytest.raises(InferenceServerException, match="--model-control"):
                client.unload_model("lif", headers=passing)
        url = f"https://localhost:{port}/v2/models/lif"
        headers = {"Authorization": "Bearer secret"}
        assert (
            httpx.get(url, verify=ssl.create_default_context(cafile=certificate), headers=headers).json()["name"] == "lif"
        )


def test_the_end_of_a_server_ends_calls(running: Callable, free_port: Callable[[], int]) -> None:
    """Open streams do not hold it up, and what was asked before is answered."""
    port, answers = free_port(), queue.Queue[Any]()
    with (
        running([EXPORT / "lif"], "--grpc-port", port) as served,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("lif", [tensor(np.zeros((1, 8), np.float32))], sequence_id=1, sequence_start=True)
        assert answers.get(timeout=30)[1] is None
        served.process.terminate()
        assert served.process.wait(15) == 0
        client.stop_stream(cancel_requests=True)


def fields(files: Any) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Every message, nested ones too, with its fields: their numbers, types and labels."""
    found: dict[str, dict[str, tuple[Any, ...]]] = {}

    def add(prefix: str, messages: Any) -> None:
        for message in messages:
            name = f"{prefix}{message.name}"
            found[name] = {f.name: (f.number, f.type, f.label, f.type_name) for f in message.field}
            add(f"{name}.", message.nested_type)

    for file in files:
        add("", file.message_type)
    return found


def test_the_protocol_is_the_protocol(tmp_path: Path) -> None:
    """The compiled file is the source's, and every field in it is one of Triton's own, with its number and type."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{RPC}", f"--descriptor_set_out={tmp_path / 'compiled'}"]
    subprocess.run([*command, "open_inference.proto"], check=True)
    compiled = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "compiled").read_bytes())
    ours = descriptor_pb2.FileDescriptorSet.FromString((RPC / "open_inference.binpb").read_bytes())
    assert compiled == ours
    theirs = [descriptor_pb2.FileDescriptorProto() for _ in range(2)]
    for proto, module in zip(theirs, (service_pb2, model_config_pb2), strict=True):
        module.DESCRIPTOR.CopyToProto(proto)
    known = fields(theirs)
    for name, own in fields(ours.file).items():
        assert own.items() <= known[name].items(), name
