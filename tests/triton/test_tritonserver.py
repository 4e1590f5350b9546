"""What ``deploy-snn triton --backend python`` writes, in a real tritonserver."""

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

from ..serving_driver import EXPORT, MODELS, aio, drive, grpc, http, many_at_once  # noqa: TID252


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(path, [Bundle.open(EXPORT / name) for name in MODELS], "python")
    # A copy whose sequences rest for no longer than a moment.
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


def test_many_at_once(triton: object) -> None:
    many_at_once(triton.http)
    with tritonclient.http.InferenceServerClient(triton.http) as client:
        (statistics,) = client.get_inference_statistics("lif")["model_stats"]
        assert statistics["execution_count"] < statistics["inference_count"]  # some ran together


def test_what_triton_itself_refuses(triton: object) -> None:
    """A chunk, as it fixes the number of axes; a request without a sequence; one whose sequence has rested too long."""
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


def test_more_streams_than_rows_of_a_batch(triton: object) -> None:
    """A stream that does nothing keeps nobody from beginning."""
    x = np.full((1, 8), 25, "float32")
    with http(triton.http) as client:
        for flags in ({"sequence_start": True}, {}, {"sequence_end": True}):
            for sequence in range(1, 2 * MAX_BATCH):
                client.infer("lif", {"x": x}, sequence_id=sequence, **flags)


def test_numpy_2_is_refused(repository: Path, running_triton: Callable) -> None:
    """Triton's python backend would hand the model inputs of other values than the client sent."""
    assert np.__version__.startswith("2.")
    with (
        pytest.raises(AssertionError, match="Triton's python backend misreads numpy 2"),
        running_triton(repository, python=Path(sys.prefix)),
    ):
        pass


def test_the_readme_s_client(triton: object) -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (EXPORT.parent / "serve/triton/README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert "localhost:8000" in block
    exec(block.replace("localhost:8000", triton.http), names := {})
    assert names["s"].shape == (1, 8)
