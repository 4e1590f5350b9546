"""The compiled step as operators of torch: the source of a library for ``torch.ops.deploy_snn``.

The library calls libtorch through its stable C interface, so it needs no header of torch, and one library serves every
torch that has these functions (2.9 and later).
"""

from collections.abc import Iterable

from deploy_snn.compiled.single_file import (
    between_states,
    run_lines,
    set_weights_lines,
    single_file,
    source_hash,
    tensor_tables,
)
from deploy_snn.compiled.source import CSource
from deploy_snn.contract import Contract

NAMESPACE = "deploy_snn"

GLUE = r"""
/* The operators. Names with two underscores are not those of a model. */
#include <stdlib.h>

/* What is used of libtorch's stable C interface. A tensor is a handle that its owner deletes; a status is 0 for success. */
int32_t aoti_torch_dtype_float32(void);
int32_t aoti_torch_dtype_bool(void);
int32_t aoti_torch_device_type_cpu(void);
int32_t aoti_torch_get_dtype(void *tensor, int32_t *dtype);
int32_t aoti_torch_get_dim(void *tensor, int64_t *rank);
int32_t aoti_torch_get_sizes(void *tensor, int64_t **sizes);
int32_t aoti_torch_is_contiguous(void *tensor, _Bool *contiguous);
int32_t aoti_torch_get_data_ptr(void *tensor, void **data);
int32_t aoti_torch_empty_strided(
    int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype, int32_t device, int32_t index, void **tensor
);
int32_t aoti_torch_copy_(void *to, void *from, int32_t non_blocking);
int32_t aoti_torch_delete_tensor_object(void *tensor);
int32_t aoti_torch_library_init_fragment(const char *name, const char *file, uint32_t line, void **library);
int32_t aoti_torch_library_init_impl(const char *name, const char *key, const char *file, uint32_t line, void **library);
int32_t aoti_torch_library_def(void *library, const char *schema);
int32_t aoti_torch_library_impl(void *library, const char *name, void (*function)(uint64_t *, uint64_t, uint64_t));
int32_t aoti_torch_delete_library_object(void *library);
void aoti_torch_check(_Bool condition, const char *function, const char *file, uint32_t line, const char *message);

enum { op__inputs = @INPUTS@, op__taken = @TAKEN@, op__outputs = @OUTPUTS@, op__given = @GIVEN@, op__rank = @RANK@ };

/* What an operator does, each with a leading time axis on inputs and outputs or without one. */
typedef enum { op__step, op__run, op__normalise } op__work;

/* A tensor: whether its type is bool, and its shape, with 0 for the batch. */
typedef struct {
    int is_bool;
    int64_t rank;
    int64_t shape[op__rank];
} op__tensor;

/* The inputs and states, and the outputs and next states. */
static const op__tensor op__takes[op__taken] = {
@TAKES@
};
static const op__tensor op__gives[op__given] = {
@GIVES@
};

static const char op__failed[] = "libtorch could not read or create a tensor";

/* Create a tensor whose elements lie in the order of its axes. */
static int32_t op__create(int64_t rank, const int64_t *sizes, int32_t dtype, void **tensor)
{
    int64_t strides[op__rank + 1];
    int64_t stride = 1;
    for (int64_t axis = rank - 1; axis >= 0; axis--) {
        strides[axis] = stride;
        stride *= sizes[axis];
    }
    return aoti_torch_empty_strided(rank, sizes, strides, dtype, aoti_torch_device_type_cpu(), 0, tensor);
}

/* Check an input or a state, and give the address of its elements. The first that has a batch sets `rows`, and the first
   that has a time axis sets `steps`. A tensor that is not contiguous is replaced by a copy. */
static const char *op__open(
    void **tensor, const op__tensor *expected, int timed, int64_t *rows, int64_t *steps, void **data
)
{
    int32_t dtype = 0;
    int64_t rank = 0;
    int64_t *sizes = NULL;
    _Bool contiguous = 0;
    int same;
    if (aoti_torch_get_dtype(*tensor, &dtype) || aoti_torch_get_dim(*tensor, &rank)
        || aoti_torch_get_sizes(*tensor, &sizes) || aoti_torch_is_contiguous(*tensor, &contiguous)) {
        return op__failed;
    }
    if (dtype != (expected->is_bool ? aoti_torch_dtype_bool() : aoti_torch_dtype_float32())) {
        return "the type of an input or a state is not that of the contract";
    }
    same = rank == expected->rank + timed;
    if (same && timed) {
        if (*steps < 0) {
            *steps = sizes[0];
        }
        same = sizes[0] == *steps;
    }
    for (int64_t axis = 0; same && axis < expected->rank; axis++) {
        int64_t size = sizes[axis + timed];
        if (expected->shape[axis] == 0 && *rows < 0) {
            *rows = size;
        }
        same = size == (expected->shape[axis] == 0 ? *rows : expected->shape[axis]);
    }
    if (!same) {
        return "the shape of an input or a state is not that of the contract";
    }
    if (!contiguous) {
        void *copy = NULL;
        if (op__create(rank, sizes, dtype, &copy)) {
            return op__failed;
        }
        if (aoti_torch_copy_(copy, *tensor, 0)) {
            aoti_torch_delete_tensor_object(copy);
            return op__failed;
        }
        aoti_torch_delete_tensor_object(*tensor);
        *tensor = copy;
    }
    return aoti_torch_get_data_ptr(*tensor, data) ? op__failed : NULL;
}

/* Run `rows` structs from the addresses of inputs and states to those of outputs and next states. */
static const char *op__compute(op__work work, int64_t rows, int64_t steps, void **given, void **results)
{
    const char *error = NULL;
    @P@_state *states;
    void *memory = malloc((size_t)rows * sizeof(@P@_state) + 64);
    if (memory == NULL) {
        return "there is no memory for the state";
    }
    states = (@P@_state *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
@COMPUTE@
    free(memory);
    return error;
}

/* Take tensors from the stack and create those of the results. */
static const char *op__call(op__work work, void **tensors, void **created)
{
    const char *error = NULL;
    void *given[op__taken] = {NULL};
    void *results[op__given] = {NULL};
    int64_t rows = -1, steps = -1;
    for (int i = work == op__normalise ? op__inputs : 0; i < op__taken; i++) {
        error = op__open(&tensors[i], &op__takes[i], work == op__run && i < op__inputs, &rows, &steps, &given[i]);
        if (error != NULL) {
            return error;
        }
    }
    rows = rows < 0 ? 1 : rows;
    steps = steps < 0 ? 1 : steps;
    if (rows < 1 || rows > INT32_MAX) {
        return "the batch must have at least one row, and fewer than 2^31";
    }
    if (steps < 1 || steps > INT32_MAX) {
        return "the inputs must have at least one step, and fewer than 2^31";
    }
    for (int i = work == op__normalise ? op__outputs : 0; i < op__given; i++) {
        int timed = work == op__run && i < op__outputs;
        int64_t sizes[op__rank + 1] = {steps};
        for (int64_t axis = 0; axis < op__gives[i].rank; axis++) {
            sizes[axis + timed] = op__gives[i].shape[axis] == 0 ? rows : op__gives[i].shape[axis];
        }
        int32_t dtype = op__gives[i].is_bool ? aoti_torch_dtype_bool() : aoti_torch_dtype_float32();
        if (op__create(op__gives[i].rank + timed, sizes, dtype, &created[i])
            || aoti_torch_get_data_ptr(created[i], &results[i])) {
            return op__failed;
        }
    }
    return op__compute(work, rows, steps, given, results);
}

/* An operator: the stack has its arguments, and gets its results. It owns the arguments. */
static void op__boxed(op__work work, uint64_t *stack)
{
    void *tensors[op__taken] = {NULL};
    void *created[op__given] = {NULL};
    int taken = work == op__normalise ? op__inputs : 0;
    int given = work == op__normalise ? op__outputs : 0;
    const char *error;
    for (int i = taken; i < op__taken; i++) {
        tensors[i] = (void *)(uintptr_t)stack[i - taken];
    }
    error = op__call(work, tensors, created);
    for (int i = taken; i < op__taken; i++) {
        aoti_torch_delete_tensor_object(tensors[i]);
    }
    for (int i = given; i < op__given; i++) {
        if (error != NULL && created[i] != NULL) {
            aoti_torch_delete_tensor_object(created[i]);
        }
        stack[i - given] = (uint64_t)(uintptr_t)created[i];
    }
    if (error != NULL) {
        aoti_torch_check(0, "@P@", "model.custom.c", 0, error); /* it throws an exception of C++ */
    }
}

@BOXED@

/* The libraries that torch has registered. */
static void *op__definitions;
static void *op__kernels;

static void op__release(void)
{
    aoti_torch_delete_library_object(op__kernels);
    aoti_torch_delete_library_object(op__definitions);
}

/* Register the operators. A process can load this library only once; the operators of other models have other names. */
__attribute__((constructor)) static void op__register(void)
{
    if (aoti_torch_library_init_fragment("@NAMESPACE@", "model.custom.c", 0, &op__definitions)) {
        return;
    }
    if (aoti_torch_library_init_impl("@NAMESPACE@", "CPU", "model.custom.c", 0, &op__kernels)) {
        aoti_torch_delete_library_object(op__definitions);
        return;
    }
    atexit(op__release); /* before torch's own list of operators goes */
@REGISTER@
}
"""

