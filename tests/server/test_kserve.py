"""The manifest of serve/kserve, and KServe's own client with a server that runs as the manifest says."""

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
    ("change", "complaint"),
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
def test_manifests_that_are_wrong(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    """The check can fail."""
    (tmp_path / "wrong.yaml").write_text(MANIFEST.read_text().replace(*change, 1))
    done = kserve("manifest", tmp_path / "wrong.yaml")
    assert done.returncode == 1
    assert complaint in done.stderr, done.stderr


def test_client(running: Callable, redis: Redis) -> None:
    (container,) = yaml.safe_load(MANIFEST.read_text())["spec"]["predictor"]["containers"]
    command, bundle, *options = container["args"]
    assert (command, bundle) == ("serve", "/mnt/models/lif")
    ours = [option for option in options if not re.match(r"--(host|port|store)=", option)]
    assert len(ours) == len(options) - 3
    with running([ROOT / "export" / "lif"], "--store", redis.url, *ours) as served:
        done = kserve("client", served.address, "lif")
    assert done.returncode == 0, done.stderr
