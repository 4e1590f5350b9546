"""All runtimes on CUDA, where there is a GPU. The golden traces are those of the bundles in export/."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.errors import Unavailable
from deploy_snn.neurons import NEURONS
from deploy_snn.parity import Plan, compare_runtimes
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes import Runtime, unavailable_reason
from deploy_snn.tensors import Array

EXPORT = Path(__file__).parent.parent.parent / "export"
BUNDLES = sorted(path.parent.name for path in EXPORT.glob("*/manifest.json"))
CUDA = [name for name, entry in RUNTIMES.entries.items() if entry.cuda]

pytestmark = pytest.mark.cuda


def needs(runtime: str) -> pytest.MarkDecorator:
    reason = unavailable_reason(runtime)
    return pytest.mark.skipif(reason is not None, reason=f"{runtime}: {reason}")


def cuda_runtimes(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("runtime", [pytest.param(name, marks=needs(name)) for name in names])


def opened(runtime: str, bundle: Bundle) -> Runtime:
    """The runtime; a convolution is skipped where there is no cuDNN."""
    try:
        found: Runtime = RUNTIMES[runtime](bundle)
    except Unavailable as error:
        if "Conv needs cuDNN" not in str(error):
            raise
        pytest.skip(str(error))
    return found


@cuda_runtimes(*CUDA)
@pytest.mark.parametrize("name", BUNDLES)
def test_golden_traces(name: str, runtime: str) -> None:
    """Spikes and states of every step, and of a run in two calls. They are equal to the bit if nothing rounds."""
    bundle = Bundle.open(EXPORT / name)
    golden, contract = bundle.golden(), bundle.contract
    program = opened(runtime, bundle)

    def agree(actual: Array, expected: Array, what: str) -> None:
        if expected.dtype == np.bool_ or not contract.rounding:
            assert_array_equal(actual, expected, what, strict=True)
        else:
            assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=what, strict=True)

    program.start(golden.start)
    for step in range(golden.steps):
        outputs, state = program.step(at(golden.inputs, step)), program.state()
        for spec in contract.outputs:
            agree(outputs[spec.name], golden.outputs[spec.name][step], f"{spec.name} at step {step}")
        for spec in contract.states:
            agree(state[spec.name], golden.states[spec.name][step], f"next.{spec.name} at step {step}")
    program.start(golden.start)
    cut = golden.steps // 3
    parts = [
        program.run({name: array[part] for name, array in golden.inputs.items()}) for part in (slice(cut), slice(cut, None))
    ]
    for spec in contract.outputs:
        agree(np.concatenate([part[spec.name] for part in parts]), golden.outputs[spec.name], spec.name)
    for spec in contract.states:
        agree(program.state()[spec.name], golden.states[spec.name][-1], f"the last {spec.name}")


@cuda_runtimes("onnxruntime-cuda")
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("stimulus", ["poisson", "threshold"])
def test_parity_on_cuda(neuron: str, stimulus: str, runtime: str, exported: Callable[..., Bundle]) -> None:
    report = compare_runtimes(exported(neuron, n=64), Plan(runtimes=[runtime], stimulus=stimulus, steps=200, batch=4))
    assert report.spikes
    assert report.equal, [run.divergence for run in report.runs]


@cuda_runtimes("onnxruntime-cuda", "onnxruntime-cuda-graph")
def test_the_state_stays_on_the_device(runtime: str, exported: Callable[..., Bundle]) -> None:
    bundle = exported("lif", n=64)
    program = RUNTIMES[runtime](bundle)
    program.start(bundle.initial_state(2))
    assert {value.device_name() for states in program._states for value in states.values()} == {"cuda"}
    options = program._session.get_provider_options()["CUDAExecutionProvider"]
    assert options["use_tf32"] == "0"
    assert options["enable_cuda_graph"] == ("1" if runtime.endswith("graph") else "0")


@cuda_runtimes("onnxruntime-cuda-graph")
def test_another_batch_and_another_start_are_captured_anew(runtime: str) -> None:
    """A replayed graph writes to the addresses of its capture: those of the first batch, if it were kept."""
    bundle = Bundle.open(EXPORT / "current-lif")
    golden = bundle.golden()
    program = RUNTIMES[runtime](bundle)
    for rows in (slice(2), slice(1), slice(1, 2), slice(2)):
        program.start({name: array[rows] for name, array in golden.start.items()})
        for step in range(9):  # an odd number: the next start meets the second of the two bindings
            outputs = program.step({name: array[rows] for name, array in at(golden.inputs, step).items()})
            assert_array_equal(outputs["s"], golden.outputs["s"][step, rows])
        for name, array in program.state().items():
            assert_array_equal(array, golden.states[name][8, rows])


@cuda_runtimes("onnxruntime-cuda-graph")
def test_a_graph_with_a_scan_cannot_be_captured(runtime: str) -> None:
    program = RUNTIMES[runtime](Bundle.open(EXPORT / "lif"))
    with pytest.raises(Unavailable, match=r"sequence\.onnx on CUDA: .*control flow"):
        program._open("sequence.onnx")


@cuda_runtimes("onnxruntime-cuda")
def test_the_cause_is_raised(runtime: str) -> None:
    wrong = type("Wrong", (RUNTIMES[runtime],), {"providers": [("CUDAExecutionProvider", {"device_id": "99"})]})
    with pytest.raises(Unavailable, match=r"step\.onnx on CUDA: .*device_id.*99"):
        wrong(Bundle.open(EXPORT / "lif"))


@cuda_runtimes("onnxruntime-cuda", "onnxruntime-cuda-graph")
def test_nothing_is_printed(runtime: str, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle.open(EXPORT / "lif")
    program = RUNTIMES[runtime](bundle)
    program.start(bundle.initial_state(1))
    program.run({name: array[:, :1] for name, array in bundle.golden().inputs.items()})
    assert capfd.readouterr() == ("", "")
