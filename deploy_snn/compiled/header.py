"""The header of a compiled model: its structs and its public functions."""

from collections.abc import Iterator

from deploy_snn import __version__
from deploy_snn.compiled.loops import Type
from deploy_snn.compiled.model import Model
from deploy_snn.compiled.names import comment
from deploy_snn.contract import Role


def header_text(model: Model, weights: int) -> Iterator[str]:  # noqa: C901, PLR0912, PLR0915  (the header from top to bottom)
    """The header from top to bottom. ``weights`` is the size of the weights file in bytes."""
    p, guard = model.prefix, f"{model.prefix.upper()}_H"
    yield f"/* {comment(model.lowered.name)}: one step of {model.contract.dt:g} ms. Written by deploy-snn {__version__}. */"
    yield from (f"#ifndef {guard}", f"#define {guard}", "", "#include <stddef.h>", "#include <stdint.h>", "")
    yield from ("#ifdef __cplusplus", 'extern "C" {', "#endif", "")
    yield "/* The number of elements of each tensor, for one row of a batch. */"
    yield "enum {"
    for array in [*model.program.inputs, *model.program.states, *model.program.outputs]:
        yield f"    {p}_size_{array.name} = {array.size},"
    yield "};"
    if model.external:
        yield from ("", "/* The parameters, as they are in the weights file: little-endian. */", "typedef struct {")
        for array in model.external:
            yield f"    {array.type} {array.name}[{array.size}];"
        yield f"}} {p}_weights;"
        yield f"typedef char {p}_weights_size_check[sizeof({p}_weights) == {weights} ? 1 : -1];"
    yield ""
    yield "/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */"
    yield "typedef struct {"
    work = [*model.work_arrays(), *model.lists()]
    # Wide elements first: then no array begins in the middle of a vector, and nothing is padded.
    for wide in (True, False):
        for array in model.program.states:
            if (array.type is not Type.SPIKE) is wide:
                yield f"    {array.type} {array.name}[{array.size}]; /* {comment(array.tensor)} */"
        if wide and work:
            yield "    struct {"
            for array in sorted(work, key=lambda array: array.type is Type.SPIKE):
                yield f"        {array.type} {array.name}[{array.size}];"
            yield "    } work;"
        if wide:
            for array, name in model.limited.items():
                yield f"    int32_t {name}; /* set it to 0 after you change {array.name} */"
    if model.external:
        yield f"    const {p}_weights *weights; /* set it before the first step */"
    if not (model.external or model.program.states or work):
        yield "    char unused; /* the model has no state */"
    yield f"}} {p}_state;"
    yield ""
    yield "/* The inputs, each [steps, rows, elements]. */"
    yield "typedef struct {"
    for array in model.program.inputs:
        yield f"    const float *{array.name}; /* {comment(array.tensor)} */"
    yield f"}} {p}_inputs;"
    yield ""
    yield "/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */"
    yield "typedef struct {"
    for array in model.program.outputs:
        yield f"    {array.type} *{array.name}; /* {comment(array.tensor)} */"
    yield f"}} {p}_outputs;"
    yield ""
    yield "/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch"  # noqa: E501
    yield "   memory as large as the input: all 0 before the first call, and again after each call. */"
    yield "typedef struct {"
    for array, spec in zip(model.program.inputs, model.contract.inputs, strict=True):
        if spec.role is Role.DRIVE:
            yield f"    const int32_t *{array.name};"
            yield f"    int32_t {array.name}_count;"
            yield f"    float *{array.name}_dense;"
        else:
            yield f"    const float *{array.name};"
    yield f"}} {p}_events;"
    if model.program.states:
        yield ""
        yield "/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */"
        yield "typedef struct {"
        for array, kind in zip(model.program.states, model.state_types(), strict=True):
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
    if model.normalisation:
        yield "/* Scale the learnt weights whose rule has a norm, as at the end of a sample. */"
        yield f"void {p}_normalise({p}_state *states, int32_t rows);"
        yield ""
    yield "/* The size of the state of one row, for hosts that load the model at run time. */"
    yield f"size_t {p}_state_size(void);"
    if model.external:
        yield ""
        yield "/* The same as state->weights = weights, for hosts that load the model at run time. */"
        yield f"void {p}_set_weights({p}_state *state, const void *weights);"
    if model.program.states:
        yield ""
        yield "/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds"  # noqa: E501
        yield "   spikes is neither 0 nor 1; nothing changes then. */"
        yield f"void {p}_store_state(const {p}_state *states, int32_t rows, const {p}_state_arrays *to);"
        yield f"int {p}_load_state({p}_state *states, int32_t rows, const {p}_state_arrays *from);"
    if model.check:
        yield from model.check.declaration(external=bool(model.external))
    yield from ("", "#ifdef __cplusplus", "}", "#endif", "", "#endif")
