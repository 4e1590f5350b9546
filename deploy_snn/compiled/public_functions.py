"""The public C functions of a compiled model, around those that compute."""

from collections.abc import Iterator

from deploy_snn.compiled.elements import number
from deploy_snn.compiled.loops import Type
from deploy_snn.compiled.model import Model
from deploy_snn.compiled.step_functions import wrapped_call
from deploy_snn.contract import Role


def public_functions(model: Model) -> Iterator[str]:
    """All of them but the self-check and the normalisation."""
    p, states = model.prefix, model.program.states
    yield from ("", f"void {p}_initial_state({p}_state *state)", "{")
    for array in states:
        start = model.starts.get(array)
        if start is not None:
            source = f"state->weights->{start.name}" if start.external else start.name
            yield f"    memcpy(state->{array.name}, {source}, sizeof state->{array.name});"
        else:
            value = model.initial[array.tensor].reshape(-1)[0].item()
            yield f"    for (int32_t i = 0; i < {array.size}; i++) {{"
            yield f"        state->{array.name}[i] = {number(value, array.type)};"
            yield "    }"
    for name in model.limited.values():
        yield f"    state->{name} = 0;"
    if not states:
        yield "    (void)state;"
    yield "}"
    yield from _step_and_run(model)
    yield from _step_events(model)
    yield from ("", f"size_t {p}_state_size(void)", "{", f"    return sizeof({p}_state);", "}")
    if model.external:
        yield from ("", f"void {p}_set_weights({p}_state *state, const void *weights)", "{")
        yield from (f"    state->weights = (const {p}_weights *)weights;", "}")
    if states:
        yield from _store_and_load(model)


def _step_and_run(model: Model) -> Iterator[str]:
    p = model.prefix
    arguments = [f"inputs->{a.name}" for a in model.program.inputs] + [f"outputs->{a.name}" for a in model.row_outputs]
    yield ""
    yield f"void {p}_step({p}_state *state, const {p}_inputs *inputs, const {p}_outputs *outputs)"
    yield "{"
    yield from wrapped_call(f"    {p}_row(", ["state", *arguments], ");")
    if model.shares:
        yield f"    {p}_update_shared(state, 1);"
    for output, shared in model.program.recorded:
        yield f"    memcpy(outputs->{output.name}, state->{shared.name}, sizeof state->{shared.name});"
    yield "}"
    yield ""
    yield f"void {p}_run({p}_state *states, int32_t rows, int32_t steps, const {p}_inputs *inputs, const {p}_outputs *outputs)"  # noqa: E501
    yield "{"
    yield "    size_t at = 0;"
    yield "    for (int32_t t = 0; t < steps; t++) {"
    yield "        for (int32_t r = 0; r < rows; r++) {"
    offsets = [f"inputs->{a.name} + at * {a.size}" for a in model.program.inputs]
    offsets += [f"outputs->{a.name} + at * {a.size}" for a in model.row_outputs]
    yield from wrapped_call(f"            {p}_row(", ["&states[r]", *offsets], ");")
    yield "            at++;"
    yield "        }"
    if model.shares:
        yield f"        {p}_update_shared(states, rows);"
    for output, shared in model.program.recorded:
        at = f"{output.name} + (size_t)t * {output.size}"
        yield f"        memcpy(outputs->{at}, states->{shared.name}, sizeof states->{shared.name});"
    yield from ("    }", "}")


def _step_events(model: Model) -> Iterator[str]:
    p = model.prefix
    drives = [a for a, s in zip(model.program.inputs, model.contract.inputs, strict=True) if s.role is Role.DRIVE]
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
    for a in model.program.inputs:
        yield f"    inputs.{a.name} = events->{a.name}{'_dense' if a in drives else ''};"
    yield f"    {p}_step(state, &inputs, outputs);"
    for a in drives:
        yield f"    for (int32_t i = 0; i < events->{a.name}_count; i++) {{"
        yield f"        events->{a.name}_dense[events->{a.name}[i]] = 0.0f;"
        yield "    }"
    yield from ("    return 0;", "}")


def _store_and_load(model: Model) -> Iterator[str]:
    p = model.prefix
    yield ""
    yield f"void {p}_store_state(const {p}_state *states, int32_t rows, const {p}_state_arrays *to)"
    yield "{"
    yield "    for (int32_t r = 0; r < rows; r++) {"
    for a, kind in zip(model.program.states, model.state_types(), strict=True):
        yield f"        for (int32_t i = 0; i < {a.size}; i++) {{"
        at = "i" if a.shared else f"(size_t)r * {a.size} + (size_t)i"
        yield f"            to->{a.name}[{at}] = {'' if kind == a.type else f'({kind})'}states[r].{a.name}[i];"
        yield "        }"
    yield from ("    }", "}")
    yield ""
    yield f"int {p}_load_state({p}_state *states, int32_t rows, const {p}_state_arrays *from)"
    yield "{"
    for a in model.program.states:
        if a.type is Type.SPIKE:
            count = f"{a.size}" if a.shared else f"(size_t)rows * {a.size}"
            yield f"    for (size_t i = 0; i < {count}; i++) {{"
            yield f"        if (from->{a.name}[i] != 0 && from->{a.name}[i] != 1) {{"
            yield from ("            return -1;", "        }", "    }")
    yield "    for (int32_t r = 0; r < rows; r++) {"
    for a in model.program.states:
        yield f"        for (int32_t i = 0; i < {a.size}; i++) {{"
        at = "i" if a.shared else f"(size_t)r * {a.size} + (size_t)i"
        cast = "(uint8_t)" if a.type is Type.SPIKE else ""
        yield f"            states[r].{a.name}[i] = {cast}from->{a.name}[{at}];"
        yield "        }"
    for name in model.limited.values():
        yield f"        states[r].{name} = 0;"
    yield from ("    }", "    return 0;", "}")
