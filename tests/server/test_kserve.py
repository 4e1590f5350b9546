"""The manifest of serve/kserve is valid, and KServe's own client works with a server that has the manifest's options."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ..redis_process import Redis  # noqa: TID252

ROOT = Path(__file__).parent.parent.parent
MANIFEST = ROOT / "serve" / "kserve" / "inference-service.yaml"
PYTHON = Path(os.environ.get("DEPLOY_SNN_KSERVE_PYTHON", ROOT / ".venv" / "kserve" / "bin" / "python"))

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no KServe: serve/kserve/README.md says how to install it")


def kserve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, Path(__file__).with_name("kserve_driver.py"), *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)


def test_manifest() -> None:
    done = kserve("manifest", MANIFEST)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("minReplicas: 1", "minReplica: 1"), ".spec.predictor: unknown minReplica"),
        (
            ("containerPort: 8080", "containerPort: http"),
            "ports[0].containerPort: expected int",
        ),
        (("timeout: 60", "timeout: long"), ".spec.predictor.timeout: expected int"),
        (("predictor:", "predict:"), ".spec: unknown predict"),
    ],
)
def test_invalid_manifests(change: tuple[str, str], error: str, tmp_path: Path) -> None:
    """The check of the manifest finds errors."""
    (tmp_path / "wrong.yaml").write_text(MANIFEST.read_text().replace(*change, 1))
    done = kserve("manifest", tmp_path / "wrong.yaml")
    assert done.returncode == 1
    assert error in done.stderr, done.stderr


def test_client(running: Callable, redis: Redis) -> None:
    (container,) = yaml.safe_load(MANIFEST.read_text())["spec"]["predictor"]["containers"]
    command, bundle, *options = container["args"]
    assert (command, bundle) == ("serve", "/mnt/models/lif")
    ours = [option for option in options if not re.match(r"--(host|port|store)=", option)]
    assert len(ours) == len(options) - 3
    with running([ROOT / "export" / "lif"], "--store", redis.url, *ours) as served:
        done = kserve("client", served.address, "lif")
    assert done.returncode == 0, done.stderr
