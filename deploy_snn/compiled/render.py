"""Loops and kernels as lines of C: one pattern for each operation."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_snn.compiled.loops import (
    ROWS,
    ArgMax,
    Array,
    ColumnSum,
    Convolution,
    Indirect,
    Kernel,
    Literal,
    MatrixProduct,
    MaxIndex,
    Operand,
    Position,
    Product,
    SparseProduct,
    Storage,
    Sum,
    Type,
    Value,
    View,
    contiguous,
)
from deploy_snn.compiled.names import comment
from deploy_snn.compiled.schedule import Copy, Loop, loop_strides, update_loop
from deploy_snn.compiled.weight_update import Term, WeightUpdate

BINARY = {
    "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 3), "div": ("/", 3), "gt": (">", 6), "ge": (">=", 6), "lt": ("<", 6),
    "le": ("<=", 6), "eq": ("==", 7), "ne": ("!=", 7), "and": ("&&", 11), "or": ("||", 12),
}  # fmt: skip
"""The binary operators of C, and their precedence: a smaller number binds more tightly."""
FUNCTIONS = {
    "exp": "expf", "log": "logf", "sqrt": "sqrtf", "tanh": "tanhf", "abs": "fabsf", "floor": "floorf", "ceil": "ceilf",
    "round": "rintf",
}  # fmt: skip
PATTERNS = {
    # A NaN is passed on, as in torch.
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "relu": "{0} <= 0.0f ? 0.0f : {0}",
}
LIMITS = {"maximum": "{0} <= {1} ? {1} : {0}", "minimum": "{0} >= {1} ? {1} : {0}"}
"""The patterns where the second operand is a constant that is not NaN. gcc can vectorise them."""
ATOM, UNARY, CONDITIONAL = 0, 2, 13
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg"})


def number(value: float, kind: Type = Type.FLOAT) -> str:
    """A number as a C constant with exactly its bits."""
    if kind is not Type.FLOAT:
        return str(int(value))
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.float32(value))
    return f"{text if set(text) & set('.e') else text + '.0'}f"


def array_text(declaration: str, kind: Type, values: NDArray[Any]) -> Iterator[str]:
    """An array of constants, with its values."""
    if not np.isfinite(values).all() or values.size <= 8:
        yield f"{declaration} = {{{', '.join(number(v.item(), kind) for v in values)}}};"
        return
    yield f"{declaration} = {{"
    texts = [number(v.item(), kind) for v in values]
    width = 8 if kind is Type.FLOAT else 24
    for start in range(0, len(texts), width):
        yield f"    {', '.join(texts[start : start + width])},"
    yield "};"


def place(array: Array) -> str:
    """How the step refers to an array."""
    match array.storage:
        case Storage.STATE:
            return f"state->{array.name}"
        case Storage.WORK:
            return array.name if array.size == 1 and not array.shared else f"state->work.{array.name}"
    return f"weights->{array.name}" if array.external else array.name


class Renderer:
    """Renders the statements of one step."""

    def __init__(self) -> None:
        self.helpers: set[str] = set()
        self.headers: set[str] = set()
        self.summed: set[Array] = set()
        """The arrays that are added up over the rows of a batch."""

    # Loops.

    def loop(self, loop: Loop) -> Iterator[str]:
        """A loop over elements: local variables first, then everything that it stores."""
        opening, indent = _opening(loop.extents)
        yield from opening
        yield from self._body(loop, indent)
        yield from _closing(loop.extents)

    def _body(self, loop: Loop, indent: str) -> Iterator[str]:
        stores = []
        for value in loop.values:
            if value in loop.named:
                text, _ = self._expression(value, loop)
                kind = "float" if value.type is Type.FLOAT else "int"
                yield f"{indent}const {kind} {value.name} = {text};"
            stores += [(store, value) for store in value.stores]
        for store, value in stores:
            target = self._element(store, loop.extents)
            text = value.name if value in loop.named else self._expression(value, loop)[0]
            if store.array.type is Type.SPIKE or store.array.type is Type.INT32 or value.type is Type.FLOAT:
                yield f"{indent}{target} = {f'(uint8_t)({text})' if store.array.type is Type.SPIKE else text};"
            else:
                yield f"{indent}{target} = (float){_wrapped(text)};"

    def _element(self, view: View, extents: tuple[int, ...]) -> str:
        name = place(view.array)
        if view.array.size == 1:
            return name if _is_scalar(view.array) else f"{name}[0]"
        return f"{name}[{_index(view, extents)}]"

    def _operand(  # noqa: PLR0911  (one return for each kind)
        self, operand: Operand, loop: Loop
    ) -> tuple[str, int, Type]:
        """The C text of an operand, its precedence and its type."""
        match operand:
            case Literal(value=value):
                kind = Type.INT32 if isinstance(value, int) and not isinstance(value, bool) else Type.FLOAT
                text = number(float(value))
                return text, UNARY if text.startswith("-") else ATOM, kind if kind is Type.FLOAT else Type.FLOAT
            case Position():
                index = _index(operand, loop.extents)
                return index, ATOM if index.isidentifier() or index.isdigit() else 4, Type.INT32
            case View():
                return self._element(operand, loop.extents), ATOM, operand.array.type
            case Indirect(view=view, stride=stride, index=index):
                start = _index(view, loop.extents)
                chosen = self._element(index, loop.extents)
                step = chosen if stride == 1 else f"{stride} * {chosen}"
                name = place(view.array)
                if view.array.size == 1:
                    return (name if _is_scalar(view.array) else f"{name}[0]"), ATOM, view.array.type
                return f"{name}[{step if start == '0' else f'{start} + {step}'}]", ATOM, view.array.type
        if operand in loop.named:
            return operand.name, ATOM, operand.type
        text, precedence = self._expression(operand, loop)
        return text, precedence, operand.type

    def _expression(self, value: Value, loop: Loop) -> tuple[str, int]:  # noqa: C901, PLR0911  (one pattern for each operation)
        """The C text of a value's operation, and its precedence."""
        if value.op == ROWS:
            return self._rows(value, loop), ATOM
        given = [self._operand(operand, loop) for operand in value.operands]
        if value.op in ARITHMETIC and value.type is Type.FLOAT:
            # Spikes are bytes: as numbers they are floats.
            given = [
                (text, p, kind)
                if kind is Type.FLOAT
                else (f"(float){_wrapped(text) if p > ATOM else text}", UNARY, Type.FLOAT)
                for text, p, kind in given
            ]
        texts = [text for text, _, _ in given]
        ranks = [rank for _, rank, _ in given]
        match value.op:
            case "copy":
                return texts[0], ranks[0]
            case "neg":
                return f"-{_bound(texts[0], ranks[0], ATOM)}", UNARY
            case "not":
                return f"!{_bound(texts[0], ranks[0], ATOM)}", UNARY
            case "where":
                chosen = [
                    _bound(text, rank, 4 if rank != CONDITIONAL else ATOM) for text, rank in given_pairs(texts, ranks)
                ]
                return f"{_bound(texts[0], ranks[0], 7)} ? {chosen[1]} : {chosen[2]}", CONDITIONAL
            case "sigmoid":
                self.headers.add("math.h")
                return f"1.0f / (1.0f + expf(-{_bound(texts[0], ranks[0], ATOM)}))", 3
        if value.op in FUNCTIONS:
            self.headers.add("math.h")
            return f"{FUNCTIONS[value.op]}({texts[0]})", ATOM
        if value.op in PATTERNS:
            atoms = [_bound(text, rank, ATOM) for text, rank in given_pairs(texts, ranks)]
            patterns = PATTERNS | (LIMITS if _is_limit(value.operands[-1]) else {})
            return patterns[value.op].format(*atoms), CONDITIONAL
        symbol, rank = BINARY[value.op]
        if value.op in ("and", "or"):  # without a branch, so that the loop can be vectorised
            symbol, rank = {"and": ("&", 8), "or": ("|", 10)}[value.op]
            truths = [text if kind is Type.SPIKE else f"({text} != 0)" for text, _, kind in given]
            left, right = (_bound(t, r, ATOM) for t, r in given_pairs(truths, ranks))
            return f"{left} {symbol} {right}", rank
        left = _bound(texts[0], ranks[0], rank if rank < 6 else 5)
        right = _bound(texts[1], ranks[1], rank - 1 if rank < 6 else 5)
        return f"{left} {symbol} {right}", rank

    def _rows(self, value: Value, loop: Loop) -> str:
        (view,) = value.operands
        assert isinstance(view, View)
        index = _index(view, loop.extents)
        self.summed.add(view.array)
        return f"sum_{view.array.name}(states, rows, {index})"

    # Weight updates.

    def weight_update(self, update: WeightUpdate, prefix: str, external: str) -> Iterator[str]:
        """The functions that change learnt weights. ``external`` declares the parameters in the weights file, if any."""
        name = update.weights.name
        for term in update.terms:
            yield from self._term(term, update, prefix, external)
        if update.event_driven:
            yield from self._spiked(f"{prefix}_{name}_source", "i0", update.source_spikes, update, prefix)
            yield from self._spiked(f"{prefix}_{name}_target", "i1", update.target_spikes, update, prefix)
        body = list(self._body(update_loop(update), " " * 16))
        yield from self._one_row(update, prefix, external, body)
        yield from self._several_rows(update, prefix, external, body)

    def _one_row(self, update: WeightUpdate, prefix: str, external: str, body: list[str]) -> Iterator[str]:
        """The update for a batch of one row: its terms need no sums, and stay in registers."""
        alone = "\n".join(body)
        for term in update.terms:
            alone = alone.replace(f"{place(term.array)}[i1]", f"{prefix}_{term.array.name}(state, i0, i1)")
        where = ", in the rows and columns of neurons that spiked" if update.event_driven else ""
        yield ""
        yield f"/* {comment(update.weights.tensor)}: each weight takes its next value{where}. */"
        yield f"static void {prefix}_update_{update.weights.name}({prefix}_state *restrict state)"
        yield from ("{", *_used(external, "weights", alone))
        yield from self._over_weights(update, prefix, "state, 1", ([], []), alone.splitlines())

    def _several_rows(self, update: WeightUpdate, prefix: str, external: str, body: list[str]) -> Iterator[str]:
        """The update for a batch: each term is added up over its rows first."""
        yield ""
        yield "/* The same for the rows of a batch, whose changes are added up. */"
        yield f"static void {prefix}_update_{update.weights.name}_together({prefix}_state *states, int32_t rows)"
        yield "{"
        yield f"    {prefix}_state *restrict state = states;"
        yield from _used(external, "weights", " ".join(body))
        over_targets = f"for (int32_t i1 = 0; i1 < {update.extents[1]}; i1++) {{"
        of_all: list[str] = []
        of_one: list[str] = []
        for term in update.terms:
            array, function = place(term.array), f"{prefix}_{term.array.name}"
            first, more = f"{array}[i1] = {function}(states, i0, i1);", f"{array}[i1] += {function}(&states[r], i0, i1);"
            over_rows = "for (int32_t r = 1; r < rows; r++) {"
            of_all += [
                f"            {over_targets}",
                f"                {first}",
                "            }",
                f"            {over_rows}",
            ]
            of_all += [
                f"                {over_targets}",
                f"                    {more}",
                "                }",
                "            }",
            ]
            of_one += [f"                {first}", f"                {over_rows}", f"                    {more}"]
            of_one += ["                }"]
        yield from self._over_weights(update, prefix, "states, rows", (of_all, of_one), body)

    @staticmethod
    def _over_weights(
        update: WeightUpdate, prefix: str, rows: str, sums: tuple[list[str], list[str]], body: list[str]
    ) -> Iterator[str]:
        """The loops of an update, to the end of its function.

        ``rows`` are the arguments that name the rows of a batch. ``sums`` compute the terms for all targets of a source and
        for a single one.
        """
        name, (n, m) = update.weights.name, update.extents
        condition = "1"
        if update.event_driven:
            condition = f"!state->{name}_limited || {prefix}_{name}_source({rows}, i0)"
            yield "    int32_t count = 0;"
            yield f"    for (int32_t i1 = 0; i1 < {m}; i1++) {{"
            yield f"        if ({prefix}_{name}_target({rows}, i1)) {{"
            yield from ("            state->work.list[count++] = i1;", "        }", "    }")
        yield f"    for (int32_t i0 = 0; i0 < {n}; i0++) {{"
        yield f"        if ({condition}) {{"
        yield from (*sums[0], f"            for (int32_t i1 = 0; i1 < {m}; i1++) {{", *body, "            }")
        if update.event_driven:
            yield from ("        } else {", "            for (int32_t k = 0; k < count; k++) {")
            yield from ("                const int32_t i1 = state->work.list[k];", *sums[1], *body, "            }")
        yield from ("        }", "    }")
        if update.event_driven:
            yield f"    state->{name}_limited = 1;"
        yield "}"

    def _term(self, term: Term, update: WeightUpdate, prefix: str, external: str) -> Iterator[str]:
        text = self._expression(term.of_row, Loop([], update.extents, update.weights.name))[0]
        yield ""
        yield f"/* What one row adds to {comment(term.array.name)}. */"
        yield f"static float {prefix}_{term.array.name}(const {prefix}_state *state, int32_t i0, int32_t i1)"
        yield from ("{", *_used(external, "weights", text), *_ignored(("state", "i0", "i1"), text))
        yield from (f"    return {text};", "}")

    def _spiked(self, function: str, index: str, views: list[View], update: WeightUpdate, prefix: str) -> Iterator[str]:
        text = " || ".join(f"{self._element(view, update.extents)} != 0" for view in views) or "0"
        yield ""
        yield "/* Whether a neuron spiked in one of the rows. */"
        yield f"static int {function}(const {prefix}_state *states, int32_t rows, int32_t {index})"
        yield "{"
        yield "    for (int32_t r = 0; r < rows; r++) {"
        yield f"        const {prefix}_state *state = &states[r];"
        yield from _ignored(("state", index), text, "        ")
        yield from (f"        if ({text}) {{", "            return 1;", "        }", "    }", "    return 0;", "}")

    # Kernels.

    def kernel(self, kernel: Kernel) -> Iterator[str]:  # noqa: PLR0911  (one return for each kind)
        """A kernel's comment and statements."""
        match kernel:
            case Product():
                return self._product(kernel)
            case SparseProduct():
                return self._sparse(kernel)
            case Convolution():
                return self._convolution(kernel)
            case MatrixProduct():
                return self._matrix_product(kernel)
            case Sum():
                return self._sum(kernel)
            case ColumnSum():
                return self._column_sum(kernel)
            case ArgMax():
                return self._argmax(kernel)
            case MaxIndex():
                return self._max_index(kernel)
        raise TypeError(type(kernel).__name__)

    def _product(self, kernel: Product) -> Iterator[str]:
        k, n = kernel.z.size, kernel.columns
        title = comment(kernel.owner) or "The recurrent drive"
        yield f"    /* {title}: the weights of the inputs that are not 0, added up. */"
        out, z = _start(kernel.out), _start_of(kernel.z)
        if isinstance(kernel.w, Value):
            yield from _cleared(kernel.out)
            yield f"    for (int32_t i0 = 0; i0 < {k}; i0++) {{"
            yield f"        if ({_at(kernel.z, 'i0')} != 0) {{"
            yield f"            const float z = {_at(kernel.z, 'i0')};"
            yield f"            for (int32_t i1 = 0; i1 < {n}; i1++) {{"
            text, rank = self._expression(kernel.w, Loop([], (k, n), kernel.owner))
            target = f"{place(kernel.out)}[i1]" if kernel.out.size > 1 else place(kernel.out)
            yield f"                {target} += z * {_bound(text, rank, ATOM)};"
            yield from ("            }", "        }", "    }")
            return
        assert isinstance(kernel.w, View)
        w, source = kernel.w.array, kernel.z.array.type.name.lower()
        self.helpers.add(f"listed_{source}")
        counted = f"state->work.list, listed_{source}(state->work.list, {z}, {k})"
        weights = f"{out}, {_start_of(kernel.w)}, {n}"
        if w.type is not Type.FLOAT:
            self.helpers.add(f"add_{w.type.name.lower()}")
            yield f"    add_{w.type.name.lower()}({weights}, {counted}, {number(kernel.scale)}, state->work.sums);"
        elif kernel.z.array.type is Type.SPIKE:
            self.helpers.add("add_rows")
            yield f"    add_rows({weights}, {counted});"
        else:
            self.helpers.add("add_scaled_rows")
            yield f"    add_scaled_rows({weights}, {counted}, {z});"

    def _sparse(self, kernel: SparseProduct) -> Iterator[str]:
        yield f"    /* {comment(kernel.owner) or 'The drive'}: each input that is not 0 adds its weights to its targets. */"
        integers = kernel.weight.type is not Type.FLOAT
        sums = "state->work.sums" if integers else place(kernel.out)
        single = kernel.out.size == 1 and not integers
        first, target, weight = (self._scalar_safe(a) for a in (kernel.first, kernel.target, kernel.weight))
        if integers:
            yield f"    memset(state->work.sums, 0, {kernel.out.size} * sizeof *state->work.sums);"
        else:
            yield from _cleared(kernel.out)
        yield f"    for (int32_t i = 0; i < {kernel.z.size}; i++) {{"
        yield f"        if ({_at(kernel.z, 'i')} != 0) {{"
        yield f"            for (int32_t k = {first}[i]; k < {first}[i + 1]; k++) {{"
        value = f"{weight}[k]"
        if kernel.z.array.type is not Type.SPIKE:
            value = f"{_at(kernel.z, 'i')} * {value}"
        yield f"                {sums if single else f'{sums}[{target}[k]]'} += {value};"
        yield from ("            }", "        }", "    }")
        if integers:
            yield from _scaled_sums(kernel.out, kernel.scale)

    def _scalar_safe(self, array: Array) -> str:
        """Constants of one element are numbers in C, but these are indexed."""
        return f"(&{array.name})" if _is_scalar(array) else place(array)

    def _convolution(self, kernel: Convolution) -> Iterator[str]:  # noqa: PLR0915  (one nest of loops)
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
        yield f"{pad}if ({_at(kernel.z, source)} != 0) {{"
        pad += "    "
        closing = 1 + len(axes) + 1
        if kernel.z.array.type is not Type.SPIKE:
            yield f"{pad}const float z = {_at(kernel.z, source)};"
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
        weight = place(kernel.w) if _is_scalar(kernel.w) else f"{place(kernel.w)}[{at}]"
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
            b = place(kernel.b) if _is_scalar(kernel.b) else f"{place(kernel.b)}[o]"
            yield f"    for (int32_t o = 0; o < {kernel.filters}; o++) {{"
            yield f"        for (int32_t i = 0; i < {places}; i++) {{"
            where = f"{place(kernel.out)}[o * {places} + i]" if kernel.out.size > 1 else place(kernel.out)
            yield f"            {where} += {b};"
            yield from ("        }", "    }")

    def _sum(self, kernel: Sum) -> Iterator[str]:
        rows, length = kernel.z.shape
        kind = "int32_t" if kernel.z.array.type is Type.SPIKE else "float"
        yield f"    /* The sum over {comment(kernel.z.array.name)}. */"
        yield f"    for (int32_t r = 0; r < {rows}; r++) {{" if rows > 1 else "    {"
        yield f"        {kind} sum = 0;"
        yield f"        for (int32_t i = 0; i < {length}; i++) {{"
        yield f"            sum += {_at(kernel.z, f'r * {length} + i' if rows > 1 else 'i')};"
        yield "        }"
        target = f"{place(kernel.out)}[r]" if rows > 1 else _start_scalar(kernel.out)
        yield f"        {target} = {'(float)sum' if kind == 'int32_t' else 'sum'};"
        yield "    }"

    def _matrix_product(self, kernel: MatrixProduct) -> Iterator[str]:
        rows, length = kernel.z.shape
        columns = kernel.out.size // rows
        yield from _cleared(kernel.out)
        yield f"    for (int32_t o = 0; o < {rows}; o++) {{"
        yield f"        for (int32_t i0 = 0; i0 < {length}; i0++) {{"
        z = _at(kernel.z, f"o * {length} + i0")
        yield f"            if ({z} != 0) {{"
        yield f"                const float z = {z};"
        yield f"                for (int32_t i1 = 0; i1 < {columns}; i1++) {{"
        text, rank, kind = self._operand(kernel.w, Loop([], (length, columns), kernel.owner))
        factor = _bound(text, rank, 3) if kind is Type.FLOAT else f"(float){_bound(text, rank, ATOM)}"
        target = _start_scalar(kernel.out) if kernel.out.size == 1 else f"{place(kernel.out)}[o * {columns} + i1]"
        yield f"                    {target} += z * {factor};"
        yield from ("                }", "            }", "        }", "    }")

    def _column_sum(self, kernel: ColumnSum) -> Iterator[str]:
        rows, columns = kernel.z.shape[-2:] if isinstance(kernel.z, Value | View) else (1, 1)
        yield from _cleared(kernel.out)
        yield f"    for (int32_t i0 = 0; i0 < {rows}; i0++) {{"
        yield f"        for (int32_t i1 = 0; i1 < {columns}; i1++) {{"
        text, rank, _ = self._operand(kernel.z, Loop([], (rows, columns), kernel.owner))
        target = _start_scalar(kernel.out) if kernel.out.size == 1 else f"{place(kernel.out)}[i1]"
        yield f"            {target} += {_bound(text, rank, 3)};"
        yield from ("        }", "    }")

    def _argmax(self, kernel: ArgMax) -> Iterator[str]:
        rows, length = kernel.z.shape
        kind = "float" if kernel.z.array.type is Type.FLOAT else "int32_t"
        yield f"    /* The index of the largest {comment(kernel.z.array.name)}, of equal ones the first. */"
        yield f"    for (int32_t r = 0; r < {rows}; r++) {{" if rows > 1 else "    {"
        start = f"r * {length}" if rows > 1 else "0"
        if kernel.mask is not None:
            yield "        uint8_t any = 0;"
            yield f"        for (int32_t i = 0; i < {length}; i++) {{"
            yield f"            any = (uint8_t)(any | {_at(kernel.mask, 'i')});"
            yield "        }"
        yield f"        {kind} best = {_at(kernel.z, start)};"
        yield "        int32_t index = 0;"
        condition = "any && " if kernel.mask is not None else ""
        yield f"        for (int32_t i = 1; {condition}i < {length}; i++) {{"
        value = _at(kernel.z, f"r * {length} + i" if rows > 1 else "i")
        yield f"            if (!({value} <= best) && best == best) {{"
        yield f"                best = {value};"
        yield "                index = i;"
        yield from ("            }", "        }")
        yield f"        {f'{place(kernel.out)}[r]' if rows > 1 else _start_scalar(kernel.out)} = index;"
        yield "    }"

    def _max_index(self, kernel: MaxIndex) -> Iterator[str]:
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
        yield f"{pad}const {kind} value = {_at(kernel.z, f'c * {math.prod(kernel.sizes)} + i')};"
        yield f"{pad}if (index < 0 || (!(value <= best) && best == best)) {{"
        yield f"{pad}    best = value;"
        yield f"{pad}    index = i;"
        yield f"{pad}}}"
        for _ in axes:
            pad = pad[4:]
            yield f"{pad}}}"
        yield f"{pad}{f'{place(kernel.out)}[{target}]' if kernel.out.size > 1 else _start_scalar(kernel.out)} = index;"
        for _ in range(len(axes) + 1):
            pad = pad[4:]
            yield f"{pad}}}"

    def copy(self, copy: Copy) -> Iterator[str]:
        """A state takes its next value."""
        source = place(copy.source)
        if _is_scalar(copy.source):
            yield f"    {place(copy.state)}[0] = {source};"
        else:
            yield f"    memcpy({place(copy.state)}, {source}, sizeof {source});"


