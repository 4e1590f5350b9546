"""Work on large requests, which must not hold up the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

LARGE = 2**16
"""Work on more bytes than this runs in a thread."""

T = TypeVar("T")


async def run_sized(size: int, function: Callable[..., T], *arguments: object) -> T:
    """Call a function that works on ``size`` bytes: here if they are few, else in a thread."""
    return function(*arguments) if size <= LARGE else await asyncio.to_thread(function, *arguments)
