"""The routes of the Open Inference Protocol."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, WebSocket
from fastapi.requests import HTTPConnection

from deploy_snn import __version__
from deploy_snn.server.body import read_body
from deploy_snn.server.channel import converse, open_channel
from deploy_snn.server.infer import answer
from deploy_snn.server.protocol import HEADER_LENGTH, metadata, sequence_in_path
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.server.schema import (
    A_STATE,
    A_STATE_BODY,
    AN_INFER_BODY,
    ANSWERED,
    OCTETS,
    REFUSED,
    Indexed,
    ModelMetadata,
    Server,
)
from deploy_snn.server.stream import pack_stream, unpack_stream

router = APIRouter(prefix="/v2", responses=REFUSED)

STEP = "Sequence-Step"
"""How many steps a stream has taken whose state goes over the wire."""


def repository(connection: HTTPConnection) -> Repository:
    """The application's models."""
    found: Repository = connection.app.state.repository
    return found


@router.get("", response_model=Server)
@router.get("/", response_model=Server, include_in_schema=False)
async def server() -> dict[str, Any]:
    """What this server is, and which extensions of the protocol it knows."""
    extensions = ["binary_tensor_data", "sequence", "model_repository"]
    return {"name": "deploy_snn", "version": __version__, "extensions": extensions}


@router.get("/health/live", response_class=Response)
@router.get("/health/ready", response_class=Response)
async def health() -> Response:
    """Whether it answers."""
    return Response()


@router.get("/models/{name}", response_model=ModelMetadata)
@router.get("/models/{name}/versions/{version}", response_model=ModelMetadata)
async def describe(request: Request, name: str, version: str = VERSION) -> dict[str, Any]:
    """What a model takes and gives."""
    model = repository(request).find(name, version)
    return metadata(name, model.platform, model.contract)


@router.get("/models/{name}/ready", response_class=Response)
@router.get("/models/{name}/versions/{version}/ready", response_class=Response)
async def ready(request: Request, name: str, version: str = VERSION) -> Response:
    """Whether a model is loaded."""
    repository(request).find(name, version)
    return Response()


@router.post("/models/{name}/infer", responses=ANSWERED, openapi_extra=AN_INFER_BODY)
@router.post("/models/{name}/versions/{version}/infer", responses=ANSWERED, openapi_extra=AN_INFER_BODY)
async def infer(request: Request, name: str, version: str = VERSION) -> Response:
    """Step a model: one step, or a chunk of them; of a stream, or on its own from the initial state."""
    known = repository(request)
    model = known.find(name, version)
    with known.metrics.request(name):
        body = await read_body(request, known.settings.body)
        return await answer(model, body, request.headers.get(HEADER_LENGTH))


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
    """A stream on a WebSocket: one that there is, one that starts here, or, without a ``sequence_id``, one of its own."""
    sequence = None if sequence_id is None else sequence_in_path(sequence_id)
    channel = open_channel(repository(socket), name, sequence, start=sequence_start, batch=batch, seed=seed)
    await converse(socket, channel)


@router.get("/models/{name}/sequences/{sequence:path}/state", responses=A_STATE, response_class=Response)
async def give_state(request: Request, name: str, sequence: str) -> Response:
    """A stream's state, as a tensor file that every host and ``deploy-snn run`` reads."""
    stream = repository(request).find(name, VERSION).stream(sequence_in_path(sequence))
    return Response(pack_stream(stream), media_type=OCTETS, headers={STEP: str(stream.steps)})


@router.put(
    "/models/{name}/sequences/{sequence:path}/state",
    status_code=HTTPStatus.CREATED,
    response_class=Response,
    openapi_extra=A_STATE_BODY,
)
async def take_state(request: Request, name: str, sequence: str) -> Response:
    """A new stream that goes on from such a file."""
    known, own = repository(request), sequence_in_path(sequence)
    model = known.find(name, VERSION)
    body = await read_body(request, known.settings.body)
    stream = unpack_stream(body, model.contract, own, "the body")
    await model.adopt(own, stream)
    return Response(status_code=HTTPStatus.CREATED, headers={STEP: str(stream.steps)})


@router.post("/repository/index", response_model=list[Indexed])
async def index(request: Request) -> list[dict[str, str]]:
    """Every bundle that the server was started with."""
    return repository(request).index()


@router.post("/repository/models/{name}/load", response_class=Response)
async def load(request: Request, name: str) -> Response:
    """Load one of them."""
    repository(request).load(name)
    return Response()


@router.post("/repository/models/{name}/unload", response_class=Response)
async def unload(request: Request, name: str) -> Response:
    """Answer what it has been asked, and forget its streams."""
    await repository(request).unload(name)
    return Response()