def _is_limit(operand: Operand) -> bool:
    """Whether an operand is a constant without NaN."""
    if isinstance(operand, Literal):
        return not math.isnan(operand.value)
    values = operand.array.values if isinstance(operand, View) else None
    return values is not None and not np.isnan(values).any()


def _used(declaration: str, name: str, text: str) -> list[str]:
    """A declaration, if a text uses its name."""
    return [f"    {declaration}"] if declaration and f"{name}->" in text else []


def _ignored(parameters: Sequence[str], text: str, indent: str = "    ") -> list[str]:
    """Statements for the parameters that a text does not use, so that compilers do not warn."""
    return [f"{indent}(void){name};" for name in parameters if not re.search(rf"\b{name}\b", text)]


def given_pairs(texts: Sequence[str], ranks: Sequence[int]) -> list[tuple[str, int]]:
    """Texts with their precedence."""
    return list(zip(texts, ranks, strict=True))


def _is_scalar(array: Array) -> bool:
    """Whether an array of one element is a plain variable or constant."""
    return array.size == 1 and (array.storage is Storage.CONSTANT or (array.storage is Storage.WORK and not array.shared))


def _wrapped(text: str) -> str:
    return f"({text})"


def _bound(text: str, rank: int, limit: int) -> str:
    """A text in parentheses if it binds less tightly than its place needs."""
    return text if rank <= limit else f"({text})"


