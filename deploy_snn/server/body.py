"""Bodies of requests: unpacked, and no larger and no slower than they may be."""

import asyncio
import zlib
from dataclasses import dataclass

from fastapi import Request

from deploy_snn.errors import InvalidInput
from deploy_snn.server.refusals import TooLarge, TooSlow

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True)
class Bounds:
    """What a body may take: bytes, unpacked, and seconds."""

    size: int = 64 * 2**20
    seconds: float = 60.0


async def read_body(request: Request, bounds: Bounds) -> bytes:
    """Put a body together, and unpack it.

    Raises TooLarge or TooSlow as soon as it is, InvalidInput for one that is not packed as it says.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", *ENCODINGS):
        raise InvalidInput(f"content-encoding {encoding[:20]}: expected {', '.join(ENCODINGS)}")
    unpack = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(bounds.seconds):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise InvalidInput("the client went away in the middle of its body")
                piece, more = message.get("body", b""), message.get("more_body", False)
                body += unpack.decompress(piece, bounds.size + 1 - len(body)) if unpack and piece else piece
                if len(body) > bounds.size:
                    raise TooLarge(f"the body is larger than {bounds.size} bytes")
                if unpack and unpack.unused_data:  # zlib would keep whatever comes
                    raise InvalidInput(f"more follows the end of the body's {encoding}")
    except zlib.error as error:
        raise InvalidInput(f"the body is no {encoding}: {error}") from None
    except TimeoutError:
        raise TooSlow(f"the body has not arrived within {bounds.seconds:g} s") from None
    if unpack and not unpack.eof:
        raise InvalidInput(f"the body ends in the middle of its {encoding}")
    return bytes(body)
