"""Reading request bodies: decompressed, with a limit on their size and on the time that they take to arrive."""

import asyncio
import zlib
from dataclasses import dataclass

from fastapi import Request

from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import BodyTimeout, BodyTooLarge

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True)
class BodyLimits:
    """The largest size of a body in bytes, after decompression, and the longest time in seconds that it may take."""

    size: int = 64 * 2**20
    seconds: float = 60.0


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Read a whole body and decompress it.

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
                body += decompressor.decompress(piece, limits.size + 1 - len(body)) if decompressor and piece else piece
                if len(body) > limits.size:
                    raise BodyTooLarge(f"the body is larger than {limits.size} bytes")
                if decompressor and decompressor.unused_data:  # zlib would store all data after its end
                    raise InvalidInput(f"the body has data after the end of its {encoding} stream")
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {encoding}: {error}") from None
    except TimeoutError:
        raise BodyTimeout(f"the body has not arrived within {limits.seconds:g} s") from None
    if decompressor and not decompressor.eof:
        raise InvalidInput(f"the body's {encoding} stream is incomplete")
    return bytes(body)
