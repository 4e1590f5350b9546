"""The messages of ``open_inference.proto``, from the compiled file beside it.

They have a descriptor pool of their own. Modules that protoc generates share one pool for the whole process, in which the
clients of Triton and KServe define messages of the same names.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from deploy_snn.errors import InvalidInput

SERVICE = "inference.GRPCInferenceService"
POOL = DescriptorPool()
"""Of this service and of the health service, for reflection."""

_files = descriptor_pb2.FileDescriptorSet.FromString((Path(__file__).parent / "open_inference.binpb").read_bytes()).file
for _file in _files:
    POOL.Add(_file)
POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)


def message(name: str) -> Any:
    """The class of a message, such as ``ModelInferRequest``."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


def parse(data: bytes, kind: Any) -> Any:
    """Parse a message of a class. Raises InvalidInput for bytes that are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidInput(f"the request is not a valid {kind.DESCRIPTOR.name}") from None


def methods() -> Any:
    """The descriptors of the service's methods."""
    return POOL.FindServiceByName(SERVICE).methods
