"""The repository of ``deploy-snn triton --backend python`` in a real tritonserver."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http

from deploy_snn.bundle import Bundle
from deploy_snn.triton import write_repository
from deploy_snn.triton.config import MAX_BATCH

from ..serving_driver import EXPORT, MODELS, aio, concurrent_streams, drive, grpc, http  # noqa: TID252


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(path, [Bundle.open(EXPORT / name) for name in MODELS], "python")
    # A copy with an idle timeout of 0.3 s.
    shutil.copytree(path / "lif", path / "restless")
    config = path / "restless" / "config.pbtxt"
    text = config.read_text().replace('name: "lif"', 'name: "restless"')
    config.write_text(re.sub("max_sequence_idle_microseconds: .*", "max_sequence_idle_microseconds: 300000", text))
    return path


@pytest.fixture(scope="module")
def triton(repository: Path, running_triton: Callable) -> Iterator[object]:
    with running_triton(repository) as served:
        yield served


@pytest.mark.parametrize("connect", [http, aio, grpc])
def test_driver(connect: Callable, triton: object) -> None:
    with connect(triton.grpc if connect is grpc else triton.http) as client:
        drive(client)


def test_concurrent_streams(triton: object) -> None:
    concurrent_streams(triton.http)
    with tritonclient.http.InferenceServerClient(triton.http) as client:
        (statistics,) = client.get_inference_statistics("lif")["model_stats"]
        assert statistics["execution_count"] < statistics["inference_count"]  # some requests ran as a batch


def test_requests_that_triton_rejects(triton: object) -> None:
    """Triton rejects a chunk of steps, a request without a sequence, and a request after the idle timeout."""
    x = np.full((1, 8), 25, "float32")
    with http(triton.http) as client:
        client.refused("lif", {"x": np.stack([x, x])}, sequence_id="chunk", sequence_start=True)
        client.refused("lif", {"x": x})
        for model in ("lif", "restless"):
            client.infer(model, {"x": x}, sequence_id=1, sequence_start=True)
            client.infer(model, {"x": x}, sequence_id=1)
        time.sleep(2)
        client.infer("lif", {"x": x}, sequence_id=1, sequence_end=True)
        client.refused("restless", {"x": x}, sequence_id=1)


def test_more_streams_than_batch_rows(triton: object) -> None:
    """There can be more open streams than rows in a batch."""
    x = np.full((1, 8), 25, "float32")
    with http(triton.http) as client:
        for flags in ({"sequence_start": True}, {}, {"sequence_end": True}):
            for sequence in range(1, 2 * MAX_BATCH):
                client.infer("lif", {"x": x}, sequence_id=sequence, **flags)


def test_numpy_2_is_rejected(repository: Path, running_triton: Callable) -> None:
    """With numpy 2 the model does not load, since Triton's python backend would pass wrong input values."""
    assert np.__version__.startswith("2.")
    with (
        pytest.raises(AssertionError, match="Triton's python backend misreads numpy 2"),
        running_triton(repository, python=Path(sys.prefix)),
    ):
        pass


def test_client_of_the_readme(triton: object) -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (EXPORT.parent / "serve/triton/README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert "localhost:8000" in block
    exec(block.replace("localhost:8000", triton.http), names := {})
    assert names["s"].shape == (1, 8)
