"""Torch's private and deprecated API. No other file uses it, so a torch release can break only this file.

TorchScript is deprecated. In a torch without ``torch.jit``, everything works but the format and the runtime
``torchscript``.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import cache
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan_op
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deploy_snn.errors import InvalidInput, Unavailable, first_line

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "aot_compile",
    "drop_unused_scan_inputs",
    "export_to_onnx_ir",
    "has_operator",
    "input_order",
    "is_scripting",
    "load_aoti_package",
    "load_operators",
    "load_script",
    "observe_operations",
    "output_places",
    "save_script",
    "scan",
    "script",
    "script_export",
    "script_operators",
    "script_unused",
    "silence_leaf_spec_warning",
    "torchscript_missing",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Tensors = dict[str, Tensor]
ScanBody = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]

_jit: Any = getattr(torch, "jit", None)
TORCHSCRIPT = ("script", "load", "save", "export", "unused", "is_scripting", "_recursive")


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


@contextmanager
def script_operators(source: str, namespace: str, schemas: Sequence[str], buffers: Tensors) -> Iterator[Any]:
    """Compile the methods of a module that calls operators, without the library of these operators.

    The module is valid only within the context: its nodes point to the operators, whose schemas are registered meanwhile.

    Args:
        source: the methods, in TorchScript.
        namespace: the namespace of the operators.
        schemas: their schemas.
        buffers: the buffers of the module.

    Raises Unavailable if torch has no TorchScript.
    """
    reason = torchscript_missing()
    if reason:
        raise Unavailable(f"format torchscript-custom cannot be written: {reason}")
    missing = [schema for schema in schemas if not has_operator(namespace, schema.partition("(")[0])]
    with torch.library._scoped_library(namespace, "FRAGMENT") as library:
        for schema in missing:
            library.define(schema)
        module = nn.Module()
        for name, tensor in buffers.items():
            module.register_buffer(name, tensor)
        with _silence_torchscript_warning():
            # torch.jit.script gives modules with equal buffers one type, which can have one set of methods.
            scripted = _jit._recursive.create_script_module(module.eval(), lambda _: [], share_types=False)
            scripted.define(source)
        yield scripted


def has_operator(namespace: str, name: str) -> bool:
    """Whether an operator is registered in this process."""
    return hasattr(getattr(torch.ops, namespace), name)


def load_operators(library: Path, namespace: str, names: Sequence[str]) -> None:
    """Load a library with operators, unless this process has them already.

    Raises OSError if it cannot be loaded, and LookupError with the first operator that it does not register.
    """
    if not all(has_operator(namespace, name) for name in names):
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    for name in names:
        if not has_operator(namespace, name):
            raise LookupError(name)


def save_script(scripted: Any, path: Path, files: dict[str, str]) -> None:
    """Save a compiled module together with extra files."""
    with _silence_torchscript_warning():
        _jit.save(scripted, path, _extra_files=files)


def load_script(path: Path, files: dict[str, str], device: str = "cpu") -> Any:
    """Load a compiled module on a device and fill ``files`` with its extra files. Raises RuntimeError or ValueError."""
    with _silence_torchscript_warning():
        return _jit.load(path, map_location=device, _extra_files=files)


@contextmanager
def silence_leaf_spec_warning() -> Iterator[None]:
    """Silence only the warning that LeafSpec is deprecated: torch.export itself causes it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
        yield


def scan(body: ScanBody, state: Tensors, sequences: Tensors, module: nn.Module) -> tuple[Tensors, Tensors]:
    """Step over sequences in one operator, which torch.export captures as one node: ``last_state, outputs``.

    torch's own ``scan`` compiles ``body`` to find the parameters that it uses, which takes most of an export. Here, all
    parameters of ``module`` become arguments of the operator, and ``drop_unused_scan_inputs`` removes those not used.

    Args:
        body: ``next_state, outputs = body(state, now)``. None of its results may be the same tensor as an argument.
        state: the first state. ``body`` returns the next ones in the same order.
        sequences: tensors with a leading time axis; ``body`` gets one step of each as ``now``.
        module: the module with all parameters and buffers that ``body`` uses.
    """
    parameters = dict(module.named_parameters()) | dict(module.named_buffers())
    outputs: list[str] = []

    def step(*tensors: Tensor) -> list[Tensor]:
        remaining = iter(tensors)
        carried = {name: next(remaining) for name in state}
        now = {name: next(remaining) for name in sequences}
        with _reparametrize_module(module, {name: next(remaining) for name in parameters}):
            after, results = body(carried, now)
        outputs[:] = results
        return [*after.values(), *results.values()]

    found = scan_op(step, [*state.values()], [*sequences.values()], tuple(parameters.values()))
    return dict(zip(state, found, strict=False)), dict(zip(outputs, found[len(state) :], strict=True))


def drop_unused_scan_inputs(captured: ExportedProgram) -> None:
    """Remove the parameters that the body of a captured ``scan`` does not use from its arguments."""
    graph = captured.graph_module
    for node in graph.graph.find_nodes(op="call_function", target=scan_op):
        place, initial, sequences, parameters = node.args
        body = getattr(graph, place.target)
        placeholders = body.graph.find_nodes(op="placeholder")[len(initial) + len(sequences) :]
        used = [bool(placeholder.users) for placeholder in placeholders]
        for placeholder in placeholders:
            if not placeholder.users:
                body.graph.erase_node(placeholder)
        body.recompile()
        node.args = (place, initial, sequences, tuple(compress(parameters, used)))
    graph.recompile()


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


