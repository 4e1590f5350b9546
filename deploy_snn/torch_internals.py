"""Torch's private and deprecated API. No other file uses it, so a torch release can break only this file.

TorchScript is deprecated. In a torch without ``torch.jit``, everything works but the format and the runtime
``torchscript``.
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
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_snn.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "aot_compile",
    "export_to_onnx_ir",
    "is_scripting",
    "load_aoti_package",
    "load_script",
    "observe_operations",
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
    """The reason why this torch cannot use TorchScript, or None if it can."""
    missing = [name for name in TORCHSCRIPT if not hasattr(_jit, name)]
    return f"torch {torch.__version__} has no torch.jit.{missing[0]}" if missing else None


def script_export(function: Function) -> Function:
    """Mark a method for TorchScript to compile, in addition to ``forward``."""
    marked: Function = _jit.export(function) if hasattr(_jit, "export") else function
    return marked


def script_unused(function: Function) -> Function:
    """Mark a method that TorchScript must not compile."""
    marked: Function = _jit.unused(function) if hasattr(_jit, "unused") else function
    return marked


def _never_scripting() -> bool:
    return False


is_scripting: Callable[[], bool] = getattr(_jit, "is_scripting", _never_scripting)
"""Whether TorchScript is compiling the calling code."""


@contextmanager
def _silence_torchscript_warning() -> Iterator[None]:
    """Silence only the warning that TorchScript is deprecated. C++ hosts still load it; a bundle has .pt2 files too."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)", category=DeprecationWarning
        )
        yield


def script(module: nn.Module) -> Any:
    """Compile a module with TorchScript.

    Raises InvalidInput for code that TorchScript cannot compile, Unavailable if torch has no TorchScript.
    """
    reason = torchscript_missing()
    if reason:
        raise Unavailable(f"format torchscript cannot be written: {reason}")
    try:
        with _silence_torchscript_warning():
            return _jit.script(module)
    except RuntimeError as error:  # its text is a compiler report of many lines
        lines = [line.strip() for line in str(error).splitlines() if set(line) - set(" ~<-HER")]
        raise InvalidInput(
            f"TorchScript cannot compile the model: {' '.join(lines[:3])}; "
            "change the code, or export without the format torchscript"
        ) from error


def save_script(scripted: Any, path: Path, files: dict[str, str]) -> None:
    """Save a compiled module together with extra files."""
    with _silence_torchscript_warning():
        _jit.save(scripted, path, _extra_files=files)


def load_script(path: Path, files: dict[str, str]) -> Any:
    """Load a compiled module and fill ``files`` with its extra files. Raises RuntimeError or ValueError."""
    with _silence_torchscript_warning():
        return _jit.load(path, _extra_files=files)


@contextmanager
def silence_leaf_spec_warning() -> Iterator[None]:
    """Silence only the warning that LeafSpec is deprecated: torch.export itself causes it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
        yield


class _Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls a function with each operation that torch runs."""

    def __init__(self, observe: Callable[[str, tuple[Any, ...], Any], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observe = observe

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._observe(str(func.overloadpacket).removeprefix("aten."), args, result)
        return result


def observe_operations(observe: Callable[[str, tuple[Any, ...], Any], None]) -> TorchDispatchMode:
    """A context in which ``observe(name, arguments, result)`` is called with each operation, such as ``"where"``."""
    return _Observer(observe)


def output_places(captured: ExportedProgram) -> tuple[dict[str, int], dict[str, int]]:
    """Map each output name and each next state's name to its position among the results of a captured graph."""
    spec = captured.call_spec.out_spec
    assert spec is not None
    outputs, states = pytree.tree_unflatten(range(spec.num_leaves), spec)
    return outputs, states


@cache
def _onnx_registry(opset: int) -> Any:
    """The exporter's registry of operators. Building it takes as long as an export, so it is cached."""
    from torch.onnx._internal.exporter import _constants, _registration  # noqa: PLC0415

    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it would warn that torchvision is not installed, and nothing here uses torchvision
    try:
        return _registration.ONNXRegistry.from_torchlib(opset_version=max(opset, _constants.TORCHLIB_OPSET))
    finally:
        exporter.setLevel(level)


def export_to_onnx_ir(
    captured: ExportedProgram, opset: int, input_names: Sequence[str], output_names: Sequence[str]
) -> "ir.Model":
    """Convert a captured graph to ONNX without optimising it, like ``torch.onnx.export``, but with a cached registry."""
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
    captured: ExportedProgram, path: Path, *, model: str, folder: str, options: dict[str, Any], files: dict[str, str]
) -> None:
    """Compile a captured graph with AOTInductor into a package with extra files.

    Raises Unavailable if no C++ compiler is installed, or if it fails.
    """
    # Importing the compiler takes a second, and the import uses TorchScript.
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
        raise Unavailable("format aoti needs a C++ compiler, and none was found: install g++, or set CXX") from None
    with _silence_torchscript_warning(), silence_leaf_spec_warning():
        try:
            compiled: Any = compile_graph(captured.module(check_guards=False), *captured.example_inputs, options=options)
        except InductorError as error:
            raise Unavailable(f"format aoti could not be compiled: {str(error).strip().partition(chr(10))[0]}") from None
        # The generated sources contain paths of this machine, and no loader needs them.
        kept: list[Any] = [file for file in compiled if not str(file).endswith(".cpp")]
        package_pt2(path, aoti_files={model: kept}, extra_files=files)


def load_aoti_package(path: Path) -> Any:
    """Load a compiled package. Raises RuntimeError for a damaged one."""
    with _silence_torchscript_warning():  # the import takes a second, and uses TorchScript
        from torch._inductor import aoti_load_package  # noqa: PLC0415

    # The loader warns if this CPU has more instructions than the code uses.
    loader = logging.getLogger("torch.export.pt2_archive._package")
    loader.addFilter(_no_device_mismatch)
    try:
        return aoti_load_package(str(path), run_single_threaded=True)
    finally:
        loader.removeFilter(_no_device_mismatch)


def _no_device_mismatch(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Device information mismatch")
