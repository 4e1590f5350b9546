"""Step streams through Ray Serve while the number of replicas changes and one is killed. ``test_ray.py`` runs it.

``python ray_driver.py REDIS_URL HTTP_PORT`` prints what it saw. It needs no torch: expected outputs come from ONNX Runtime.
"""

import asyncio
import json
import re
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ray
from numpy.testing import assert_array_equal
from ray import serve

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "serve" / "ray"))

from app import Arguments, build  # noqa: E402

from deploy_snn.bundle import Bundle  # noqa: E402
from deploy_snn.runtimes import find_runtime  # noqa: E402

BUNDLE = ROOT / "export" / "lif"
STREAMS, PHASE = 20, 15
"""The number of streams, and the least number of steps of each stream in a phase."""


class Client:
    """A client of one stream, which repeats each request until its outcome is known."""

    def __init__(self, number: int) -> None:
        self.name = f"robot {number}"
        self.x = np.random.default_rng(number).random((2000, 1, 8), np.float32) * 25
        runtime = find_runtime("onnxruntime-cpu")(Bundle.open(BUNDLE))
        runtime.start(Bundle.open(BUNDLE).initial_state(1))
        self.wanted = runtime.run({"x": self.x})["s"]
        self.acknowledged = self.attempts = self.repeated = 0
        self.replicas: list[str] = []

    async def step(self, http: httpx.AsyncClient) -> None:
        self.attempts += 1
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": self.x[self.acknowledged].ravel().tolist()}
        parameters = {
            "sequence_id": self.name,
            "sequence_step": self.acknowledged,
            "sequence_start": self.acknowledged == 0,
        }
        body = {"inputs": [tensor], "parameters": parameters}
        try:
            answer = await http.post("/v2/models/lif/infer", json=body, headers={"x-session-id": self.name})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            found = answer.json()
            assert found["parameters"]["sequence_step"] == self.acknowledged + 1, (self.name, self.acknowledged, found)
            assert_array_equal(np.array(found["outputs"][0]["data"]).reshape(1, 8), self.wanted[self.acknowledged])
            self.replicas.append(answer.headers["serve-replica"])
        elif answer.status_code == 409 and (taken := re.search(r"has taken (\d+) steps, not", answer.text)):
            assert int(taken[1]) == self.acknowledged + 1, (self.name, self.acknowledged, answer.text)
            assert self.attempts > 1, (self.name, self.acknowledged, answer.text)
            self.repeated += 1
        else:
            assert answer.status_code in (409, 500, 502, 503), (answer.status_code, answer.text)
            await asyncio.sleep(0.1)
            return
        self.acknowledged, self.attempts = self.acknowledged + 1, 0


async def phase(clients: list[Client], port: int, change: "asyncio.Future[None] | None" = None) -> dict[str, set[str]]:
    """Step all streams during a change and ``PHASE`` times after it. Return the replicas of each stream after it."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:

        async def run(client: Client) -> set[str]:
            while change and not change.done():
                await client.step(http)
            begun, before = client.acknowledged, len(client.replicas)
            while client.acknowledged < begun + PHASE:
                await client.step(http)
            return set(client.replicas[before:])

        replicas_of = await asyncio.gather(*map(run, clients))
        if change:
            await change
        return dict(zip((client.name for client in clients), replicas_of, strict=True))


def kill_a_replica() -> None:
    """End the process of a replica at once, as SIGKILL does."""
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    replica = next(name for name in names if name.startswith("SERVE_REPLICA"))
    ray.kill(ray.get_actor(replica, namespace="serve"), no_restart=True)


async def main(store: str, port: int) -> None:
    clients = [Client(number) for number in range(STREAMS)]

    def scale(replicas: int) -> None:
        serve.run(build(Arguments(bundles=str(BUNDLE), store=store, replicas=replicas, cpus=0.1)))

    seen: dict[str, list[int]] = defaultdict(list)
    await asyncio.to_thread(scale, 1)
    changes: dict[str, Any] = {"1": None, "3": partial(scale, 3), "4": partial(scale, 4), "kill": kill_a_replica}
    changes["3 again"] = changes["3"]
    for name, change in changes.items():
        changing = asyncio.ensure_future(asyncio.to_thread(change)) if change else None
        await phase(clients, port, changing)
        replicas_of = await phase(clients, port)  # after the routers know the change
        split = [client for client, replicas in replicas_of.items() if len(replicas) > 1]
        seen["phase"].append(name)
        seen["replicas"].append(len(set.union(*replicas_of.values())))
        seen["split"].append(len(split))
    seen["steps"] = [sum(client.acknowledged for client in clients)]
    seen["repeated"] = [sum(client.repeated for client in clients)]
    sys.stdout.write(f"seen {json.dumps(seen)}\n")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    finally:
        serve.shutdown()
        ray.shutdown()
