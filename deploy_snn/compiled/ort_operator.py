"""The compiled step as an operator of ONNX Runtime: the source of a library with ``RegisterCustomOps``."""

from deploy_snn.compiled.single_file import run_lines, single_file, source_hash, tensor_tables
from deploy_snn.compiled.source import CSource
from deploy_snn.contract import Contract, TensorSpec

OPERATOR = "Step"
SOURCE_ATTRIBUTE = "source"
"""The attribute of a node with the hash of the compiled source. A library of another source refuses the node."""

WRONG_SPIKES = 'status = op__error(api, "a state that holds spikes has an element that is neither 0 nor 1");'

GLUE = r"""
/* The operator. Names with two underscores are not those of a model. */
#include <onnxruntime_c_api.h>
#include <stdlib.h>

enum { op__inputs = @INPUTS@, op__outputs = @OUTPUTS@, op__rank = @RANK@ };

/* A tensor: its type and its shape, with 0 for the batch. */
typedef struct {
    ONNXTensorElementDataType type;
    size_t rank;
    int64_t shape[op__rank];
} op__tensor;

static const op__tensor op__takes[op__inputs] = {
@TAKES@
};
static const op__tensor op__gives[op__outputs] = {
@GIVES@
};

static OrtStatusPtr op__error(const OrtApi *api, const char *message)
{
    return api->CreateStatus(ORT_INVALID_ARGUMENT, message);
}

/* Check the shape of an input. The first that has a batch sets `rows`. */
static OrtStatusPtr op__check(const OrtApi *api, const OrtValue *value, const op__tensor *expected, int64_t *rows)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    int64_t shape[op__rank];
    size_t rank = 0;
    int same;
    OrtStatusPtr status = api->GetTensorTypeAndShape(value, &info);
    if (status != NULL) {
        return status;
    }
    status = api->GetDimensionsCount(info, &rank);
    same = rank == expected->rank;
    if (status == NULL && same) {
        status = api->GetDimensions(info, shape, rank);
    }
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (status != NULL) {
        return status;
    }
    for (size_t axis = 0; same && axis < rank; axis++) {
        if (expected->shape[axis] == 0 && *rows < 0) {
            *rows = shape[axis];
        }
        same = shape[axis] == (expected->shape[axis] == 0 ? *rows : expected->shape[axis]);
    }
    return same ? NULL : op__error(api, "the shape of an input or a state is not that of the contract");
}

static OrtStatusPtr ORT_API_CALL op__compute(void *kernel, OrtKernelContext *context)
{
    const OrtApi *api = (const OrtApi *)kernel;
    const OrtValue *value = NULL;
    OrtValue *result = NULL;
    OrtStatusPtr status = NULL;
    int64_t rows = -1;
    void *given[op__inputs];
    void *results[op__outputs];
    void *memory;
    @P@_state *states;
    @P@_inputs inputs;
    @P@_outputs outputs;
    for (size_t i = 0; i < op__inputs; i++) {
        status = api->KernelContext_GetInput(context, i, &value);
        if (status == NULL) {
            status = op__check(api, value, &op__takes[i], &rows);
        }
        if (status == NULL) {
            /* The API has no other way to read an input; nothing is written there. */
            status = api->GetTensorMutableData((OrtValue *)(uintptr_t)value, &given[i]);
        }
        if (status != NULL) {
            return status;
        }
    }
    if (rows < 1 || rows > INT32_MAX) {
        return op__error(api, "the batch must have at least one row, and fewer than 2^31");
    }
    for (size_t i = 0; i < op__outputs; i++) {
        int64_t shape[op__rank];
        for (size_t axis = 0; axis < op__gives[i].rank; axis++) {
            shape[axis] = op__gives[i].shape[axis] == 0 ? rows : op__gives[i].shape[axis];
        }
        status = api->KernelContext_GetOutput(context, i, shape, op__gives[i].rank, &result);
        if (status == NULL) {
            status = api->GetTensorMutableData(result, &results[i]);
        }
        if (status != NULL) {
            return status;
        }
    }
    memory = malloc((size_t)rows * sizeof(@P@_state) + 64);
    if (memory == NULL) {
        return api->CreateStatus(ORT_FAIL, "there is no memory for the state");
    }
    states = (@P@_state *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
@CALL@
    free(memory);
    return status;
}

/* A kernel is the API that it calls. */
static OrtStatusPtr ORT_API_CALL op__create(
    const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel
)
{
    static const char expected[] = "@SOURCE@";
    char source[sizeof expected] = "";
    size_t size = sizeof source;
    OrtStatusPtr status = api->KernelInfoGetAttribute_string(info, "source", source, &size);
    (void)op;
    if (status != NULL) {
        api->ReleaseStatus(status);
    }
    if (status != NULL || strcmp(source, expected) != 0) {
        return op__error(api, "the library was built from another model: build step.custom.c of this bundle");
    }
    *kernel = (void *)(uintptr_t)api;
    return NULL;
}

static void ORT_API_CALL op__destroy(void *kernel)
{
    (void)kernel;
}

static const char *ORT_API_CALL op__name(const OrtCustomOp *op)
{
    (void)op;
    return "Step";
}

static const char *ORT_API_CALL op__provider(const OrtCustomOp *op)
{
    (void)op;
    return "CPUExecutionProvider";
}

static size_t ORT_API_CALL op__input_count(const OrtCustomOp *op)
{
    (void)op;
    return op__inputs;
}

static size_t ORT_API_CALL op__output_count(const OrtCustomOp *op)
{
    (void)op;
    return op__outputs;
}

static ONNXTensorElementDataType ORT_API_CALL op__input_type(const OrtCustomOp *op, size_t index)
{
    (void)op;
    return op__takes[index].type;
}

static ONNXTensorElementDataType ORT_API_CALL op__output_type(const OrtCustomOp *op, size_t index)
{
    (void)op;
    return op__gives[index].type;
}

static OrtCustomOpInputOutputCharacteristic ORT_API_CALL op__required(const OrtCustomOp *op, size_t index)
{
    (void)op;
    (void)index;
    return INPUT_OUTPUT_REQUIRED;
}

static OrtMemType ORT_API_CALL op__memory(const OrtCustomOp *op, size_t index)
{
    (void)op;
    (void)index;
    return OrtMemTypeDefault;
}

static int ORT_API_CALL op__one(const OrtCustomOp *op)
{
    (void)op;
    return 1;
}

static const OrtCustomOp op__step = {
    .version = ORT_API_VERSION,
    .GetName = op__name,
    .GetExecutionProviderType = op__provider,
    .GetInputType = op__input_type,
    .GetInputTypeCount = op__input_count,
    .GetOutputType = op__output_type,
    .GetOutputTypeCount = op__output_count,
    .KernelDestroy = op__destroy,
    .GetInputCharacteristic = op__required,
    .GetOutputCharacteristic = op__required,
    .GetInputMemoryType = op__memory,
    .GetVariadicInputMinArity = op__one,
    .GetVariadicInputHomogeneity = op__one,
    .GetVariadicOutputMinArity = op__one,
    .GetVariadicOutputHomogeneity = op__one,
    .CreateKernelV2 = op__create,
    .KernelComputeV2 = op__compute,
    .GetStartVersion = op__one,
    .GetEndVersion = op__one,
};

/* Sessions refer to the domain. It lasts as long as the library is loaded. */
static const OrtApi *op__api;
static OrtCustomOpDomain *op__domain;

#if defined(__GNUC__)
__attribute__((destructor)) static void op__release(void)
{
    if (op__domain != NULL) {
        op__api->ReleaseCustomOpDomain(op__domain);
        op__domain = NULL;
    }
}
#endif

/* Register the operator Step of the domain @DOMAIN@. ONNX Runtime calls this for each session that loads the library. */
OrtStatus *ORT_API_CALL RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base)
{
    OrtStatus *status = NULL;
    op__api = base->GetApi(ORT_API_VERSION);
    if (op__api == NULL) {
        return base->GetApi(1)->CreateStatus(ORT_FAIL, "the library needs a newer ONNX Runtime");
    }
    if (op__domain == NULL) {
        status = op__api->CreateCustomOpDomain("@DOMAIN@", &op__domain);
        if (status == NULL) {
            status = op__api->CustomOpDomain_Add(op__domain, &op__step);
        }
    }
    return status == NULL ? op__api->AddCustomOpDomain(options, op__domain) : status;
}
"""