def _index(access: View | Position, extents: tuple[int, ...]) -> str:
    """The index of an access in terms of the loops' variables."""
    offset = access.offset
    names = ["i"] if len(extents) == 1 else [f"i{axis}" for axis in range(len(extents))]
    strides = loop_strides(access, extents)
    if strides is None:  # uneven: from the row-major index
        flat = " + ".join(f"{n} * {s}" if s != 1 else n for n, s in zip(names, contiguous(extents), strict=True))
        terms = [
            f"({flat}) / {block} % {size}" + (f" * {stride}" if stride != 1 else "")
            for size, stride, block in zip(access.shape, access.strides, contiguous(access.shape), strict=True)
            if size != 1 and stride != 0
        ]
    else:
        terms = [name if s == 1 else f"{name} * {s}" for name, s in zip(names, strides, strict=True) if s]
    return " + ".join([*terms, *([str(offset)] if offset or not terms else [])])


def _opening(extents: tuple[int, ...]) -> tuple[list[str], str]:
    if extents == (1,):
        return ["    {", "        const int32_t i = 0;", "        (void)i;"], "        "
    names = ["i"] if len(extents) == 1 else [f"i{axis}" for axis in range(len(extents))]
    lines = [
        f"{'    ' * (depth + 1)}for (int32_t {name} = 0; {name} < {extent}; {name}++) {{"
        for depth, (name, extent) in enumerate(zip(names, extents, strict=True))
    ]
    return lines, "    " * (len(extents) + 1)


