"""Torch's private and deprecated API. No other file touches it, so that a torch release can break only this one.

TorchScript is deprecated: where ``torch.jit`` is gone, all but the format and the runtime ``torchscript`` still works.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from deploy_snn.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "aot_compile",
    "export_to_onnx_ir",
    "is_scripting",
    "load_aoti_package",
    "load_script",
    "output_places",
    "save_script",
    "scan",
    "script",
    "script_export",
    "script_unused",
    "silence_leaf_spec_warning",
    "torchscript_missing",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_jit: Any = getattr(torch, "jit", None)
TORCHSCRIPT = ("script", "load", "save", "export", "unused", "is_scripting")


def torchscript_missing() -> str | None:
    """Why TorchScript cannot be used with this torch, or None if it can."""
    gone = [name for name in TORCHSCRIPT if not hasattr(_jit, name)]
    return f"torch {torch.__version__} has no torch.jit.{gone[0]}" if gone else None


def script_export(function: Function) -> Function:
    """Mark a method that TorchScript compiles besides ``forward``."""
    marked: Function = _jit.export(function) if hasattr(_jit, "export") else function
    return marked


def script_unused(function: Function) -> Function:
    """Mark a method that TorchScript leaves out."""
    marked: Function = _jit.unused(function) if hasattr(_jit, "unused") else function
    return marked


def _never_scripting() -> bool:
    return False


is_scripting: Callable[[], bool] = getattr(_jit, "is_scripting", _never_scripting)
"""Whether TorchScript compiles the code around the call."""


@contextmanager
def _silence_torchscript_warning() -> Iterator[None]:
    """Silence exactly the notice that TorchScript is deprecated: C++ hosts load it today, and .pt2 files stand beside it."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)", category=DeprecationWarning
        )
        yield


def script(module: nn.Module) -> Any:
    """Compile a module with TorchScript.

    Raises InvalidInput for code that TorchScript cannot compile, Unavailable where torch has no TorchScript any more.
    """
    reason = torchscript_missing()
    if reason:
        raise Unavailable(f"format torchscript cannot be written: {reason}")
    try:
        with _silence_torchscript_warning():
            return _jit.script(module)
    except RuntimeError as error:  # its text is the compiler's report, many lines long
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" ~<-HERE")]
        raise InvalidInput(
            f"TorchScript cannot compile the model: {' '.join(lines[:3])}; change the code, or export without the format torchscript"
        ) from error


def save_script(scripted: Any, path: Path, files: dict[str, str]) -> None:
    """Save a compiled module, with extra files inside."""
    with _silence_torchscript_warning():
        _jit.save(scripted, path, _extra_files=files)


def load_script(path: Path, files: dict[str, str]) -> Any:
    """Load a compiled module; ``files`` receives the extra files that it names. Raises RuntimeError or ValueError."""
    with _silence_torchscript_warning():
        return _jit.load(path, _extra_files=files)


@contextmanager
def silence_leaf_spec_warning() -> Iterator[None]:
    """Silence exactly the notice that LeafSpec is deprecated, which torch.export causes itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
        yield


def output_places(captured: ExportedProgram) -> tuple[dict[str, int], dict[str, int]]:
    """The places, among the outputs of a captured graph, of its two dictionaries: outputs and next states."""
    spec = captured.call_spec.out_spec
    assert spec is not None
    outputs, states = pytree.tree_unflatten(range(spec.num_leaves), spec)
    return outputs, states


@cache
def _onnx_registry(opset: int) -> Any:
    """The exporter's registry of operators. Building it takes as long as an export, so it is shared."""
    from torch.onnx._internal.exporter import _constants, _registration  # noqa: PLC0415

    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it would report that torchvision, which nothing here uses, is not installed
    try:
        return _registration.ONNXRegistry.from_torchlib(opset_version=max(opset, _constants.TORCHLIB_OPSET))
    finally:
        exporter.setLevel(level)


def export_to_onnx_ir(
    captured: ExportedProgram, opset: int, input_names: Sequence[str], output_names: Sequence[str]
) -> "ir.Model":
    """Convert a captured graph to ONNX, not optimised. As ``torch.onnx.export``, with a registry that is shared."""
    from torch.onnx._internal.exporter import _core  # noqa: PLC0415

    with silence_leaf_spec_warning():
        exported = _core.export(
            captured,
            (),
            None,
            registry=_onnx_registry(opset),
            dynamic_shapes={},
            input_names=input_names,
            output_names=output_names,
            verbose=False,
            optimize=False,
            opset_version=opset,
        )
    return exported.model


def aot_compile(
    captured: ExportedProgram, path: Path, model: str, folder: str, options: dict[str, Any], files: dict[str, str]
) -> None:
    """Compile a captured graph with AOTInductor into a package, with extra files inside.

    Raises Unavailable where there is no C++ compiler, or where it fails.
    """
    # The compiler takes a second to import. On the way it uses TorchScript.
    with _silence_torchscript_warning():
        from torch._inductor import aot_compile as compile_graph  # noqa: PLC0415
        from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415
        from torch._inductor.exc import InductorError, InvalidCxxCompiler  # noqa: PLC0415
        from torch.export.pt2_archive._package import package_pt2  # noqa: PLC0415

    options = {
        "aot_inductor.package": True,
        "aot_inductor.enable_line_tables": False,
        "aot_inductor.output_path": folder,
    } | options
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise Unavailable("format aoti needs a C++ compiler, and there is none: install g++, or set CXX") from None
    with _silence_torchscript_warning(), silence_leaf_spec_warning():
        try:
            compiled: Any = compile_graph(captured.module(check_guards=False), *captured.example_inputs, options=options)
        except InductorError as error:
            raise Unavailable(f"format aoti could not be compiled: {str(error).strip().partition(chr(10))[0]}") from None
        # The sources that it packs too name the paths of this machine, and no loader needs them.
        kept: list[Any] = [file for file in compiled if not str(file).endswith(".cpp")]
        package_pt2(path, aoti_files={model: kept}, extra_files=files)


def load_aoti_package(path: Path) -> Any:
    """Load a compiled package. Raises RuntimeError for a damaged one."""
    with _silence_torchscript_warning():  # it takes a second to import, and uses TorchScript on the way
        from torch._inductor import aoti_load_package  # noqa: PLC0415

    # It warns of a CPU that knows more than the code uses.
    loader = logging.getLogger("torch.export.pt2_archive._package")
    loader.addFilter(_no_device_mismatch)
    try:
        return aoti_load_package(str(path), run_single_threaded=True)
    finally:
        loader.removeFilter(_no_device_mismatch)


def _no_device_mismatch(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Device information mismatch")