BOXED = """
static void op__boxed_{work}(uint64_t *stack, uint64_t taken, uint64_t given)
{{
    (void)taken;
    (void)given;
    op__boxed(op__{work}, stack);
}}
"""

REGISTER = """
    if (aoti_torch_library_def(op__definitions, "{schema}") == 0) {{
        aoti_torch_library_impl(op__kernels, "{name}", op__boxed_{work});
    }}
"""

WRONG_SPIKES = 'error = "a state that holds spikes has an element that is neither 0 nor 1";'


def operator_schemas(compiled: CSource, contract: Contract) -> dict[str, str]:
    """The schemas of the operators ``step``, ``run`` and, for weights that are normalised, ``normalise``.

    A name has the hash of the compiled source: a process can load the libraries of several models, and a library of
    another source has no operator that a module calls.
    """
    inputs = [f"input_{name}" for name in compiled.inputs]
    states = [f"state_{name}" for name in compiled.states]
    suffix = source_hash(compiled)[:16]
    found = {
        work: _schema(f"{compiled.prefix}_{work}_{suffix}", [*inputs, *states], len(contract.outputs) + len(states))
        for work in ("step", "run")
    }
    if compiled.normalises:
        found["normalise"] = _schema(f"{compiled.prefix}_normalise_{suffix}", states, len(states))
    return found


