"""A real tritonserver, where this machine can have one."""

from collections.abc import Callable
from contextlib import contextmanager

import pytest

from .tritonserver import missing, tritonserver


@pytest.fixture(scope="session")
def running_triton() -> Callable[..., contextmanager]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    return tritonserver