def operator_domain(compiled: CSource) -> str:
    """The domain of the operator: one for each model, so that a process can load the libraries of several."""
    return f"deploy_snn.{compiled.prefix}"


def operator_source(compiled: CSource, contract: Contract, *, header_name: str, weights_name: str) -> str:
    """The source of the library, in one file.

    Args:
        compiled: the compiled step.
        contract: its contract. The operator takes inputs and states and gives outputs and the next states, in its order.
        header_name: the name of the header that the source includes; its text replaces that line.
        weights_name: the file of the weights, which the compiler must find.
    """
    names = {
        "DOMAIN": operator_domain(compiled),
        "SOURCE": source_hash(compiled),
        "INPUTS": str(len(contract.inputs) + len(contract.states)),
        "OUTPUTS": str(len(contract.outputs) + len(contract.states)),
        **tensor_tables(contract, _element_type),
        "CALL": "\n".join(f"    {line}" for line in run_lines(compiled, contract, steps="1", on_wrong_spikes=WRONG_SPIKES)),
    }
    return single_file(compiled, GLUE, names, header_name=header_name, weights_name=weights_name)


def _element_type(spec: TensorSpec) -> str:
    return f"ONNX_TENSOR_ELEMENT_DATA_TYPE_{'BOOL' if spec.dtype == 'bool' else 'FLOAT'}"
