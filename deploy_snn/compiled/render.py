"""Loops over elements as lines of C: one pattern for each operation."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from deploy_snn.compiled.elements import index_text, is_scalar, number, place
from deploy_snn.compiled.loops import ROWS, Array, Indirect, Literal, Operand, Position, Type, Value, View
from deploy_snn.compiled.schedule import Loop

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
    "relu": "{0} < 0.0f ? 0.0f : {0}",
}
LIMITS = {"maximum": "{0} < {1} ? {1} : {0}", "minimum": "{0} > {1} ? {1} : {0}"}
"""The patterns where the second operand is a constant that is not NaN: one instruction, and zeros as in ``torch.clamp``."""
ATOM, UNARY, CONDITIONAL = 0, 2, 13
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg"})


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
        yield from self.body(loop, indent)
        yield from _closing(loop.extents)

    def body(self, loop: Loop, indent: str) -> Iterator[str]:
        stores = []
        for value in loop.values:
            if value in loop.named:
                text, _ = self.expression(value, loop)
                kind = "float" if value.type is Type.FLOAT else "int"
                yield f"{indent}const {kind} {value.name} = {text};"
            stores += [(store, value) for store in value.stores]
        for store, value in stores:
            target = self.element(store, loop.extents)
            text = value.name if value in loop.named else self.expression(value, loop)[0]
            if store.array.type is Type.SPIKE or store.array.type is Type.INT32 or value.type is Type.FLOAT:
                yield f"{indent}{target} = {f'(uint8_t)({text})' if store.array.type is Type.SPIKE else text};"
            else:
                yield f"{indent}{target} = (float){wrapped(text)};"

    def element(self, view: View, extents: tuple[int, ...]) -> str:
        name = place(view.array)
        if view.array.size == 1:
            return name if is_scalar(view.array) else f"{name}[0]"
        return f"{name}[{index_text(view, extents)}]"

    def operand(  # noqa: PLR0911  (one return for each kind)
        self, operand: Operand, loop: Loop
    ) -> tuple[str, int, Type]:
        """The C text of an operand, its precedence and its type."""
        match operand:
            case Literal(value=value):
                kind = Type.INT32 if isinstance(value, int) and not isinstance(value, bool) else Type.FLOAT
                text = number(float(value))
                return text, UNARY if text.startswith("-") else ATOM, kind if kind is Type.FLOAT else Type.FLOAT
            case Position():
                index = index_text(operand, loop.extents)
                return index, ATOM if index.isidentifier() or index.isdigit() else 4, Type.INT32
            case View():
                return self.element(operand, loop.extents), ATOM, operand.array.type
            case Indirect(view=view, stride=stride, index=index):
                start = index_text(view, loop.extents)
                chosen = self.element(index, loop.extents)
                step = chosen if stride == 1 else f"{stride} * {chosen}"
                name = place(view.array)
                if view.array.size == 1:
                    return (name if is_scalar(view.array) else f"{name}[0]"), ATOM, view.array.type
                return f"{name}[{step if start == '0' else f'{start} + {step}'}]", ATOM, view.array.type
        if operand in loop.named:
            return operand.name, ATOM, operand.type
        text, precedence = self.expression(operand, loop)
        return text, precedence, operand.type

    def expression(self, value: Value, loop: Loop) -> tuple[str, int]:  # noqa: C901, PLR0911  (one pattern for each operation)
        """The C text of a value's operation, and its precedence."""
        if value.op == ROWS:
            return self._rows(value, loop), ATOM
        given = [self.operand(operand, loop) for operand in value.operands]
        if value.op in ARITHMETIC and value.type is Type.FLOAT:
            # Spikes are bytes: as numbers they are floats.
            given = [
                (text, p, kind)
                if kind is Type.FLOAT
                else (f"(float){wrapped(text) if p > ATOM else text}", UNARY, Type.FLOAT)
                for text, p, kind in given
            ]
        texts = [text for text, _, _ in given]
        ranks = [rank for _, rank, _ in given]
        match value.op:
            case "copy":
                return texts[0], ranks[0]
            case "neg":
                return f"-{bound(texts[0], ranks[0], ATOM)}", UNARY
            case "not":
                return f"!{bound(texts[0], ranks[0], ATOM)}", UNARY
            case "where":
                chosen = [bound(text, rank, 4 if rank != CONDITIONAL else ATOM) for text, rank in given_pairs(texts, ranks)]
                return f"{bound(texts[0], ranks[0], 7)} ? {chosen[1]} : {chosen[2]}", CONDITIONAL
            case "sigmoid":
                self.headers.add("math.h")
                return f"1.0f / (1.0f + expf(-{bound(texts[0], ranks[0], ATOM)}))", 3
        if value.op in FUNCTIONS:
            self.headers.add("math.h")
            return f"{FUNCTIONS[value.op]}({texts[0]})", ATOM
        if value.op in PATTERNS:
            atoms = [bound(text, rank, ATOM) for text, rank in given_pairs(texts, ranks)]
            patterns = PATTERNS | (LIMITS if _is_limit(value.operands[-1]) else {})
            return patterns[value.op].format(*atoms), CONDITIONAL
        symbol, rank = BINARY[value.op]
        if value.op in ("and", "or"):  # without a branch, so that the loop can be vectorised
            symbol, rank = {"and": ("&", 8), "or": ("|", 10)}[value.op]
            truths = [text if kind is Type.SPIKE else f"({text} != 0)" for text, _, kind in given]
            left, right = (bound(t, r, ATOM) for t, r in given_pairs(truths, ranks))
            return f"{left} {symbol} {right}", rank
        left = bound(texts[0], ranks[0], rank if rank < 6 else 5)
        right = bound(texts[1], ranks[1], rank - 1 if rank < 6 else 5)
        return f"{left} {symbol} {right}", rank

    def _rows(self, value: Value, loop: Loop) -> str:
        (view,) = value.operands
        assert isinstance(view, View)
        index = index_text(view, loop.extents)
        self.summed.add(view.array)
        return f"sum_{view.array.name}(states, rows, {index})"


def _is_limit(operand: Operand) -> bool:
    """Whether an operand is a constant without NaN."""
    if isinstance(operand, Literal):
        return not math.isnan(operand.value)
    values = operand.array.values if isinstance(operand, View) else None
    return values is not None and not np.isnan(values).any()


def given_pairs(texts: Sequence[str], ranks: Sequence[int]) -> list[tuple[str, int]]:
    """Texts with their precedence."""
    return list(zip(texts, ranks, strict=True))


def wrapped(text: str) -> str:
    return f"({text})"


def bound(text: str, rank: int, limit: int) -> str:
    """A text in parentheses if it binds less tightly than its place needs."""
    return text if rank <= limit else f"({text})"


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
