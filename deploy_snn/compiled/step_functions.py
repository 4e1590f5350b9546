"""The C functions that compute: a step of one row, what rows share, and the normalisation of weights."""

from collections.abc import Iterator

from deploy_snn.compiled.kernels import copy_text, kernel_text
from deploy_snn.compiled.loops import Array, Type
from deploy_snn.compiled.model import Model
from deploy_snn.compiled.names import comment
from deploy_snn.compiled.render import Renderer
from deploy_snn.compiled.schedule import Copy, Loop, Schedule
from deploy_snn.compiled.weight_functions import WeightFunctions


def row_sums(model: Model, renderer: Renderer) -> Iterator[str]:
    """The functions that add up scratch memory over the rows of a batch."""
    for array in sorted(renderer.summed, key=lambda a: a.name):
        kind = "int32_t" if array.type is Type.SPIKE else "float"
        yield ""
        yield "/* The sum over the rows of a batch. */"
        yield f"static float sum_{array.name}(const {model.prefix}_state *states, int32_t rows, int32_t i)"
        yield "{"
        yield "    if (rows == 1) {"  # a loop over elements can then be vectorised
        yield f"        return {'(float)' if array.type is Type.SPIKE else ''}states->work.{array.name}[i];"
        yield "    }"
        yield f"    {kind} sum = 0;"
        yield "    for (int32_t r = 0; r < rows; r++) {"
        yield f"        sum += states[r].work.{array.name}[i];"
        yield "    }"
        yield f"    return {'(float)sum' if array.type is Type.SPIKE else 'sum'};"
        yield "}"


def step_of_row(model: Model, renderer: Renderer) -> Iterator[str]:
    """The function that makes one step of one row."""
    p = model.prefix
    parameters = [f"{p}_state *restrict state"]
    parameters += [f"const float *restrict {array.name}" for array in model.program.inputs]
    parameters += [f"{array.type} *restrict {array.name}" for array in model.row_outputs]
    yield ""
    yield "/* One step of one row. */"
    yield from wrapped_call(f"static void {p}_row(", parameters, ")")
    yield "{"
    statements = list(_statements(model.schedule, renderer))
    if any("weights->" in line for line in statements):
        yield f"    const {p}_weights *restrict weights = state->weights;"
    for array in model.locals():
        yield f"    {array.type} {array.name} = 0;"
    yield from _unused(model)
    yield from statements
    yield "}"


def _statements(scheduled: Schedule, renderer: Renderer) -> Iterator[str]:
    owner = None
    for step in scheduled.steps:
        if isinstance(step, Loop):
            if step.owner and step.owner != owner:
                yield f"    /* {comment(step.owner)} */"
            owner = step.owner
            yield from renderer.loop(step)
        elif isinstance(step, Copy):
            yield from copy_text(step)
        else:
            owner = None
            yield from kernel_text(step, renderer)


def _unused(model: Model) -> Iterator[str]:
    """Name the parameters that the equations do not use, so that compilers do not warn."""
    yield "    (void)state;"
    for array in model.program.inputs:
        yield f"    (void){array.name};"


def update_shared(model: Model, renderer: Renderer) -> Iterator[str]:
    """The functions that update what the rows of a batch share."""
    p = model.prefix
    if not model.shares:
        return
    for update in model.schedule.updates:
        external = f"const {p}_weights *weights = state->weights;" if model.external else ""
        yield from WeightFunctions(update, renderer, p, external).lines()
    yield ""
    yield "/* Update what the rows of a batch share, after all of them have made their step. */"
    yield f"static void {p}_update_shared({p}_state *states, int32_t rows)"
    yield "{"
    yield f"    {p}_state *state = states;"
    if model.external:
        yield f"    const {p}_weights *weights = state->weights;"
        yield "    (void)weights;"
    for loop in model.schedule.shared:
        yield from renderer.loop(loop)
    for update in model.schedule.updates:
        yield "    if (rows == 1) {"
        yield f"        {p}_update_{update.weights.name}(states);"
        yield "    } else {"
        yield f"        {p}_update_{update.weights.name}_together(states, rows);"
        yield "    }"
    yield from _copied_to_rows([array for array in model.program.states if array.shared])
    yield "}"


def _copied_to_rows(arrays: list[Array]) -> Iterator[str]:
    yield "    for (int32_t r = 1; r < rows; r++) {"
    for array in arrays:
        yield f"        memcpy(states[r].{array.name}, state->{array.name}, sizeof state->{array.name});"
    yield "    }"


def normalise(model: Model, renderer: Renderer) -> Iterator[str]:
    """The function that normalises learnt weights, if a rule has a norm."""
    if model.normalisation is None:
        return
    p = model.prefix
    weights = {
        s.array for step in model.normalisation.steps if isinstance(step, Loop) for v in step.values for s in v.stores
    }
    scaled = [array for array in model.program.states if array in weights]
    yield ""
    yield f"void {p}_normalise({p}_state *states, int32_t rows)"
    yield "{"
    yield f"    {p}_state *state = states;"
    if model.external:
        yield f"    const {p}_weights *weights = state->weights;"
        yield "    (void)weights;"
    for array in model.normalised:
        if array.size == 1 and not array.shared:
            yield f"    {array.type} {array.name} = 0;"
    yield from _statements(model.normalisation, renderer)
    for array in scaled:
        if array in model.limited:
            yield f"    state->{model.limited[array]} = 0;"
    yield from _copied_to_rows(scaled)
    yield "}"


def wrapped_call(start: str, arguments: list[str], end: str) -> Iterator[str]:
    """A call on one line, or with its arguments on lines of their own."""
    line = f"{start}{', '.join(arguments)}{end}"
    if len(line) <= 120:
        yield line
        return
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    yield start
    for index, argument in enumerate(arguments):
        yield f"{indent}{argument}{end if index == len(arguments) - 1 else ','}"
