"""The repository for Triton's onnxruntime backend gives the outputs of eager torch, in a simulation of Triton."""

import random
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.triton import write_repository

from ..serving_driver import EXPORT, draw, expected  # noqa: TID252
from .implicit_state import ImplicitState, Request

NAMES = sorted(path.name for path in EXPORT.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(path, [Bundle.open(EXPORT / name) for name in NAMES], "onnxruntime")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_sequences_equal_eager(name: str, repository: Path) -> None:
    """Three sequences, stepped in random batches, equal eager torch. Each is restarted before it has ended."""
    bundle, chance, steps = Bundle.open(EXPORT / name), random.Random(name), 40
    triton = ImplicitState(repository / name)
    runs = {key: expected(bundle, draw(bundle, steps, 1, seed), key) for seed, key in enumerate((3, "3", "third"))}
    lives = {key: [*range(25), *range(steps)] for key in runs}
    most = 3 if triton.config.max_batch_size else 1
    assert bool(triton.config.max_batch_size) != bundle.contract.couples_batch
    while lives:
        together = chance.sample(list(lives), min(len(lives), chance.randint(1, most)))
        turns = {key: lives[key].pop(0) for key in together}
        requests = [
            Request(key, {name: array[step] for name, array in runs[key][0].items()}, start=step == 0)
            for key, step in turns.items()
        ]
        for (key, step), answer in zip(turns.items(), triton.infer(requests), strict=True):
            for output, array in answer.items():
                assert_array_equal(array, runs[key][1][output][step], err_msg=f"{key!r}, step {step}, {output}")
        lives = {key: left for key, left in lives.items() if left}
