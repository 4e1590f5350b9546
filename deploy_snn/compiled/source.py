"""A compiled model as C99: a header, a source file and, for large models, a file of weights.

The source needs no heap and has no global variables. Its state is a struct that the caller owns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy_snn import __version__
from deploy_snn.compiled.graph import Lifting
from deploy_snn.compiled.helpers import HELPERS
from deploy_snn.compiled.loops import (
    NUMPY,
    Array,
    Convolution,
    Kernel,
    LoopProgram,
    Product,
    SparseProduct,
    Storage,
    Type,
)
from deploy_snn.compiled.names import Namespace, comment, identifier
from deploy_snn.compiled.render import Renderer, array_text, number
from deploy_snn.compiled.schedule import Copy, Loop, Schedule, schedule
from deploy_snn.compiled.self_check import SelfCheck
from deploy_snn.contract import Role
from deploy_snn.eager import to_numpy
from deploy_snn.lowering import Lowered

INSIDE = 2**20
"""Up to this size in bytes the parameters are arrays in the source. More of them go to a file, which compiles faster."""
SMALLEST_IN_FILE = 2**10

API = (
    "state", "work", "inputs", "outputs", "events", "state_arrays", "weights", "contract", "initial_state", "step", "run",
    "step_events", "load_state", "store_state", "state_size", "set_weights", "weights_size_check", "check", "check_memory",
    "row", "update_shared", "normalise", "H",
)  # fmt: skip
"""What follows the prefix in the names of a compiled model."""


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
    return _Writer(lowered, header_name, check_steps).write()


class _Writer:
    def __init__(self, lowered: Lowered, header_name: str, check_steps: int) -> None:
        self.lowered = lowered
        self.contract = lowered.contract
        self.header_name = header_name
        self.prefix = identifier(lowered.name)
        self.prefix += "_model" if self.prefix in Namespace().taken else ""
        names = Namespace([f"{self.prefix}_{name}" for name in API] + list(HELPERS))
        lifting = Lifting(lowered, names)
        self.program: LoopProgram = lifting.program()
        self.schedule: Schedule = schedule(self.program, names)
        normalisation = lifting.normalisation(self.program.states)
        self.normalisation = schedule(normalisation, names) if normalisation else None
        self.normalised = normalisation.work if normalisation else []
        self.limited = {u.weights: names.add(f"{u.weights.name}_limited") for u in self.schedule.updates if u.event_driven}
        self.initial = to_numpy(lowered.initial_state)
        self.check = SelfCheck(lowered, self.prefix, self.program, check_steps, names) if check_steps else None
        self.starts = self._starts(names)
        self._choose_places()

    # What the model consists of.

    @property
    def kernels(self) -> list[Kernel]:
        steps = self.schedule.steps + (self.normalisation.steps if self.normalisation else [])
        return [step for step in steps if isinstance(step, Kernel)]

    @property
    def external(self) -> list[Array]:
        """The constants in the weights file, the widest elements first, so that nothing is padded."""
        found = [array for array in self.program.constants if array.external]
        return sorted(found, key=lambda array: -np.dtype(NUMPY[array.type]).itemsize)

    def _starts(self, names: Namespace) -> dict[Array, Array]:
        """The constants that hold initial states which are not the same everywhere."""
        found = {}
        for state in self.program.states:
            values = self.initial[state.tensor].reshape(-1)
            if not (values == values[0]).all():
                data = values.astype(NUMPY[state.type])
                found[state] = Array(
                    names.add(f"initial_{state.name}"), state.type, state.size, Storage.CONSTANT, values=data
                )
                self.program.constants.append(found[state])
        return found

    def _choose_places(self) -> None:
        used = self._used_constants()
        self.program.constants = [array for array in self.program.constants if array in used]
        if sum(_bytes(array) for array in self.program.constants) > INSIDE:
            for array in self.program.constants:
                array.external = _bytes(array) >= SMALLEST_IN_FILE

    def _used_constants(self) -> set[Array]:
        text = "\n".join([*self._row(Renderer()), *self._update_shared(Renderer()), *self._normalise(Renderer())])
        words = set(text.replace("->", " ").translate({ord(c): " " for c in "[](){}*+-/&;,.?:!=<>|"}).split())
        return {array for array in self.program.constants if array.name in words} | set(self.starts.values())

    # Files.

    def write(self) -> CSource:
        renderer = Renderer()
        body = [*self._row(renderer), *self._update_shared(renderer), *self._normalise(renderer)]
        source = [
            *self._preamble(renderer),
            *self._constants(),
            *(
                line
                for name, text in HELPERS.items()
                if name in renderer.helpers
                for line in ("", *text.strip().splitlines())
            ),
            *self._row_sums(renderer),
            *body,
            *self._functions(),
            *(self.check.function() if self.check else ()),
            *self._contract_text(),
        ]
        data = b"".join(np.ascontiguousarray(array.values).tobytes() for array in self.external)
        data += b"\0" * (-len(data) % 4)
        return CSource(
            self.prefix,
            "\n".join(self._header(len(data))) + "\n",
            "\n".join(source) + "\n",
            data,
            self._parameters(),
            self._work_bytes(),
            sum(_bytes(array) for array in self.program.constants),
            sum(_bytes(array) for array in self.program.states) + self._work_bytes(),
            self.normalisation is not None,
            *([a.name for a in arrays] for arrays in (self.program.inputs, self.program.states, self.program.outputs)),
        )

    def _parameters(self) -> list[dict[str, Any]]:
        scales: dict[Array, float] = {}
        for kernel in self.kernels:
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
                "bytes": _bytes(array),
            }
            | ({"scale": scales[array]} if array.type in (Type.INT8, Type.INT16) else {})
            for array in self.program.constants
            if array.size > 1
        ]

    # The header.

    def _header(self, weights: int) -> Iterator[str]:  # noqa: C901, PLR0912, PLR0915  (the header from top to bottom)
        p, guard = self.prefix, f"{self.prefix.upper()}_H"
        yield f"/* {comment(self.lowered.name)}: one step of {self.contract.dt:g} ms. Written by deploy-snn {__version__}. */"  # noqa: E501
        yield from (f"#ifndef {guard}", f"#define {guard}", "", "#include <stddef.h>", "#include <stdint.h>", "")
        yield from ("#ifdef __cplusplus", 'extern "C" {', "#endif", "")
        yield "/* The number of elements of each tensor, for one row of a batch. */"
        yield "enum {"
        for array in [*self.program.inputs, *self.program.states, *self.program.outputs]:
            yield f"    {p}_size_{array.name} = {array.size},"
        yield "};"
        if self.external:
            yield from ("", "/* The parameters, as they are in the weights file: little-endian. */", "typedef struct {")
            for array in self.external:
                yield f"    {array.type} {array.name}[{array.size}];"
            yield f"}} {p}_weights;"
            yield f"typedef char {p}_weights_size_check[sizeof({p}_weights) == {weights} ? 1 : -1];"
        yield ""
        yield "/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */"
        yield "typedef struct {"
        work = [*self._work_arrays(), *self._lists()]
        # Wide elements first: then no array begins in the middle of a vector, and nothing is padded.
        for wide in (True, False):
            for array in self.program.states:
                if (array.type is not Type.SPIKE) is wide:
                    yield f"    {array.type} {array.name}[{array.size}]; /* {comment(array.tensor)} */"
            if wide:
                for array, name in self.limited.items():
                    yield f"    int32_t {name}; /* set it to 0 after you change {array.name} */"
            if wide and work:
                yield "    struct {"
                for array in sorted(work, key=lambda array: array.type is Type.SPIKE):
                    yield f"        {array.type} {array.name}[{array.size}];"
                yield "    } work;"
        if self.external:
            yield f"    const {p}_weights *weights; /* set it before the first step */"
        if not (self.external or self.program.states or work):
            yield "    char unused; /* the model has no state */"
        yield f"}} {p}_state;"
        yield ""
        yield "/* The inputs, each [steps, rows, elements]. */"
        yield "typedef struct {"
        for array in self.program.inputs:
            yield f"    const float *{array.name}; /* {comment(array.tensor)} */"
        yield f"}} {p}_inputs;"
        yield ""
        yield "/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */"
        yield "typedef struct {"
        for array in self.program.outputs:
            yield f"    {array.type} *{array.name}; /* {comment(array.tensor)} */"
        yield f"}} {p}_outputs;"
        yield ""
        yield "/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch"  # noqa: E501
        yield "   memory as large as the input: all 0 before the first call, and again after each call. */"
        yield "typedef struct {"
        for array, spec in zip(self.program.inputs, self.contract.inputs, strict=True):
            if spec.role is Role.DRIVE:
                yield f"    const int32_t *{array.name};"
                yield f"    int32_t {array.name}_count;"
                yield f"    float *{array.name}_dense;"
            else:
                yield f"    const float *{array.name};"
        yield f"}} {p}_events;"
        if self.program.states:
            yield ""
            yield "/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */"  # noqa: E501
            yield "typedef struct {"
            for array, kind in zip(self.program.states, self._state_types(), strict=True):
                yield f"    {kind} *{array.name};"
            yield f"}} {p}_state_arrays;"
        yield ""
        yield "/* The contract of the model, as JSON. */"
        yield f"extern const char {p}_contract[];"
        yield ""
        yield "/* Set the state before the first step. */"
        yield f"void {p}_initial_state({p}_state *state);"
        yield ""
        yield "/* Run one step of one row. */"
        yield f"void {p}_step({p}_state *state, const {p}_inputs *inputs, const {p}_outputs *outputs);"
        yield ""
        yield "/* Run several steps of all rows of a batch. `states` has one element for each row. */"
        yield f"void {p}_run({p}_state *states, int32_t rows, int32_t steps, const {p}_inputs *inputs, const {p}_outputs *outputs);"  # noqa: E501
        yield ""
        yield "/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */"
        yield f"int {p}_step_events({p}_state *state, const {p}_events *events, const {p}_outputs *outputs);"
        yield ""
        if self.normalisation:
            yield "/* Scale the learnt weights whose rule has a norm, as at the end of a sample. */"
            yield f"void {p}_normalise({p}_state *states, int32_t rows);"
            yield ""
        yield "/* The size of the state of one row, for hosts that load the model at run time. */"
        yield f"size_t {p}_state_size(void);"
        if self.external:
            yield ""
            yield "/* The same as state->weights = weights, for hosts that load the model at run time. */"
            yield f"void {p}_set_weights({p}_state *state, const void *weights);"
        if self.program.states:
            yield ""
            yield "/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds"  # noqa: E501
            yield "   spikes is neither 0 nor 1; nothing changes then. */"
            yield f"void {p}_store_state(const {p}_state *states, int32_t rows, const {p}_state_arrays *to);"
            yield f"int {p}_load_state({p}_state *states, int32_t rows, const {p}_state_arrays *from);"
        if self.check:
            yield from self.check.declaration(external=bool(self.external))
        yield from ("", "#ifdef __cplusplus", "}", "#endif", "", "#endif")

    def _state_types(self) -> list[str]:
        return ["uint8_t" if spec.dtype == "bool" else "float" for spec in self.contract.states]

    def _work_arrays(self) -> list[Array]:
        steps = [*self.schedule.steps, *self.schedule.shared, *(self.normalisation.steps if self.normalisation else ())]
        used = {
            view.array
            for step in steps
            for view in ([v for value in step.values for v in value.stores] if isinstance(step, Loop) else [])
        } | {kernel.out for kernel in self.kernels}
        terms = [term.array for update in self.schedule.updates for term in update.terms]
        work = [array for array in [*self.program.work, *self.normalised] if array in used]
        return [*(array for array in work if array.size > 1 or array.shared), *terms]

    def _locals(self) -> list[Array]:
        return [a for a in self.program.work if a.storage is Storage.WORK and a.size == 1 and not a.shared]

    def _lists(self) -> list[Array]:
        """The scratch memory of the kernels: a list of the neurons that spiked, and integer sums."""
        products = [k for k in self.kernels if isinstance(k, Product) and hasattr(k.w, "array")]
        integers = [kernel.out.size for kernel in self.kernels if _weights_of(kernel) in (Type.INT8, Type.INT16)]
        found = []
        listed = [k.z.size for k in products] + [u.extents[1] for u in self.schedule.updates if u.event_driven]
        if listed:
            found.append(Array("list", Type.INT32, max(listed), Storage.WORK))
        if integers:
            found.append(Array("sums", Type.INT32, max(integers), Storage.WORK))
        return found

    def _work_bytes(self) -> int:
        return sum(_bytes(array) for array in [*self._work_arrays(), *self._lists()])

    # The source.

    def _preamble(self, renderer: Renderer) -> Iterator[str]:
        yield f"/* {comment(self.lowered.name)}: one step of {self.contract.dt:g} ms. Written by deploy-snn {__version__}."
        yield "   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */"  # noqa: E501
        yield f'#include "{self.header_name}"'
        yield ""
        yield "#if defined(__GNUC__) && !defined(__clang__)"
        yield "/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */"
        yield '#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")'
        yield "#endif"
        yield ""
        if renderer.headers or any(not np.isfinite(np.asarray(a.values)).all() for a in self.program.constants):
            yield "#include <math.h>"
        yield "#include <string.h>"

    def _constants(self) -> Iterator[str]:
        inside = [array for array in self.program.constants if not array.external]
        if inside:
            yield ""
        for array in inside:
            assert array.values is not None
            if array.size == 1:
                yield f"static const {array.type} {array.name} = {number(array.values[0].item(), array.type)};"
            else:
                yield from array_text(f"static const {array.type} {array.name}[{array.size}]", array.type, array.values)

    def _row_sums(self, renderer: Renderer) -> Iterator[str]:
        for array in sorted(renderer.summed, key=lambda a: a.name):
            kind = "int32_t" if array.type is Type.SPIKE else "float"
            yield ""
            yield "/* The sum over the rows of a batch. */"
            yield f"static float sum_{array.name}(const {self.prefix}_state *states, int32_t rows, int32_t i)"
            yield "{"
            yield f"    {kind} sum = 0;"
            yield "    for (int32_t r = 0; r < rows; r++) {"
            yield f"        sum += states[r].work.{array.name}[i];"
            yield "    }"
            yield f"    return {'(float)sum' if array.type is Type.SPIKE else 'sum'};"
            yield "}"

    def _row(self, renderer: Renderer) -> Iterator[str]:
        p = self.prefix
        parameters = [f"{p}_state *restrict state"]
        parameters += [f"const float *restrict {array.name}" for array in self.program.inputs]
        parameters += [f"{array.type} *restrict {array.name}" for array in self._row_outputs]
        yield ""
        yield "/* One step of one row. */"
        yield from _wrapped_call(f"static void {p}_row(", parameters, ")")
        yield "{"
        if self.external:
            yield f"    const {p}_weights *restrict weights = state->weights;"
        for array in self._locals():
            yield f"    {array.type} {array.name} = 0;"
        yield from self._unused()
        yield from self._statements(self.schedule, renderer)
        yield "}"

    @staticmethod
    def _statements(scheduled: Schedule, renderer: Renderer) -> Iterator[str]:
        owner = None
        for step in scheduled.steps:
            if isinstance(step, Loop):
                if step.owner and step.owner != owner:
                    yield f"    /* {comment(step.owner)} */"
                owner = step.owner
                yield from renderer.loop(step)
            elif isinstance(step, Copy):
                yield from renderer.copy(step)
            else:
                owner = None
                yield from renderer.kernel(step)

    def _unused(self) -> Iterator[str]:
        """Name the parameters that the equations do not use, so that compilers do not warn."""
        yield "    (void)state;"
        for array in self.program.inputs:
            yield f"    (void){array.name};"

    def _update_shared(self, renderer: Renderer) -> Iterator[str]:
        p = self.prefix
        if not self._shares:
            return
        for update in self.schedule.updates:
            external = f"const {p}_weights *weights = states->weights;" if self.external else ""
            yield from renderer.weight_update(update, p, external.replace("states->", "state->"))
        yield ""
        yield "/* Update what the rows of a batch share, after all of them have made their step. */"
        yield f"static void {p}_update_shared({p}_state *states, int32_t rows)"
        yield "{"
        yield f"    {p}_state *state = states;"
        if self.external:
            yield f"    const {p}_weights *weights = state->weights;"
            yield "    (void)weights;"
        for loop in self.schedule.shared:
            yield from renderer.loop(loop)
        for update in self.schedule.updates:
            yield "    if (rows == 1) {"
            yield f"        {p}_update_{update.weights.name}(states);"
            yield "    } else {"
            yield f"        {p}_update_{update.weights.name}_together(states, rows);"
            yield "    }"
        yield from self._copied_to_rows([array for array in self.program.states if array.shared])
        yield "}"

    @property
    def _row_outputs(self) -> list[Array]:
        """The outputs that each row of a batch has."""
        recorded = {output for output, _ in self.program.recorded}
        return [array for array in self.program.outputs if array not in recorded]

    @property
    def _shares(self) -> bool:
        """Whether rows of a batch share a state that changes."""
        return bool(self.schedule.shared or self.schedule.updates)

    @staticmethod
    def _copied_to_rows(arrays: list[Array]) -> Iterator[str]:
        yield "    for (int32_t r = 1; r < rows; r++) {"
        for array in arrays:
            yield f"        memcpy(states[r].{array.name}, state->{array.name}, sizeof state->{array.name});"
        yield "    }"

    def _normalise(self, renderer: Renderer) -> Iterator[str]:
        if self.normalisation is None:
            return
        p = self.prefix
        weights = {
            s.array for step in self.normalisation.steps if isinstance(step, Loop) for v in step.values for s in v.stores
        }
        scaled = [array for array in self.program.states if array in weights]
        yield ""
        yield f"void {p}_normalise({p}_state *states, int32_t rows)"
        yield "{"
        yield f"    {p}_state *state = states;"
        if self.external:
            yield f"    const {p}_weights *weights = state->weights;"
            yield "    (void)weights;"
        for array in self.normalised:
            if array.size == 1 and not array.shared:
                yield f"    {array.type} {array.name} = 0;"
        yield from self._statements(self.normalisation, renderer)
        for array in scaled:
            if array in self.limited:
                yield f"    state->{self.limited[array]} = 0;"
        yield from self._copied_to_rows(scaled)
        yield "}"

    def _functions(self) -> Iterator[str]:
        p, states = self.prefix, self.program.states
        yield from ("", f"void {p}_initial_state({p}_state *state)", "{")
        for array in states:
            start = self.starts.get(array)
            if start is not None:
                source = f"state->weights->{start.name}" if start.external else start.name
                yield f"    memcpy(state->{array.name}, {source}, sizeof state->{array.name});"
            else:
                value = self.initial[array.tensor].reshape(-1)[0].item()
                yield f"    for (int32_t i = 0; i < {array.size}; i++) {{"
                yield f"        state->{array.name}[i] = {number(value, array.type)};"
                yield "    }"
        for name in self.limited.values():
            yield f"    state->{name} = 0;"
        if not states:
            yield "    (void)state;"
        yield "}"
        yield from self._step_and_run()
        yield from self._step_events()
        yield from ("", f"size_t {p}_state_size(void)", "{", f"    return sizeof({p}_state);", "}")
        if self.external:
            yield from ("", f"void {p}_set_weights({p}_state *state, const void *weights)", "{")
            yield from (f"    state->weights = (const {p}_weights *)weights;", "}")
        if states:
            yield from self._store_and_load()

    def _step_and_run(self) -> Iterator[str]:
        p = self.prefix
        arguments = [f"inputs->{a.name}" for a in self.program.inputs] + [f"outputs->{a.name}" for a in self._row_outputs]
        yield ""
        yield f"void {p}_step({p}_state *state, const {p}_inputs *inputs, const {p}_outputs *outputs)"
        yield "{"
        yield from _wrapped_call(f"    {p}_row(", ["state", *arguments], ");")
        if self._shares:
            yield f"    {p}_update_shared(state, 1);"
        for output, shared in self.program.recorded:
            yield f"    memcpy(outputs->{output.name}, state->{shared.name}, sizeof state->{shared.name});"
        yield "}"
        yield ""
        yield f"void {p}_run({p}_state *states, int32_t rows, int32_t steps, const {p}_inputs *inputs, const {p}_outputs *outputs)"  # noqa: E501
        yield "{"
        yield "    size_t at = 0;"
        yield "    for (int32_t t = 0; t < steps; t++) {"
        yield "        for (int32_t r = 0; r < rows; r++) {"
        offsets = [f"inputs->{a.name} + at * {a.size}" for a in self.program.inputs]
        offsets += [f"outputs->{a.name} + at * {a.size}" for a in self._row_outputs]
        yield from _wrapped_call(f"            {p}_row(", ["&states[r]", *offsets], ");")
        yield "            at++;"
        yield "        }"
        if self._shares:
            yield f"        {p}_update_shared(states, rows);"
        for output, shared in self.program.recorded:
            at = f"{output.name} + (size_t)t * {output.size}"
            yield f"        memcpy(outputs->{at}, states->{shared.name}, sizeof states->{shared.name});"
        yield from ("    }", "}")

    def _step_events(self) -> Iterator[str]:
        p = self.prefix
        drives = [a for a, s in zip(self.program.inputs, self.contract.inputs, strict=True) if s.role is Role.DRIVE]
        yield ""
        yield f"int {p}_step_events({p}_state *state, const {p}_events *events, const {p}_outputs *outputs)"
        yield "{"
        yield f"    {p}_inputs inputs;"
        for a in drives:
            yield f"    for (int32_t i = 0; i < events->{a.name}_count; i++) {{"
            yield f"        if (events->{a.name}[i] < 0 || events->{a.name}[i] >= {a.size}) {{"
            yield from ("            return -1;", "        }", "    }")
        for a in drives:
            yield f"    for (int32_t i = 0; i < events->{a.name}_count; i++) {{"
            yield f"        events->{a.name}_dense[events->{a.name}[i]] = 1.0f;"
            yield "    }"
        for a in self.program.inputs:
            yield f"    inputs.{a.name} = events->{a.name}{'_dense' if a in drives else ''};"
        yield f"    {p}_step(state, &inputs, outputs);"
        for a in drives:
            yield f"    for (int32_t i = 0; i < events->{a.name}_count; i++) {{"
            yield f"        events->{a.name}_dense[events->{a.name}[i]] = 0.0f;"
            yield "    }"
        yield from ("    return 0;", "}")

    def _store_and_load(self) -> Iterator[str]:
        p = self.prefix
        yield ""
        yield f"void {p}_store_state(const {p}_state *states, int32_t rows, const {p}_state_arrays *to)"
        yield "{"
        yield "    for (int32_t r = 0; r < rows; r++) {"
        for a, kind in zip(self.program.states, self._state_types(), strict=True):
            yield f"        for (int32_t i = 0; i < {a.size}; i++) {{"
            at = "i" if a.shared else f"(size_t)r * {a.size} + (size_t)i"
            yield f"            to->{a.name}[{at}] = {'' if kind == a.type else f'({kind})'}states[r].{a.name}[i];"
            yield "        }"
        yield from ("    }", "}")
        yield ""
        yield f"int {p}_load_state({p}_state *states, int32_t rows, const {p}_state_arrays *from)"
        yield "{"
        for a in self.program.states:
            if a.type is Type.SPIKE:
                count = f"{a.size}" if a.shared else f"(size_t)rows * {a.size}"
                yield f"    for (size_t i = 0; i < {count}; i++) {{"
                yield f"        if (from->{a.name}[i] != 0 && from->{a.name}[i] != 1) {{"
                yield from ("            return -1;", "        }", "    }")
        yield "    for (int32_t r = 0; r < rows; r++) {"
        for a in self.program.states:
            yield f"        for (int32_t i = 0; i < {a.size}; i++) {{"
            at = "i" if a.shared else f"(size_t)r * {a.size} + (size_t)i"
            cast = "(uint8_t)" if a.type is Type.SPIKE else ""
            yield f"            states[r].{a.name}[i] = {cast}from->{a.name}[{at}];"
            yield "        }"
        for name in self.limited.values():
            yield f"        states[r].{name} = 0;"
        yield from ("    }", "    return 0;", "}")

    def _contract_text(self) -> Iterator[str]:
        """The contract as character codes: a string literal of this length is not portable."""
        text = _ascii(self.contract.model_dump_json()).encode()
        yield ""
        yield "/* The contract, as JSON in ASCII. */"
        yield f"const char {self.prefix}_contract[] = {{"
        for start in range(0, len(text), 24):
            yield f"    {', '.join(map(str, text[start : start + 24]))},"
        yield from ("    0,", "};")


def _weights_of(kernel: Kernel) -> Type | None:
    if isinstance(kernel, Product):
        return kernel.w.array.type if hasattr(kernel.w, "array") else None
    if isinstance(kernel, Convolution):
        return kernel.w.type
    return kernel.weight.type if isinstance(kernel, SparseProduct) else None


def _bytes(array: Array) -> int:
    return array.size * int(np.dtype(NUMPY[array.type]).itemsize)


def _wrapped_call(start: str, arguments: list[str], end: str) -> Iterator[str]:
    """A call on one line, or with its arguments on lines of their own."""
    line = f"{start}{', '.join(arguments)}{end}"
    if len(line) <= 120:
        yield line
        return
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    yield start
    for index, argument in enumerate(arguments):
        yield f"{indent}{argument}{end if index == len(arguments) - 1 else ','}"


def _ascii(text: str) -> str:
    """JSON with escapes in place of all but ASCII."""
    return "".join(
        c if c.isascii() else "".join(f"\\u{unit:04x}" for unit in np.frombuffer(c.encode("utf-16-le"), "<u2"))
        for c in text
    )
