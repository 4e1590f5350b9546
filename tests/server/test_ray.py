"""The application of serve/ray on Ray Serve: replicas are added, removed and killed, and no acknowledged step is lost."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ..redis_process import Redis  # noqa: TID252

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("DEPLOY_SNN_RAY_PYTHON", ROOT / ".venv" / "ray" / "bin" / "python"))


@pytest.mark.skipif(not PYTHON.exists(), reason="no Ray: serve/ray/README.md says how to install it in .venv/ray")
def test_changing_replicas(redis: Redis, free_port: Callable[[], int]) -> None:
    command = [PYTHON, Path(__file__).with_name("ray_driver.py"), redis.url, str(free_port())]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'serve' / 'ray'}", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    (found,) = (line[5:] for line in done.stdout.splitlines() if line.startswith("seen "))
    seen = json.loads(found)
    assert seen["phase"] == ["1", "3", "4", "kill", "3 again"]
    assert seen["replicas"][:3] == [1, 3, 4], seen
    assert seen["split"] == [0] * 5, "a stream changed its replica while the replicas did not change"
    assert seen["steps"][0] >= 20 * 15 * 10