def input_order(captured: ExportedProgram) -> list[str]:
    """The names of a captured graph's inputs and states, in the order of its arguments."""
    spec = captured.call_spec.in_spec
    assert spec is not None
    (inputs, states), _ = pytree.tree_unflatten(range(spec.num_leaves), spec)
    places = {place: name for named in (inputs, states) for name, place in named.items()}
    return [places[place] for place in range(spec.num_leaves)]


@cache
def _whole_onnx_registry(opset: int) -> Any:
    """The exporter's registry of all operators. Building it takes as long as an export, so it is cached."""
    from torch.onnx._internal.exporter import _constants, _registration  # noqa: PLC0415

    # It would warn that torchvision is not installed, and nothing here uses torchvision.
    with _errors_only("torch.onnx._internal.exporter._registration"):
        return _registration.ONNXRegistry.from_torchlib(opset_version=max(opset, _constants.TORCHLIB_OPSET))


@cache
def _torchlib_operators() -> Sequence[Any]:
    """The ONNX functions of all operators. Listing them takes half a second, so they are cached."""
    from onnxscript._framework_apis import torch_2_11 as onnxscript_apis  # noqa: PLC0415

    operators: Sequence[Any] = onnxscript_apis.get_torchlib_ops()
    return operators


def _onnx_registry(opset: int, targets: set[Any]) -> Any:
    """The part of the exporter's registry that some operators need, which takes a hundredth of the time."""
    from torch.onnx._internal.exporter import _constants, _registration  # noqa: PLC0415
    from torch.onnx._internal.exporter._torchlib import _torchlib_registry  # noqa: PLC0415

    registry = _registration.ONNXRegistry()
    registry._opset_version = max(opset, _constants.TORCHLIB_OPSET)
    for meta in _torchlib_registry.get_torchlib_ops():
        registry._register(meta.fx_target, meta)
    names = {str(target).replace(".", "::", 1).removesuffix(".default"): target for target in targets}
    names |= {f"_operator::{target.__name__}": target for target in targets if target.__module__ == "_operator"}
    for found in _torchlib_operators():
        target = names.get(found.qualified_name)
        if target is not None:
            meta = _registration.OnnxDecompMeta(
                onnx_function=found.function, fx_target=target, signature=None, is_complex=found.is_complex
            )
            registry._register(target, meta)
    registry._cleanup_registry_based_on_opset_version()
    return registry


@contextmanager
def _errors_only(logger: str) -> Iterator[None]:
    """Silence a logger's warnings."""
    exporter = logging.getLogger(logger)
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        yield
    finally:
        exporter.setLevel(level)


def export_to_onnx_ir(
    captured: ExportedProgram, opset: int, input_names: Sequence[str], output_names: Sequence[str]
) -> "ir.Model":
    """Convert a captured graph to ONNX without optimising it.

    It does what ``torch.onnx.export`` does, faster. That function registers every operator, and it always traces
    the graph a second time, to decompose operators that ONNX lacks. Here, only a graph with such operators is traced again.
    """
    from onnxscript._framework_apis import torch_2_11 as onnxscript_apis  # noqa: PLC0415
    from torch.onnx._internal.exporter import _core, _fx_passes, _ir_passes  # noqa: PLC0415

    with silence_leaf_spec_warning(), _errors_only("torch.onnx._internal.exporter._core"):
        graph = _without_composites(captured.graph_module)
        _fx_passes.insert_type_promotion_nodes(graph)
        targets = {node.target for node in _calls(graph)}
        registry = _onnx_registry(opset, targets)
        if all(map(registry.is_registered, targets)):
            prepared = copy(captured)
            prepared._graph_module = graph
        else:
            registry = _whole_onnx_registry(opset)
            prepared = captured.run_decompositions(_decompositions(opset))
            _fx_passes.insert_type_promotion_nodes(prepared.graph_module)
            _fx_passes.remove_assertion_nodes(prepared.graph_module)
        model = _core._exported_program_to_onnx_program(prepared, registry=registry).model
        model = onnxscript_apis.convert_version(model, opset)
    _ir_passes.rename_inputs(model, input_names)
    _ir_passes.rename_outputs(model, output_names)
    return model


@cache
def _decompositions(opset: int) -> Any:
    """The decompositions of the operators that have no ONNX equivalent. Building the table is slow, so it is cached."""
    from torch.onnx._internal.exporter import _decomp  # noqa: PLC0415

    registered = set(_decomp.get_onnx_implemented_overloads(_whole_onnx_registry(opset)))
    return _decomp.create_onnx_friendly_decomposition_table(registered)


def _calls(module: GraphModule) -> Iterator[Node]:
    """All function calls of a graph and its subgraphs."""
    for graph in module.modules():
        if isinstance(graph, GraphModule):
            yield from (node for node in graph.graph.nodes if node.op == "call_function")


def _without_composites(module: GraphModule) -> GraphModule:
    """A copy of a graph in which operators that ONNX has replace the most common ones that it lacks."""
    aten = torch.ops.aten
    module = deepcopy(module)
    for node in list(_calls(module)):
        match node.target, node.args:
            case aten._assert_tensor_metadata.default, _:
                node.graph.erase_node(node)
            case aten.to.dtype, (tensor, dtype):
                node.target, node.args, node.kwargs = aten._to_copy.default, (tensor,), {"dtype": dtype}
            case aten.rsub.Scalar, (subtracted, number):
                node.target, node.args = aten.sub.Tensor, (number, subtracted)
            case aten.__and__.Tensor, _:
                node.target = aten.bitwise_and.Tensor
    return module


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
            raise Unavailable(f"format aoti could not be compiled: {first_line(error)}") from None
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
