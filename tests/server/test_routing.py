"""serve/triton/nginx.conf: streams find their instance, and move to others when the instances change.

With a store that the instances share, any of them goes on with any stream, over every protocol.
"""

import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from numpy.testing import assert_array_equal
from tritonclient.utils import InferenceServerException
from websockets.sync.client import connect

from deploy_snn.bundle import Bundle

from ..redis_process import Redis  # noqa: TID252
from ..serving_driver import EXPORT, Client, check, draw, expected, http  # noqa: TID252

CONF = EXPORT.parent / "serve" / "triton" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HEADER = "X-Sequence-Id"
STEPS = 12

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx: apt install nginx")


def two_ports() -> int:
    """A port of loopback that is free, as is the next."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def nginx(folder: Path, instances: list[str], rpc_instances: tuple[str, ...] = ("127.0.0.1:1",)) -> Iterator[str]:
    """nginx with our configuration, in front of these instances; gives its address. For gRPC, the port is one more."""
    address = f"127.0.0.1:{two_ports()}"
    host, port = address.split(":")
    ours = CONF.read_text()
    for own, listed in ((8000, instances), (8001, rpc_instances)):
        servers = "".join(f"    server {instance} max_fails=0;\n" for instance in listed)
        ours, replaced = re.subn(rf"(?:    server \S+:{own} max_fails=0;\n)+", servers, ours)
        assert replaced == 1
    ours = ours.replace("listen 8000;", f"listen {address};").replace("listen 8001 ", f"listen {host}:{int(port) + 1} ")
    temporary = "".join(f"{part}_temp_path {part};" for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    around = f"daemon off; pid nginx.pid; events {{}} http {{ access_log off; {temporary}\n{ours}\n}}"
    (folder / "nginx.conf").write_text(around)
    process = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://{address}/v2/health/ready")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, (folder / "error.log").read_text()
        yield address
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


def step_all(client: Client, runs: dict[str, tuple], steps: range) -> None:
    for step in steps:
        for name, (model, inputs, outputs) in runs.items():
            flags = {"sequence_start": step == 0, "sequence_end": step == STEPS - 1}
            given = {"x": inputs["x"][step]}
            answer = client.infer(model, given, sequence_id=name, headers={HEADER: name}, **flags)
            check(answer, outputs, step, name)


def places(runs: dict[str, tuple], instances: list[str]) -> dict[str, str]:
    """Which of the instances has each of the streams: one, and no other."""
    found = {}
    for name, (model, _, _) in runs.items():
        paths = {instance: f"http://{instance}/v2/models/{model}/sequences/{name}/state" for instance in instances}
        (found[name],) = [instance for instance, path in paths.items() if httpx.get(path).is_success]
    return found


def test_streams_find_their_instance_and_move(running: Callable, tmp_path: Path) -> None:
    bundles = {model: Bundle.open(EXPORT / model) for model in ("lif", "srm0")}
    runs = {}
    for number in range(24):
        name, model = f"robot-{number}", ("lif", "srm0")[number % 2]
        drive = draw(bundles[model], STEPS, 1, seed=number)
        runs[name] = (model, drive, expected(bundles[model], drive, name)[1])
    paths = [EXPORT / model for model in bundles]
    with running(paths) as first, running(paths) as second, running(paths) as third:
        before, after = [first.address, second.address], [first.address, third.address]
        with nginx(tmp_path, before) as address, http(address) as client:
            step_all(client, runs, range(4))
            with connect(f"ws://{address}/v2/models/lif/stream", additional_headers={HEADER: "own"}) as socket:
                assert json.loads(socket.recv())["model_name"] == "lif"
                socket.send(bytes(32))
                assert socket.recv() == bytes(8)
            where = places(runs, before)
            assert set(where.values()) == set(before)
        with nginx(tmp_path, after) as address, http(address) as client:
            for name, (model, inputs, _) in runs.items():
                if where[name] == second.address:  # it is refused elsewhere, and not begun anew
                    client.refused(model, {"x": inputs["x"][4]}, sequence_id=name, headers={HEADER: name})
                path = f"/v2/models/{model}/sequences/{name}/state"
                state = httpx.get(f"http://{where[name]}{path}").content
                moved = httpx.put(f"http://{address}{path}", content=state, headers={HEADER: name})
                assert moved.status_code in (201, 409), moved.text  # 409: it is where it was
            step_all(client, runs, range(4, 8))
            # Where two have it, one is where it was before it moved on.
            where = places({name: run for name, run in runs.items() if where[name] == second.address}, after)
            assert third.address in where.values()
            third.process.kill()
            third.process.wait()
            for _ in range(3):  # an instance that is down keeps its streams, and the others go on
                for name, (model, inputs, _) in runs.items():
                    if where.get(name) == third.address:
                        with pytest.raises(InferenceServerException, match="502"):
                            client.infer(model, {"x": inputs["x"][8]}, sequence_id=name, headers={HEADER: name})
            step_all(client, {name: run for name, run in runs.items() if where.get(name) == first.address}, range(8, STEPS))


class Life:
    """A stream, whose steps are sent over one protocol or another and held against its lone run."""

    def __init__(self, number: int, model: str, bundle: Bundle) -> None:
        self.name, self.model, self.taken = f"life-{number}", model, 0
        self.drive = draw(bundle, 3 * STEPS, 1, seed=number)["x"]
        self.wanted = expected(bundle, {"x": self.drive}, self.name)[1]["s"]
        self.headers = {HEADER: self.name} if number % 2 else {}  # without it, nginx takes the instances in turn

    def check(self, spikes: np.ndarray) -> None:
        assert_array_equal(spikes, self.wanted[self.taken], err_msg=f"{self.name}, step {self.taken}")
        self.taken += 1


def over_http(address: str, life: Life, steps: int) -> None:
    """A request that reaches an instance that is down is sent again: it was not stepped."""
    until = life.taken + steps
    with httpx.Client(base_url=f"http://{address}/v2/models/{life.model}", headers=life.headers, timeout=30) as client:
        while life.taken < until:
            x = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": life.drive[life.taken].ravel().tolist()}
            parameters = {"sequence_id": life.name, "sequence_start": life.taken == 0, "sequence_step": life.taken}
            answer = client.post("/infer", json={"inputs": [x], "parameters": parameters})
            if answer.status_code != 502:
                assert answer.is_success, answer.text
                life.check(np.array(answer.json()["outputs"][0]["data"]).reshape(1, -1))


def over_a_websocket(address: str, life: Life, steps: int) -> None:
    start = "&sequence_start=true" if life.taken == 0 else ""
    url = f"ws://{address}/v2/models/{life.model}/stream?sequence_id={life.name}{start}"
    with connect(url, additional_headers=life.headers) as wire:
        assert json.loads(wire.recv())["sequence_step"] == life.taken
        for _ in range(steps):
            wire.send(life.drive[life.taken].tobytes())
            reply = wire.recv()
            assert isinstance(reply, bytes), reply
            life.check(np.frombuffer(reply, bool).reshape(1, -1))


def over_grpc(address: str, life: Life, steps: int) -> None:
    answers: queue.Queue[tuple] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(address) as client:
        metadata = {key.lower(): value for key, value in life.headers.items()}
        client.start_stream(lambda result, error: answers.put((result, error)), headers=metadata)
        for step in range(life.taken, life.taken + steps):
            given = tritonclient.grpc.InferInput("x", [1, 8], "FP32")
            given.set_data_from_numpy(life.drive[step])
            client.async_stream_infer(life.model, [given], sequence_id=life.name, sequence_start=step == 0)
        for _ in range(steps):
            result, error = answers.get(timeout=30)
            assert error is None, error
            life.check(result.as_numpy("s"))
        client.stop_stream()


def test_three_servers_on_one_store(running: Callable, free_port: Callable[[], int], redis: Redis, tmp_path: Path) -> None:
    """Each stream has steps over each protocol, in another order, on whichever instance; at last one instance is killed."""
    bundles = {model: Bundle.open(EXPORT / model) for model in ("lif", "srm0")}
    lives = [Life(number, ("lif", "srm0")[number % 3 % 2], bundles[("lif", "srm0")[number % 3 % 2]]) for number in range(9)]
    paths, ports = [EXPORT / model for model in bundles], [free_port() for _ in range(3)]
    with ExitStack() as stack:
        servers = [stack.enter_context(running(paths, "--store", redis.url, "--grpc-port", port)) for port in ports]
        instances, rpc_instances = [each.address for each in servers], tuple(f"127.0.0.1:{port}" for port in ports)
        address = stack.enter_context(nginx(tmp_path, instances, rpc_instances))
        host, port = address.split(":")
        ways = [
            lambda life: over_http(address, life, STEPS - 2),
            lambda life: over_a_websocket(address, life, STEPS - 2),
            lambda life: over_grpc(f"{host}:{int(port) + 1}", life, STEPS - 2),
        ]
        for turn in range(3):
            with ThreadPoolExecutor(len(lives)) as pool:
                running_ways = [pool.submit(ways[(index + turn) % 3], life) for index, life in enumerate(lives)]
            for way in running_ways:
                way.result()
        steps = [stepped(each.address) for each in servers]
        assert min(steps) > 0, f"an instance had nothing to do: {steps}"
        assert sum(steps) == sum(life.taken for life in lives), "a step was taken twice, or not at all"
        servers[2].process.kill()
        servers[2].process.wait()
        for life in lives:
            if not life.headers:
                over_http(address, life, 6)
    assert [life.taken for life in lives] == [3 * STEPS - 6 + (0 if life.headers else 6) for life in lives]


def stepped(address: str) -> int:
    """The steps that an instance has taken."""
    lines = httpx.get(f"http://{address}/metrics").text.splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("deploy_snn_steps_total")))
