"""Authorisation of requests and WebSockets: tokens, origins and hosts."""

import json
from collections.abc import Callable
from pathlib import Path
from socket import gethostname

import httpx
import pytest
from websockets import InvalidStatus
from websockets.sync.client import connect

EXPORT = Path(__file__).parent.parent.parent / "export"


def rejected_websocket(address: str, **headers: str) -> tuple[int, str]:
    """Open a WebSocket that must be rejected, and return the status and the error."""
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"ws://{address}/v2/models/lif/stream", additional_headers=headers),
    ):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]


def test_a_token(running: Callable) -> None:
    """With a token, requests and WebSockets without it get status 401; health and metrics need none."""
    with running([EXPORT / "lif"], environment={"DEPLOY_SNN_TOKEN": "secret"}) as served:
        url = f"http://{served.address}/v2/models/lif"
        assert httpx.get(url).status_code == 401
        for wrong in ("Bearer guess", "Bearer secre", "Bearer secrets", "Bearer", "secret"):
            assert httpx.get(url, headers={"Authorization": wrong}).status_code == 401, wrong
        assert httpx.get(url, headers={"Authorization": "Bearer secret"}).json()["name"] == "lif"
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):  # probes send no token
            assert httpx.get(f"http://{served.address}{path}").status_code == 200
        for action in ("load", "unload"):
            control = f"http://{served.address}/v2/repository/models/lif/{action}"
            assert httpx.post(control).status_code == 401
            forbidden = httpx.post(control, headers={"Authorization": "Bearer secret"})
            assert (forbidden.status_code, "--model-control" in forbidden.json()["error"]) == (403, True)
        assert rejected_websocket(served.address)[0] == 401
        assert rejected_websocket(served.address, Authorization="Bearer guess")[0] == 401
        passing = {"Authorization": "Bearer secret"}
        with connect(f"ws://{served.address}/v2/models/lif/stream", additional_headers=passing) as socket:
            assert json.loads(socket.recv())["model_name"] == "lif"


def test_other_origins_and_hosts(running: Callable) -> None:
    """Requests and WebSockets from pages of other origins, or for unknown hosts, get status 403."""
    with running([EXPORT / "lif"], "--allowed-host", "known.example", "--model-control") as served:
        own, other = {"Origin": f"http://{served.address}"}, {"Origin": "https://example.com"}
        unload = f"http://{served.address}/v2/repository/models/lif/unload"
        rebound = {"Origin": "http://attacker.example", "Host": "attacker.example"}
        for path in ("", "/v2/models/lif/sequences/1/state", "/metrics"):
            answer = httpx.get(f"http://{served.address}{path}", headers=rebound)
            assert (answer.status_code, "not known as attacker.example" in answer.text) == (403, True)
        for host in ("attacker.example", f"attacker.example:{served.address.split(':')[1]}", "127.0.0.1.example", "[::1"):
            assert httpx.post(unload, headers={"Origin": f"http://{host}", "Host": host}).status_code == 403
        assert rejected_websocket(served.address, **rebound)[0] == 403
        for host in ("localhost", "LOCALHOST:80", "[::1]:8000", "10.0.0.7", "known.example:9", gethostname()):
            ready = httpx.get(f"http://{served.address}/v2/models/lif/ready", headers={"Host": host})
            assert ready.status_code == 200, host
        for origin in (other, {"Origin": "null"}):
            assert httpx.post(unload, headers=origin).status_code == 403
            assert rejected_websocket(served.address, **origin) == (403, "cross-origin requests are not allowed")
        assert httpx.get(f"http://{served.address}/v2/models/lif/ready", headers=other).status_code == 200
        with connect(f"ws://{served.address}/v2/models/lif/stream", additional_headers=own) as socket:
            assert socket.recv()
        assert httpx.post(unload, headers=own).status_code == 200
