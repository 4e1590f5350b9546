"""Kernels as lines of C: the loop nest of each."""

import math
from collections.abc import Iterator

from deploy_snn.compiled.elements import first_element, flat_element, is_scalar, number, place, pointer_to, pointer_to_view
from deploy_snn.compiled.loops import (
    ArgMax,
    Array,
    ColumnSum,
    Convolution,
    Kernel,
    MatrixProduct,
    MaxIndex,
    Product,
    SparseProduct,
    Storage,
    Sum,
    Type,
    Value,
    View,
)
from deploy_snn.compiled.names import comment
from deploy_snn.compiled.render import ATOM, Renderer, bound
from deploy_snn.compiled.schedule import Copy, Loop


def kernel_text(kernel: Kernel, renderer: Renderer) -> Iterator[str]:  # noqa: PLR0911  (one return for each kind)
    """A kernel's comment and statements."""
    match kernel:
        case Product():
            return _product(kernel, renderer)
        case SparseProduct():
            return _sparse(kernel)
        case Convolution():
            return _convolution(kernel)
        case MatrixProduct():
            return _matrix_product(kernel, renderer)
        case Sum():
            return _sum(kernel)
        case ColumnSum():
            return _column_sum(kernel, renderer)
        case ArgMax():
            return _argmax(kernel)
        case MaxIndex():
            return _max_index(kernel)
    raise TypeError(type(kernel).__name__)


def _product(kernel: Product, renderer: Renderer) -> Iterator[str]:
    k, n = kernel.z.size, kernel.columns
    title = comment(kernel.owner) or "The recurrent drive"
    yield f"    /* {title}: the weights of the inputs that are not 0, added up. */"
    out, z = pointer_to(kernel.out), pointer_to_view(kernel.z)
    if isinstance(kernel.w, Value):
        yield from _cleared(kernel.out)
        yield f"    for (int32_t i0 = 0; i0 < {k}; i0++) {{"
        yield f"        if ({flat_element(kernel.z, 'i0')} != 0) {{"
        yield f"            const float z = {flat_element(kernel.z, 'i0')};"
        yield f"            for (int32_t i1 = 0; i1 < {n}; i1++) {{"
        text, rank = renderer.expression(kernel.w, Loop([], (k, n), kernel.owner))
        target = f"{place(kernel.out)}[i1]" if kernel.out.size > 1 else place(kernel.out)
        yield f"                {target} += z * {bound(text, rank, ATOM)};"
        yield from ("            }", "        }", "    }")
        return
    assert isinstance(kernel.w, View)
    w, source = kernel.w.array, kernel.z.array.type.name.lower()
    renderer.helpers.add(f"listed_{source}")
    counted = f"state->work.list, listed_{source}(state->work.list, {z}, {k})"
    weights = f"{out}, {pointer_to_view(kernel.w)}, {n}"
    if w.type is not Type.FLOAT:
        renderer.helpers.add(f"add_{w.type.name.lower()}")
        yield f"    add_{w.type.name.lower()}({weights}, {counted}, {number(kernel.scale)}, state->work.sums);"
    elif kernel.z.array.type is Type.SPIKE:
        renderer.helpers.add("add_rows")
        yield f"    add_rows({weights}, {counted});"
    else:
        renderer.helpers.add("add_scaled_rows")
        yield f"    add_scaled_rows({weights}, {counted}, {z});"


