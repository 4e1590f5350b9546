"""From the body of an infer request to its response."""

from fastapi import Response

from deploy_snn.server.model import Model
from deploy_snn.server.protocol import HEADER_LENGTH, parse_request, render_response
from deploy_snn.server.schema import OCTET_STREAM


async def infer_response(model: Model, body: bytes, header_length: str | None) -> Response:
    """Parse an infer request, step the model and render the response.

    ``header_length`` is the value of the header of that name, if the request has it. Raises what ``parse_request`` and
    ``Model.infer`` raise.
    """
    request = parse_request(body, header_length)
    result = await model.infer(request)
    rendered, length = render_response(model.name, request, result.outputs, result.steps)
    if length is None:
        return Response(rendered, media_type="application/json")
    return Response(rendered, media_type=OCTET_STREAM, headers={HEADER_LENGTH: str(length)})
