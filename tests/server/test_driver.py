"""Run the checks of ``serving_driver.py`` against our server; ``tests/triton`` runs them against Triton."""

from collections.abc import Callable, Iterator

import pytest

from ..serving_driver import EXPORT, MODELS, aio, concurrent_streams, drive, http  # noqa: TID252


@pytest.fixture(scope="module")
def address(running: Callable) -> Iterator[str]:
    with running([EXPORT / name for name in MODELS]) as served:
        yield served.address


@pytest.mark.parametrize("connect", [http, aio])
def test_driver(connect: Callable, address: str) -> None:
    with connect(address) as client:
        drive(client)


def test_concurrent_streams(address: str) -> None:
    concurrent_streams(address)
