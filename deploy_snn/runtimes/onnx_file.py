"""Reading a bundle's ONNX files."""

import onnx
from google.protobuf.message import DecodeError

from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import Bundle

STEP = "step.onnx"
SEQUENCE = "sequence.onnx"


def load_onnx(bundle: Bundle, name: str) -> onnx.ModelProto:
    """Load a bundle's ONNX file. Raises InvalidInput if it is damaged, or of another model than the manifest."""
    path = bundle.file(name)
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise InvalidInput(f"{path} is no valid ONNX file: {str(error).strip().partition(chr(10))[0]}") from None
    inside = {entry.key: entry.value for entry in model.metadata_props}
    bundle.check_contract(Contract.parse(inside.get(CONTRACT_KEY, ""), str(path)), name)
    return model
