"""The fixture of a real tritonserver. Tests skip if it is not installed."""

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
