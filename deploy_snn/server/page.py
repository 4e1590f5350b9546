"""The live page, and the server-sent events that it displays."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from deploy_snn.server.names import sequence_in_path
from deploy_snn.server.routes import repository

router = APIRouter()

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in found)


HEADERS = {
    # The page shows names of streams, which any client may choose: no script or style may run but the page's own.
    "Content-Security-Policy": f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@router.get("/", include_in_schema=False)
async def page() -> HTMLResponse:
    """The page: streams, rates and a spike raster, live."""
    return HTMLResponse(PAGE, headers=HEADERS)


@router.get("/live", include_in_schema=False)
async def live(request: Request, model: str | None = None, sequence: str | None = None) -> StreamingResponse:
    """Snapshots of all streams, and the spikes of one stream, as server-sent events."""
    models = repository(request)
    selected = None if model is None or sequence is None else (model, sequence_in_path(sequence))
    events = models.monitor.snapshots(models.models, selected)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
