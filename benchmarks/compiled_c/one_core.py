"""All that is measured runs on one core; compilers may use all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

CORES = os.sched_getaffinity(0)


def pin_to_one_core() -> None:
    """Run this process, and all that it starts, on the last core."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(CORES)})


@contextmanager
def all_cores() -> Iterator[None]:
    """Processes that are started meanwhile run on all cores."""
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, pinned)