def _sparse(kernel: SparseProduct) -> Iterator[str]:
    yield f"    /* {comment(kernel.owner) or 'The drive'}: each input that is not 0 adds its weights to its targets. */"
    integers = kernel.weight.type is not Type.FLOAT
    sums = "state->work.sums" if integers else place(kernel.out)
    single = kernel.out.size == 1 and not integers
    first, target, weight = (_scalar_safe(a) for a in (kernel.first, kernel.target, kernel.weight))
    if integers:
        yield f"    memset(state->work.sums, 0, {kernel.out.size} * sizeof *state->work.sums);"
    else:
        yield from _cleared(kernel.out)
    yield f"    for (int32_t i = 0; i < {kernel.z.size}; i++) {{"
    yield f"        if ({flat_element(kernel.z, 'i')} != 0) {{"
    yield f"            for (int32_t k = {first}[i]; k < {first}[i + 1]; k++) {{"
    value = f"{weight}[k]"
    if kernel.z.array.type is not Type.SPIKE:
        value = f"{flat_element(kernel.z, 'i')} * {value}"
    yield f"                {sums if single else f'{sums}[{target}[k]]'} += {value};"
    yield from ("            }", "        }", "    }")
    if integers:
        yield from _scaled_sums(kernel.out, kernel.scale)


def _scalar_safe(array: Array) -> str:
    """Constants of one element are numbers in C, but these are indexed."""
    return f"(&{array.name})" if is_scalar(array) else place(array)


def _convolution(kernel: Convolution) -> Iterator[str]:  # noqa: PLR0915  (one nest of loops)
    axes = range(len(kernel.sizes))
    places, per_group = math.prod(kernel.places), kernel.filters // kernel.groups
    channels = kernel.channels // kernel.groups
    integers = kernel.w.type is not Type.FLOAT
    title = comment(kernel.owner) or "The drive"
    yield f"    /* {title}: each input that is not 0 adds its filters to the outputs around it. */"
    sums = "state->work.sums" if integers else place(kernel.out)
    if integers:
        yield f"    memset(state->work.sums, 0, {kernel.out.size} * sizeof *state->work.sums);"
    else:
        yield from _cleared(kernel.out)
    pad = "    "
    yield f"{pad}for (int32_t c = 0; c < {kernel.channels}; c++) {{"
    pad += "    "
    source = "c"
    for a in axes:
        yield f"{pad}for (int32_t i{a} = 0; i{a} < {kernel.sizes[a]}; i{a}++) {{"
        pad += "    "
        source = f"({source}) * {kernel.sizes[a]} + i{a}" if a else f"c * {kernel.sizes[a]} + i{a}"
    yield f"{pad}if ({flat_element(kernel.z, source)} != 0) {{"
    pad += "    "
    closing = 1 + len(axes) + 1
    if kernel.z.array.type is not Type.SPIKE:
        yield f"{pad}const float z = {flat_element(kernel.z, source)};"
    offset, target = "c", ""
    for a in axes:
        size, stride, padding, dilation = kernel.kernel[a], kernel.stride[a], kernel.padding[a], kernel.dilation[a]
        yield f"{pad}for (int32_t k{a} = 0; k{a} < {size}; k{a}++) {{"
        pad += "    "
        closing += 1
        at = f"i{a}" + (f" + {padding}" if padding else "") + (f" - {f'{dilation} * ' if dilation > 1 else ''}k{a}")
        if stride == 1:
            yield f"{pad}const int32_t o{a} = {at};"
            yield f"{pad}if (o{a} < 0 || o{a} >= {kernel.places[a]}) {{ continue; }}"
        else:
            yield f"{pad}const int32_t p{a} = {at}, o{a} = p{a} / {stride};"
            yield f"{pad}if (p{a} < 0 || p{a} % {stride} != 0 || o{a} >= {kernel.places[a]}) {{ continue; }}"
        offset = f"({offset}) * {size} + k{a}" if a else f"c * {size} + k{a}"
        target = f"({target}) * {kernel.places[a]} + o{a}" if a else f"o{a}"
    first = "" if kernel.groups == 1 else f"c / {channels} * {per_group} + "
    yield f"{pad}for (int32_t o = 0; o < {per_group}; o++) {{"
    at = f"({offset}) * {per_group} + o"
    if kernel.w.storage is Storage.STATE:
        at = f"o * {kernel.w.size // kernel.filters} + {offset}"
    weight = place(kernel.w) if is_scalar(kernel.w) else f"{place(kernel.w)}[{at}]"
    value = weight if kernel.z.array.type is Type.SPIKE else f"z * {weight}"
    index = f"({first}o) * {places} + {target}" if first else f"o * {places} + {target}"
    where = f"{sums}[{index}]" if kernel.out.size > 1 or integers else sums
    yield f"{pad}    {where} += {value};"
    yield f"{pad}}}"
    for _ in range(closing):
        pad = pad[4:]
        yield f"{pad}}}"
    if integers:
        yield from _scaled_sums(kernel.out, kernel.scale)
    if kernel.b is not None:
        b = place(kernel.b) if is_scalar(kernel.b) else f"{place(kernel.b)}[o]"
        yield f"    for (int32_t o = 0; o < {kernel.filters}; o++) {{"
        yield f"        for (int32_t i = 0; i < {places}; i++) {{"
        where = f"{place(kernel.out)}[o * {places} + i]" if kernel.out.size > 1 else place(kernel.out)
        yield f"            {where} += {b};"
        yield from ("        }", "    }")


