"""A compiled model as C99: a header, a source file and, for large models, a file of weights.

The source needs no heap and has no global variables. Its state is a struct that the caller owns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy_snn import __version__
from deploy_snn.compiled.elements import array_text, number
from deploy_snn.compiled.header import header_text
from deploy_snn.compiled.helpers import HELPERS
from deploy_snn.compiled.loops import Array, Convolution, Product, SparseProduct, Type
from deploy_snn.compiled.model import Model, bytes_of
from deploy_snn.compiled.names import comment
from deploy_snn.compiled.public_functions import public_functions
from deploy_snn.compiled.render import Renderer
from deploy_snn.compiled.step_functions import normalise, row_sums, step_of_row, update_shared
from deploy_snn.lowering import Lowered

INSIDE = 2**20
"""Up to this size in bytes the parameters are arrays in the source. More of them go to a file, which compiles faster."""
SMALLEST_IN_FILE = 2**10


@dataclass(frozen=True)
class CSource:
    """The files of a compiled model. ``prefix`` starts every public name, ``weights`` is b"" if all are in the source."""

    prefix: str
    header: str
    source: str
    weights: bytes
    parameters: list[dict[str, Any]]
    """Each array of parameters: its name, its type, its number of elements, its bytes and its scale."""
    work_bytes: int
    constant_bytes: int
    """What all parameters take together; on a microcontroller, in flash. The contract and the code come on top."""
    state_bytes: int
    """What the state of one row takes, with its scratch memory."""
    normalises: bool
    """Whether there is the function ``PREFIX_normalise``."""
    inputs: list[str]
    states: list[str]
    outputs: list[str]
    """The members of the structs of inputs, states and outputs, in the order of the contract."""


def c_source(lowered: Lowered, *, header_name: str, check_steps: int = 0) -> CSource:
    """Compile a captured step to C.

    Args:
        lowered: the captured program.
        header_name: the name of the header, which the source includes.
        check_steps: the number of steps of the golden trace to compile in, as a self-check; 0 for none.

    Raises Refusal for a model that cannot be compiled, and InvalidInput for a check without a golden trace.
    """
    model = Model(lowered, header_name, check_steps)
    _choose_places(model)
    return _write(model)


def _choose_places(model: Model) -> None:
    """Leave out the constants that the functions do not use, and choose which of them go to the weights file."""
    used = _used_constants(model)
    model.program.constants = [array for array in model.program.constants if array in used]
    if sum(bytes_of(array) for array in model.program.constants) > INSIDE:
        for array in model.program.constants:
            array.external = bytes_of(array) >= SMALLEST_IN_FILE


def _used_constants(model: Model) -> set[Array]:
    text = "\n".join(_computing(model, Renderer()))
    words = set(text.replace("->", " ").translate({ord(c): " " for c in "[](){}*+-/&;,.?:!=<>|"}).split())
    return {array for array in model.program.constants if array.name in words} | set(model.starts.values())


def _computing(model: Model, renderer: Renderer) -> list[str]:
    """The functions that compute."""
    return [*step_of_row(model, renderer), *update_shared(model, renderer), *normalise(model, renderer)]


def _write(model: Model) -> CSource:
    renderer = Renderer()
    body = _computing(model, renderer)
    source = [
        *_preamble(model, renderer),
        *_constants(model),
        *(line for name, text in HELPERS.items() if name in renderer.helpers for line in ("", *text.strip().splitlines())),
        *row_sums(model, renderer),
        *body,
        *public_functions(model),
        *(model.check.function() if model.check else ()),
        *_contract_text(model),
    ]
    data = b"".join(np.ascontiguousarray(array.values).tobytes() for array in model.external)
    data += b"\0" * (-len(data) % 4)
    return CSource(
        model.prefix,
        "\n".join(header_text(model, len(data))) + "\n",
        "\n".join(source) + "\n",
        data,
        _parameters(model),
        model.work_bytes(),
        sum(bytes_of(array) for array in model.program.constants),
        sum(bytes_of(array) for array in model.program.states) + model.work_bytes(),
        model.normalisation is not None,
        *([a.name for a in arrays] for arrays in (model.program.inputs, model.program.states, model.program.outputs)),
    )


def _parameters(model: Model) -> list[dict[str, Any]]:
    scales: dict[Array, float] = {}
    for kernel in model.kernels:
        if isinstance(kernel, Product) and hasattr(kernel.w, "array"):
            scales[kernel.w.array] = kernel.scale
        elif isinstance(kernel, Convolution):
            scales[kernel.w] = kernel.scale
        elif isinstance(kernel, SparseProduct):
            scales[kernel.weight] = kernel.scale
    return [
        {
            "name": array.name,
            "type": {Type.FLOAT: "float32"}.get(array.type, array.type.value.removesuffix("_t")),
            "elements": array.size,
            "bytes": bytes_of(array),
        }
        | ({"scale": scales[array]} if array.type in (Type.INT8, Type.INT16) else {})
        for array in model.program.constants
        if array.size > 1
    ]


def _preamble(model: Model, renderer: Renderer) -> Iterator[str]:
    yield f"/* {comment(model.lowered.name)}: one step of {model.contract.dt:g} ms. Written by deploy-snn {__version__}."
    yield "   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */"
    yield f'#include "{model.header_name}"'
    yield ""
    yield "#if defined(__GNUC__) && !defined(__clang__)"
    yield "/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */"
    yield '#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")'
    yield "#endif"
    yield ""
    if renderer.headers or any(not np.isfinite(np.asarray(a.values)).all() for a in model.program.constants):
        yield "#include <math.h>"
    yield "#include <string.h>"


def _constants(model: Model) -> Iterator[str]:
    inside = [array for array in model.program.constants if not array.external]
    if inside:
        yield ""
    for array in inside:
        assert array.values is not None
        if array.size == 1:
            yield f"static const {array.type} {array.name} = {number(array.values[0].item(), array.type)};"
        else:
            yield from array_text(f"static const {array.type} {array.name}[{array.size}]", array.type, array.values)


def _contract_text(model: Model) -> Iterator[str]:
    """The contract as character codes: a string literal of this length is not portable."""
    text = _ascii(model.contract.model_dump_json()).encode()
    yield ""
    yield "/* The contract, as JSON in ASCII. */"
    yield f"const char {model.prefix}_contract[] = {{"
    for start in range(0, len(text), 24):
        yield f"    {', '.join(map(str, text[start : start + 24]))},"
    yield from ("    0,", "};")


def _ascii(text: str) -> str:
    """JSON with escapes in place of all but ASCII."""
    return "".join(
        c if c.isascii() else "".join(f"\\u{unit:04x}" for unit in np.frombuffer(c.encode("utf-16-le"), "<u2"))
        for c in text
    )
