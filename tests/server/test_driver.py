"""The driver that also runs against Triton Inference Server, against our server."""

from collections.abc import Callable, Iterator

import pytest

from ..serving_driver import EXPORT, MODELS, aio, drive, http, many_at_once  # noqa: TID252


@pytest.fixture(scope="module")
def address(running: Callable) -> Iterator[str]:
    with running([EXPORT / name for name in MODELS]) as served:
        yield served.address


@pytest.mark.parametrize("connect", [http, aio])
def test_driver(connect: Callable, address: str) -> None:
    with connect(address) as client:
        drive(client)


def test_many_at_once(address: str) -> None:
    many_at_once(address)
