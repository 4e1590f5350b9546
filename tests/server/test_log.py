"""The server's log: its events, and that clients cannot inject lines."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx

EXPORT = Path(__file__).parent.parent.parent / "export"
HOSTILE = "robot\n2026-01-01T00:00:00 error    all is lost \x1b[2J"


def send_requests(address: str) -> None:
    """Start and end streams, let one exceed the idle timeout, and send requests that are rejected."""

    def infer(**parameters: object) -> int:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.0] * 8}
        return httpx.post(
            f"http://{address}/v2/models/lif/infer", json={"inputs": [x], "parameters": parameters}
        ).status_code

    assert infer(sequence_id=HOSTILE, sequence_start=True) == 200
    assert infer(sequence_id=HOSTILE, sequence_end=True) == 200
    assert infer(sequence_id=HOSTILE) == 400
    assert infer(sequence_id="long" * 64, sequence_start=True, sequence_end=True) == 200
    assert httpx.post(f"http://{address}/v2/models/{'long' * 5000}/infer", json={"a" * 10**6: 1}).status_code == 404
    assert infer(sequence_id=7, sequence_start=True) == 200
    time.sleep(1.5)
    assert httpx.post(f"http://{address}/v2/repository/models/lif/unload").status_code == 200


def test_json_log(running: Callable) -> None:
    """With --log json, each line is one event as JSON."""
    options = ("--log", "json", "--log-level", "debug", "--idle-timeout", 1, "--model-control")
    with running([EXPORT / "lif"], *options) as served:
        send_requests(served.address)
        assert max(map(len, served.log().splitlines())) < 3000
        events = [json.loads(line) for line in served.log().splitlines()]
    assert all(event["time"] and event["level"] in ("debug", "info") for event in events)
    stream = {"model": "lif", "sequence": HOSTILE}
    refused = {"path": "/v2/models/lif/infer", "status": 400}
    expected = [
        ("model loaded", {"model": "lif", "runtime": "c", "streams": 0}),
        ("stream started", stream),
        ("stream ended", stream | {"steps": 2}),
        ("request refused", refused),
        ("stream started", stream | {"sequence": "long" * 64}),
        ("stream ended", stream | {"sequence": "long" * 64}),
        ("request refused", {"status": 404}),
        ("stream started", stream | {"sequence": 7}),
        ("stream ended", {"model": "lif", "sequence": 7}),
        ("idle stream dropped", {"model": "lif", "sequence": 7, "steps": 1}),
        ("model unloaded", {"model": "lif"}),
    ]
    own = [event for event in events if event["event"] in dict(expected)]
    for event, (name, fields) in zip(own, expected, strict=True):
        assert event["event"] == name
        assert event.items() >= fields.items()


def test_text_log(running: Callable) -> None:
    """Each event is one line, whatever characters its names contain. Debug events are not logged by default."""
    with running([EXPORT / "lif"], "--idle-timeout", 1, "--model-control") as served:
        send_requests(served.address)
        lines = served.log().splitlines()
    refused = [line for line in lines if "request refused" in line]
    assert len(refused) == 2
    assert r"robot\\n2026-01-01T00:00:00 error    all is lost \\x1b[2J" in refused[0]
    assert not [line for line in lines if line.startswith("2026-01-01") or "\x1b" in line or "stream started" in line]
    assert [line.split("  ")[-1] for line in lines if "dropped" in line] == ['model="lif" sequence=7 steps=1']
