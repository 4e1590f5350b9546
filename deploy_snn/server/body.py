"""Bodies of requests: unpacked, and no larger than they may be."""

import zlib
from collections.abc import AsyncIterator

from deploy_snn.errors import InvalidInput
from deploy_snn.server.refusals import TooLarge

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read_body(pieces: AsyncIterator[bytes], encoding: str, most: int) -> bytes:
    """Put a body together. Raises TooLarge as soon as it is, InvalidInput for one that is not packed as it says."""
    if encoding not in ("identity", *ENCODINGS):
        raise InvalidInput(f"content-encoding {encoding[:20]}: expected {', '.join(ENCODINGS)}")
    unpack = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    body = bytearray()
    async for piece in pieces:
        try:
            body += unpack.decompress(piece, most + 1 - len(body)) if unpack and piece else piece
        except zlib.error as error:
            raise InvalidInput(f"the body is no {encoding}: {error}") from None
        if len(body) > most:
            raise TooLarge(f"the body is larger than {most} bytes")
    if unpack and not unpack.eof:
        raise InvalidInput(f"the body ends in the middle of its {encoding}")
    return bytes(body)