def operator_name(schema: str) -> str:
    """The name of an operator, without its namespace."""
    return schema.partition("(")[0]


def _schema(name: str, taken: Iterable[str], given: int) -> str:
    results = "Tensor" if given == 1 else f"({', '.join(['Tensor'] * given)})"
    return f"{name}({', '.join(f'Tensor {argument}' for argument in taken)}) -> {results}"


def operator_source(compiled: CSource, contract: Contract, *, header_name: str, weights_name: str) -> str:
    """The source of the library, in one file.

    Args:
        compiled: the compiled step.
        contract: its contract. The operators take inputs and states and give outputs and the next states, in its order.
        header_name: the name of the header that the source includes; its text replaces that line.
        weights_name: the file of the weights, which the compiler must find.
    """
    schemas = operator_schemas(compiled, contract)
    register = (REGISTER.format(schema=schema, name=operator_name(schema), work=work) for work, schema in schemas.items())
    names = {
        "NAMESPACE": NAMESPACE,
        "INPUTS": str(len(contract.inputs)),
        "TAKEN": str(len(contract.inputs) + len(contract.states)),
        "OUTPUTS": str(len(contract.outputs)),
        "GIVEN": str(len(contract.outputs) + len(contract.states)),
        **tensor_tables(contract, lambda spec: str(int(spec.dtype == "bool"))),
        "COMPUTE": "\n".join(f"    {line}" for line in _compute(compiled, contract)),
        "BOXED": "\n".join(BOXED.format(work=work).rstrip() for work in schemas).lstrip(),
        "REGISTER": "\n".join(text.strip("\n") for text in register),
    }
    return single_file(compiled, GLUE, names, header_name=header_name, weights_name=weights_name)


def _compute(compiled: CSource, contract: Contract) -> list[str]:
    run = run_lines(compiled, contract, steps="(int32_t)steps", on_wrong_spikes=WRONG_SPIKES)
    declared = [f"{compiled.prefix}_inputs inputs;", f"{compiled.prefix}_outputs outputs;"]
    if not compiled.normalises:
        return ["(void)work;", "{", *(f"    {line}" for line in [*declared, *run]), "}"]
    scale = f"{compiled.prefix}_normalise(states, (int32_t)rows);"
    normalise = [*set_weights_lines(compiled), *between_states(compiled, contract, scale, WRONG_SPIKES)]
    return [
        "if (work == op__normalise) {",
        *(f"    {line}" for line in normalise),
        "} else {",
        *(f"    {line}" for line in [*declared, *run]),
        "}",
    ]