def _sum(kernel: Sum) -> Iterator[str]:
    rows, length = kernel.z.shape
    kind = "int32_t" if kernel.z.array.type is Type.SPIKE else "float"
    yield f"    /* The sum over {comment(kernel.z.array.name)}. */"
    yield f"    for (int32_t r = 0; r < {rows}; r++) {{" if rows > 1 else "    {"
    yield f"        {kind} sum = 0;"
    yield f"        for (int32_t i = 0; i < {length}; i++) {{"
    yield f"            sum += {flat_element(kernel.z, f'r * {length} + i' if rows > 1 else 'i')};"
    yield "        }"
    target = f"{place(kernel.out)}[r]" if rows > 1 else first_element(kernel.out)
    yield f"        {target} = {'(float)sum' if kind == 'int32_t' else 'sum'};"
    yield "    }"


def _matrix_product(kernel: MatrixProduct, renderer: Renderer) -> Iterator[str]:
    rows, length = kernel.z.shape
    columns = kernel.out.size // rows
    yield from _cleared(kernel.out)
    yield f"    for (int32_t o = 0; o < {rows}; o++) {{"
    yield f"        for (int32_t i0 = 0; i0 < {length}; i0++) {{"
    z = flat_element(kernel.z, f"o * {length} + i0")
    yield f"            if ({z} != 0) {{"
    yield f"                const float z = {z};"
    yield f"                for (int32_t i1 = 0; i1 < {columns}; i1++) {{"
    text, rank, kind = renderer.operand(kernel.w, Loop([], (length, columns), kernel.owner))
    factor = bound(text, rank, 3) if kind is Type.FLOAT else f"(float){bound(text, rank, ATOM)}"
    target = first_element(kernel.out) if kernel.out.size == 1 else f"{place(kernel.out)}[o * {columns} + i1]"
    yield f"                    {target} += z * {factor};"
    yield from ("                }", "            }", "        }", "    }")


def _column_sum(kernel: ColumnSum, renderer: Renderer) -> Iterator[str]:
    rows, columns = kernel.z.shape[-2:] if isinstance(kernel.z, Value | View) else (1, 1)
    yield from _cleared(kernel.out)
    yield f"    for (int32_t i0 = 0; i0 < {rows}; i0++) {{"
    yield f"        for (int32_t i1 = 0; i1 < {columns}; i1++) {{"
    text, rank, _ = renderer.operand(kernel.z, Loop([], (rows, columns), kernel.owner))
    target = first_element(kernel.out) if kernel.out.size == 1 else f"{place(kernel.out)}[i1]"
    yield f"            {target} += {bound(text, rank, 3)};"
    yield from ("        }", "    }")


