"""serve/triton/nginx.conf: streams find their instance, and move to others when the instances change."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tritonclient.utils import InferenceServerException
from websockets.sync.client import connect

from deploy_snn.bundle import Bundle

from ..serving_driver import EXPORT, Client, check, draw, expected, http  # noqa: TID252

CONF = EXPORT.parent / "serve" / "triton" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HEADER = "X-Sequence-Id"
STEPS = 12

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx: apt install nginx")


@contextmanager
def nginx(folder: Path, instances: list[str]) -> Iterator[str]:
    """nginx with our configuration, in front of these instances; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    servers = "".join(f"    server {instance} max_fails=0;\n" for instance in instances)
    ours, replaced = re.subn(r"(?:    server \S+ max_fails=0;\n)+", servers, CONF.read_text())
    assert replaced == 1
    ours = ours.replace("listen 8000;", f"listen {address};")
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
