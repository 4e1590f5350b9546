"""The routes of the Open Inference Protocol."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, WebSocket
from fastapi.requests import HTTPConnection

from deploy_snn.server import infer as shortcut
from deploy_snn.server.body import read_body
from deploy_snn.server.channel import open_channel, run_channel
from deploy_snn.server.errors import ServerBusy
from deploy_snn.server.large import run_sized
from deploy_snn.server.names import sequence_in_path
from deploy_snn.server.protocol import config, metadata, server_metadata
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.server.schema import (
    ERROR_RESPONSES,
    INFER_BODY,
    INFER_RESPONSES,
    OCTET_STREAM,
    STATE_BODY,
    STATE_RESPONSES,
    IndexEntry,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
)
from deploy_snn.server.stream import pack_stream, unpack_stream

router = APIRouter(prefix="/v2", responses=ERROR_RESPONSES)

STEP_HEADER = "Sequence-Step"
"""The header, beside a stream's state, with the number of steps that the stream has taken."""


def repository(connection: HTTPConnection) -> Repository:
    """The models of the application."""
    found: Repository = connection.app.state.repository
    return found


@router.get("", response_model=ServerMetadata)
@router.get("/", response_model=ServerMetadata, include_in_schema=False)
async def server() -> dict[str, Any]:
    """The server's name and version, and the extensions of the protocol that it supports."""
    return server_metadata()


@router.get("/health/live", response_model=Live)
async def health() -> dict[str, bool]:
    """Respond, if the server is running."""
    return {"live": True}


@router.get("/health/ready", response_model=Ready)
async def server_ready(request: Request) -> dict[str, bool]:
    """Whether every loaded model can answer requests."""
    problems = repository(request).problems()
    if problems:
        raise ServerBusy("; ".join(problems))
    return {"ready": True}


@router.get("/models/stats")
async def all_statistics(request: Request) -> dict[str, Any]:
    """The statistics of all models, in Triton's form."""
    return repository(request).statistics("", VERSION)


@router.get("/models/{name}", response_model=ModelMetadata)
@router.get("/models/{name}/versions/{version}", response_model=ModelMetadata)
async def describe(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    model = repository(request).find(name, version)
    return metadata(name, model.platform, model.contract)


@router.get("/models/{name}/config")
@router.get("/models/{name}/versions/{version}/config")
async def model_config(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """The configuration of a model, in Triton's form."""
    model = repository(request).find(name, version)
    return config(name, model.platform, model.contract)


@router.get("/models/{name}/stats")
@router.get("/models/{name}/versions/{version}/stats")
async def statistics(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """The statistics of a model, in Triton's form."""
    return repository(request).statistics(name, version)


@router.get("/models/{name}/ready", response_model=ModelReady)
@router.get("/models/{name}/versions/{version}/ready", response_model=ModelReady)
async def ready(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """Whether a model is loaded and can answer requests."""
    problem = repository(request).find(name, version).problem()
    if problem:
        raise ServerBusy(problem)
    return {"name": name, "ready": True}


@router.post("/models/{name}/infer", responses=INFER_RESPONSES, openapi_extra=INFER_BODY)
@router.post("/models/{name}/versions/{version}/infer", responses=INFER_RESPONSES, openapi_extra=INFER_BODY)
async def infer(request: Request, name: str, version: str = VERSION) -> Response:
    """Step a model: one step or a chunk of steps, of a stream or, without a sequence, from the initial state."""
    return await shortcut.infer(repository(request), request, name, version)  # InferShortcut comes before it


@router.websocket("/models/{name}/stream")
async def stream(
    socket: WebSocket,
    name: str,
    sequence_id: str | None = None,
    *,
    sequence_start: bool = False,
    batch: Annotated[int | None, Query(ge=1)] = None,
    seed: Annotated[int | None, Query(ge=0, lt=2**64)] = None,
) -> None:
    """A stream on a WebSocket: an existing one, a new one, or, without a ``sequence_id``, one that ends with it."""
    sequence = None if sequence_id is None else sequence_in_path(sequence_id)
    channel = await open_channel(repository(socket), name, sequence, start=sequence_start, batch=batch, seed=seed)
    await run_channel(socket, channel)


@router.get("/models/{name}/sequences/{sequence:path}/state", responses=STATE_RESPONSES, response_class=Response)
async def download_state(request: Request, name: str, sequence: str) -> Response:
    """The state of a stream, as a tensor file that every host and ``deploy-snn run`` can read."""
    models, sequence_id = repository(request), sequence_in_path(sequence)
    model = models.find(name, VERSION)
    with models.span("read state", name, "http", request.headers):
        stream = await model.stream(sequence_id)
        packed = await run_sized(stream.nbytes, pack_stream, stream)
    return Response(packed, media_type=OCTET_STREAM, headers={STEP_HEADER: str(stream.steps)})


@router.put(
    "/models/{name}/sequences/{sequence:path}/state",
    status_code=HTTPStatus.CREATED,
    response_class=Response,
    openapi_extra=STATE_BODY,
)
async def upload_state(request: Request, name: str, sequence: str) -> Response:
    """Create a stream from a state that was downloaded from this or another server."""
    models, sequence_id = repository(request), sequence_in_path(sequence)
    model = models.find(name, VERSION)
    with models.in_flight.request() as take, models.span("write state", name, "http", request.headers):
        body = await read_body(request, models.settings.body, take)
        stream = await run_sized(len(body), unpack_stream, body, model.contract, sequence_id, "the body")
        await model.import_stream(sequence_id, stream)
    return Response(status_code=HTTPStatus.CREATED, headers={STEP_HEADER: str(stream.steps)})


@router.post("/repository/index", response_model=list[IndexEntry])
async def index(request: Request) -> list[dict[str, str]]:
    """All bundles that the server was started with."""
    return repository(request).index()


@router.post("/repository/models/{name}/load", response_class=Response)
async def load(request: Request, name: str) -> Response:
    """Load one of these bundles."""
    models = repository(request)
    models.check_control()
    models.load(name)
    return Response()


@router.post("/repository/models/{name}/unload", response_class=Response)
async def unload(request: Request, name: str) -> Response:
    """Unload a model after its pending requests are answered. Its streams are lost, except those in a store."""
    models = repository(request)
    models.check_control()
    await models.unload(name)
    return Response()
