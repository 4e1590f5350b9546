"""From the body of an infer request to the response."""

from fastapi import Response

from deploy_snn.server.model import Model
from deploy_snn.server.protocol import HEADER_LENGTH, parse_request, render_response
from deploy_snn.server.schema import OCTETS


async def answer(model: Model, body: bytes, header_length: str | None) -> Response:
    """Step a model as a body asks. Raises as ``parse_request`` and ``Model.infer`` do."""
    asked = parse_request(body, header_length)
    given = await model.infer(asked)
    rendered, length = render_response(model.name, asked, given.outputs, given.steps)
    if length is None:
        return Response(rendered, media_type="application/json")
    return Response(rendered, media_type=OCTETS, headers={HEADER_LENGTH: str(length)})
