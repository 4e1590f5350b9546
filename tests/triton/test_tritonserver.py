"""What ``deploy-snn triton --backend python`` writes, in a real tritonserver."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.http

from deploy_snn.formats import Bundle
from deploy_snn.triton import write_repository

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
