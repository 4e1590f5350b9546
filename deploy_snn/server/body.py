"""Reading request bodies: decompressed, with a limit on their size and on the time that they take to arrive."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request

from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import BodyTimeout, BodyTooLarge, ServerBusy

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True)
class BodyLimits:
    """The largest size of a body in bytes, after decompression, and the longest time in seconds that it may take."""

    size: int = 64 * 2**20
    seconds: float = 60.0
    in_flight: int = 256 * 2**20
    """The largest size in bytes of all bodies that are read or answered at the same time."""


class BytesInFlight:
    """Counts the bytes of all requests that are read or answered at the same time."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0

    def take(self, size: int) -> None:
        """Count bytes. Raises ServerBusy beyond the limit."""
        if self._used + size > self._limit:
            raise ServerBusy(f"the requests in progress have more than {self._limit} bytes in all")
        self._used += size

    def give_back(self, size: int) -> None:
        """Count bytes back."""
        self._used -= size

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Give a function that counts bytes, which are counted back at the end. It raises ServerBusy beyond the limit."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            self.take(size)
            own += size

        try:
            yield take
        finally:
            self.give_back(own)


PIECE = 2**18
"""A body is decompressed in pieces of so many bytes. Between them, others may run."""


async def read_body(request: Request, limits: BodyLimits, take: Callable[[int], None]) -> bytes:
    """Read a whole body and decompress it. ``take`` is called with the size of each piece, before it is kept.

    Raises BodyTooLarge or BodyTimeout as soon as a limit is exceeded; InvalidInput for a body that does not match its
    content encoding.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", *ENCODINGS):
        raise InvalidInput(f"unknown content-encoding '{encoding[:20]}'; choose from {', '.join(ENCODINGS)}")
    decompressor = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(limits.seconds):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise InvalidInput("the client disconnected before the end of the body")
                piece, more = message.get("body", b""), message.get("more_body", False)
                async for part in _decompressed(decompressor, piece, encoding):
                    if len(body) + len(part) > limits.size:
                        raise BodyTooLarge(f"the body is larger than {limits.size} bytes")
                    take(len(part))
                    body += part
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {encoding}: {error}") from None
    except TimeoutError:
        raise BodyTimeout(f"the body has not arrived within {limits.seconds:g} s") from None
    if decompressor and not decompressor.eof:
        raise InvalidInput(f"the body's {encoding} stream is incomplete")
    return bytes(body)


async def _decompressed(decompressor: "zlib._Decompress | None", piece: bytes, encoding: str) -> AsyncIterator[bytes]:
    """The parts of a piece of a body, decompressed. Raises InvalidInput for data after the end of the compressed stream."""
    if decompressor is None:
        yield piece
        return
    full = bool(piece)
    while full:
        part = decompressor.decompress(piece, PIECE)
        piece, full = decompressor.unconsumed_tail, len(part) == PIECE and not decompressor.eof
        if decompressor.unused_data:  # zlib would store all data after its end
            raise InvalidInput(f"the body has data after the end of its {encoding} stream")
        yield part
        await asyncio.sleep(0)