def _closing(extents: tuple[int, ...]) -> list[str]:
    return ["    " * depth + "}" for depth in range(len(extents), 0, -1)]


def _at(view: View, index: str) -> str:
    """An element of a flat view at a row-major index."""
    name = place(view.array)
    if view.array.size == 1:
        return name if _is_scalar(view.array) else f"{name}[0]"
    return f"{name}[{f'{view.offset} + ' if view.offset else ''}{index}]"


def _start(array: Array) -> str:
    """A pointer to an array's first element."""
    return f"&{place(array)}" if _is_scalar(array) else place(array)


def _start_of(view: View) -> str:
    return f"{_start(view.array)}{f' + {view.offset}' if view.offset else ''}"


def _start_scalar(array: Array) -> str:
    return place(array) if _is_scalar(array) else f"{place(array)}[0]"


def _cleared(array: Array) -> Iterator[str]:
    if _is_scalar(array):
        yield f"    {place(array)} = 0.0f;"
    else:
        yield f"    memset({place(array)}, 0, sizeof {place(array)});"


def _scaled_sums(out: Array, scale: float) -> Iterator[str]:
    yield f"    for (int32_t j = 0; j < {out.size}; j++) {{"
    target = f"{place(out)}[j]" if out.size > 1 else _start_scalar(out)
    yield f"        {target} = (float)state->work.sums[j] * {number(scale)};"
    yield "    }"