def _argmax(kernel: ArgMax) -> Iterator[str]:
    rows, length = kernel.z.shape
    kind = "float" if kernel.z.array.type is Type.FLOAT else "int32_t"
    yield f"    /* The index of the largest {comment(kernel.z.array.name)}, of equal ones the first. */"
    yield f"    for (int32_t r = 0; r < {rows}; r++) {{" if rows > 1 else "    {"
    start = f"r * {length}" if rows > 1 else "0"
    if kernel.mask is not None:
        yield "        uint8_t any = 0;"
        yield f"        for (int32_t i = 0; i < {length}; i++) {{"
        yield f"            any = (uint8_t)(any | {flat_element(kernel.mask, 'i')});"
        yield "        }"
    yield f"        {kind} best = {flat_element(kernel.z, start)};"
    yield "        int32_t index = 0;"
    condition = "any && " if kernel.mask is not None else ""
    yield f"        for (int32_t i = 1; {condition}i < {length}; i++) {{"
    value = flat_element(kernel.z, f"r * {length} + i" if rows > 1 else "i")
    yield f"            if (!({value} <= best) && best == best) {{"
    yield f"                best = {value};"
    yield "                index = i;"
    yield from ("            }", "        }")
    yield f"        {f'{place(kernel.out)}[r]' if rows > 1 else first_element(kernel.out)} = index;"
    yield "    }"


def _max_index(kernel: MaxIndex) -> Iterator[str]:
    axes = range(len(kernel.sizes))
    kind = "float" if kernel.z.array.type is Type.FLOAT else "int32_t"
    yield f"    /* The index of the largest element of each field of {comment(kernel.z.array.name)}. */"
    pad = "    "
    yield f"{pad}for (int32_t c = 0; c < {kernel.channels}; c++) {{"
    target = "c"
    for a in axes:
        pad += "    "
        yield f"{pad}for (int32_t o{a} = 0; o{a} < {kernel.places[a]}; o{a}++) {{"
        target = f"({target}) * {kernel.places[a]} + o{a}" if a else f"c * {kernel.places[a]} + o{a}"
    pad += "    "
    yield f"{pad}{kind} best = 0;"
    yield f"{pad}int32_t index = -1;"
    for a in axes:
        yield f"{pad}for (int32_t k{a} = 0; k{a} < {kernel.kernel[a]}; k{a}++) {{"
        pad += "    "
        at = f"o{a} * {kernel.stride[a]} + k{a} * {kernel.dilation[a]} - {kernel.padding[a]}"
        yield f"{pad}const int32_t i{a} = {at};"
        yield f"{pad}if (i{a} < 0 || i{a} >= {kernel.sizes[a]}) {{ continue; }}"
    spatial = "i0"
    for a in axes[1:]:
        spatial = f"({spatial}) * {kernel.sizes[a]} + i{a}"
    yield f"{pad}const int32_t i = {spatial};"
    yield f"{pad}const {kind} value = {flat_element(kernel.z, f'c * {math.prod(kernel.sizes)} + i')};"
    yield f"{pad}if (index < 0 || (!(value <= best) && best == best)) {{"
    yield f"{pad}    best = value;"
    yield f"{pad}    index = i;"
    yield f"{pad}}}"
    for _ in axes:
        pad = pad[4:]
        yield f"{pad}}}"
    yield f"{pad}{f'{place(kernel.out)}[{target}]' if kernel.out.size > 1 else first_element(kernel.out)} = index;"
    for _ in range(len(axes) + 1):
        pad = pad[4:]
        yield f"{pad}}}"


def copy_text(copy: Copy) -> Iterator[str]:
    """A state takes its next value."""
    source = place(copy.source)
    if is_scalar(copy.source):
        yield f"    {place(copy.state)}[0] = {source};"
    else:
        yield f"    memcpy({place(copy.state)}, {source}, sizeof {source});"


def _cleared(array: Array) -> Iterator[str]:
    if is_scalar(array):
        yield f"    {place(array)} = 0.0f;"
    else:
        yield f"    memset({place(array)}, 0, sizeof {place(array)});"


def _scaled_sums(out: Array, scale: float) -> Iterator[str]:
    yield f"    for (int32_t j = 0; j < {out.size}; j++) {{"
    target = f"{place(out)}[j]" if out.size > 1 else first_element(out)
    yield f"        {target} = (float)state->work.sums[j] * {number(scale)};"
    yield "    }"
