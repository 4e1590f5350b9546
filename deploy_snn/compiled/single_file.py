"""The compiled source in one file, for a library that is an operator of another runtime."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from deploy_snn.compiled.source import CSource
from deploy_snn.contract import Contract, TensorSpec

DATA = """
/* The weights, at the address of this name. */
__asm__(
    ".pushsection .rodata\\n.balign 64\\n.globl @P@__data\\n.hidden @P@__data\\n"
    "@P@__data:\\n.incbin \\"@WEIGHTS@\\"\\n.popsection"
);
extern const unsigned char @P@__data[];
"""


def source_hash(compiled: CSource) -> str:
    """What identifies the compiled step: a hash of its source and its weights."""
    parts = (compiled.header.encode(), compiled.source.encode(), compiled.weights)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()


def single_file(compiled: CSource, glue: str, names: Mapping[str, str], *, header_name: str, weights_name: str) -> str:
    """The header, the source, the weights and the glue to another runtime, as one file of C99.

    Args:
        compiled: the compiled step.
        glue: the text after the source, with ``@NAME@`` for each of ``names``, and ``@P@`` for the prefix of the model.
        names: what replaces these names.
        header_name: the name of the header that the source includes; its text replaces that line.
        weights_name: the file of the weights, which the compiler must find.
    """
    text = (DATA if compiled.weights else "") + glue
    for key, value in {**names, "P": compiled.prefix, "WEIGHTS": weights_name}.items():
        text = text.replace(f"@{key}@", value)
    before, found, after = compiled.source.partition(f'#include "{header_name}"\n')
    assert found
    return f"{before}\n{compiled.header}{after}{text}"


def tensor_tables(contract: Contract, kind: Callable[[TensorSpec], str]) -> dict[str, str]:
    """The tables ``TAKES`` and ``GIVES`` of an operator's tensors, in the contract's order, and their largest ``RANK``.

    An operator takes inputs and states, and gives outputs and the next states. ``kind`` is how the other runtime writes the
    element type of a tensor.
    """
    taken = [*contract.inputs, *contract.states]
    given = [*contract.outputs, *contract.states]

    def table(specs: Iterable[TensorSpec]) -> str:
        return "\n".join(f"    {{{kind(spec)}, {len(spec.axes)}, {{{_sizes(spec)}}}}}," for spec in specs)

    rank = max(len(spec.axes) for spec in (*taken, *given))
    return {"TAKES": table(taken), "GIVES": table(given), "RANK": str(rank)}


def _sizes(spec: TensorSpec) -> str:
    return ", ".join(str(0 if axis.size is None else axis.size) for axis in spec.axes) or "0"


def run_lines(compiled: CSource, contract: Contract, *, steps: str, on_wrong_spikes: str) -> list[str]:
    """The statements that run ``rows`` structs ``states`` from the pointers ``given`` to the pointers ``results``.

    ``given`` has the inputs and the states, ``results`` the outputs and the next states, each in the contract's order.
    """
    lines = members(compiled.inputs, "inputs", "given", 0)
    lines += members(compiled.outputs, "outputs", "results", 0)
    lines += set_weights_lines(compiled)
    run = f"{compiled.prefix}_run(states, (int32_t)rows, {steps}, &inputs, &outputs);"
    return [*lines, *between_states(compiled, contract, run, on_wrong_spikes)]


def set_weights_lines(compiled: CSource) -> list[str]:
    """The statements that give each of the ``rows`` structs the weights."""
    if not compiled.weights:
        return []
    return [
        "for (int64_t row = 0; row < rows; row++) {",
        f"    {compiled.prefix}_set_weights(&states[row], {compiled.prefix}__data);",
        "}",
    ]


def between_states(compiled: CSource, contract: Contract, call: str, on_wrong_spikes: str) -> list[str]:
    """A call on the structs, after the states have been loaded into them and before they are stored."""
    p = compiled.prefix
    if not contract.states:
        return [call]
    return [
        "{",
        *(f"    {line}" for line in [f"{p}_state_arrays from;", f"{p}_state_arrays to;"]),
        *(f"    {line}" for line in members(compiled.states, "from", "given", len(contract.inputs))),
        *(f"    {line}" for line in members(compiled.states, "to", "results", len(contract.outputs))),
        f"    if ({p}_load_state(states, (int32_t)rows, &from)) {{",
        f"        {on_wrong_spikes}",
        "    } else {",
        f"        {call}",
        f"        {p}_store_state(states, (int32_t)rows, &to);",
        "    }",
        "}",
    ]


def members(names: Sequence[str], record: str, array: str, start: int) -> list[str]:
    """The statements that set the members of a struct to the elements of an array."""
    return [f"{record}.{name} = {array}[{start + place}];" for place, name in enumerate(names)]
