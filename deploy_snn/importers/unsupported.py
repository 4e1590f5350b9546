"""Files that no importer reads: what they are, by their content, and what to do instead."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.advice import COPY_WEIGHTS

HEAD = 4096
ONNX_IR_VERSIONS = range(1, 33)
ONNX_SECOND_FIELDS = (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42)
"""The bytes that can follow ir_version in a ModelProto: producer_name, producer_version, domain, ..., opset_import."""


def unsupported_file(path: Path, importers: Sequence[str]) -> InvalidInput:
    """Return the error for a file that no importer recognises: what the file is, and what to do instead."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return InvalidInput(f"{path} cannot be read: {error.strerror or error}")
    return InvalidInput(f"{path} {_description(path, head) or _unknown(importers)}")


def _unknown(importers: Sequence[str]) -> str:
    return f"is of no known format; importers: {', '.join(importers)}"


def _description(path: Path, head: bytes) -> str:  # noqa: PLR0911  (one for each kind of file)
    """The rest of a sentence that begins with the path; "" for a file of an unknown kind."""
    if not head:
        return "is empty: save the model again"
    if head.startswith(b"PK"):
        return _zip_description(path)
    if _is_safetensors(head):
        return f"is a safetensors file, tensors without the network that they belong to: {COPY_WEIGHTS}"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"is a plain pickle, which cannot be read without running code: {COPY_WEIGHTS}"
    if head[0] == 0x08 and len(head) > 2 and head[1] in ONNX_IR_VERSIONS and head[2] in ONNX_SECOND_FIELDS:
        return f"is an ONNX file, which is a format to export to: {COPY_WEIGHTS}"
    if _is_text(head):
        return "is text: a Python file with build() needs a name that ends in .py"
    return ""


def _zip_description(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return "is a damaged zip archive: copy or save it again"
    if names and all(name.endswith(".npy") for name in names):
        return f"is an .npz file, arrays without the network that they belong to: {COPY_WEIGHTS}"
    if "model.weights.h5" in names:
        return f"is a Keras model: {COPY_WEIGHTS}"
    if any(name.rpartition("/")[2] == "archive_format" for name in names):
        return "is a torch.export program, in which state and code are mixed: give the Python file that builds the network"
    return "is a zip archive, but not one of torch.save: give a file of torch.save or a NIR file"


def _is_safetensors(head: bytes) -> bool:
    """An 8-byte length, and then the JSON header of that length."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character that is cut at the end of the head is no error
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character.isspace() for character in text)
