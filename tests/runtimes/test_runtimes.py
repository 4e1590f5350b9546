"""All runtimes step, run and keep their state in the same way."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.formats import PORTABLE
from deploy_snn.neurons import NEURONS
from deploy_snn.registry import FORMATS, RUNTIMES
from deploy_snn.runtimes import Runtime, find_runtime, unavailable_reason
from deploy_snn.runtimes.eager import Eager
from deploy_snn.runtimes.find import default_runtimes
from deploy_snn.tensors import Arrays

WRITTEN = {file for name in PORTABLE for file in FORMATS[name].files}
HERE = [
    name
    for name in ("eager", *default_runtimes())
    if not unavailable_reason(name) and WRITTEN.issuperset(RUNTIMES[name].files)
]
"""The usable runtimes of the files that are written by default: of the others, aoti has test_aoti."""

Exported = Callable[..., Bundle]


def draw(bundle: Bundle, steps: int, batch: int) -> Arrays:
    rng = np.random.default_rng(steps * batch)
    return {
        spec.name: rng.random((steps, *spec.shape(batch=batch)), np.float32) * (1 if spec.role == "noise" else 25)
        for spec in bundle.contract.inputs
    }


def agree(runtime: Runtime, expected: Arrays) -> None:
    state = runtime.state()
    assert state.keys() == expected.keys()
    for name in expected:
        assert_array_equal(state[name], expected[name])


@pytest.mark.parametrize("runtime", HERE)
@pytest.mark.parametrize("neuron", NEURONS)
def test_steps_and_runs(runtime: str, neuron: str, exported: Exported) -> None:
    """Steps, then a run, then steps again, at one batch and then at another, are what eager torch does."""
    bundle = exported(neuron, n=6)
    program, opened = Eager(bundle).program, find_runtime(runtime)(bundle)
    for batch in (1, 3):
        inputs, start = draw(bundle, 30, batch), bundle.initial_state(batch)
        trace = record(program, inputs, start)
        opened.start(start)
        kept = [opened.step(at(inputs, step))["s"] for step in range(10)]
        agree(opened, at(trace.states, 9))
        kept += list(opened.run({name: array[10:20] for name, array in inputs.items()})["s"])
        agree(opened, at(trace.states, 19))
        kept += [opened.step(at(inputs, step))["s"] for step in range(20, 30)]
        state = opened.state()
        opened.start(start)
        opened.step(at(inputs, 0))
        # What a runtime gave is the caller's: later steps have not written into it.
        assert_array_equal(np.stack(kept), trace.outputs["s"])
        for name, value in state.items():
            assert_array_equal(value, trace.states[name][-1])


@pytest.mark.parametrize("runtime", HERE)
def test_start_does_not_change_the_state(runtime: str, exported: Exported) -> None:
    """The arrays that a runtime starts from stay as they are."""
    bundle = exported("current-lif", n=6)
    inputs, start = draw(bundle, 5, 2), bundle.initial_state(2)
    before = {name: array.copy() for name, array in start.items()}
    opened = find_runtime(runtime)(bundle)
    opened.start(start)
    opened.run(inputs)
    opened.step(at(inputs, 0))
    for name, array in before.items():
        assert_array_equal(start[name], array)


def test_inputs_and_state_with_different_batches(exported: Exported) -> None:
    bundle = exported("lif", n=6)
    opened = find_runtime("onnxruntime-cpu")(bundle)
    opened.start(bundle.initial_state(2))
    with pytest.raises(InvalidInput, match="batch 3, but the state has batch 2"):
        opened.step(at(draw(bundle, 1, 3), 0))
    with pytest.raises(InvalidInput, match="batch 3, but the state has batch 2"):
        opened.run(draw(bundle, 2, 3))


def test_wrong_dtype_is_an_error(exported: Exported) -> None:
    """ONNX Runtime copies a float64 array of the right length into a float32 input without a word."""
    bundle = exported("lif", n=6)
    opened = find_runtime("onnxruntime-cpu")(bundle)
    start = bundle.initial_state(2)
    with pytest.raises(InvalidInput, match="state 'v' is float64"):
        opened.start(start | {"v": start["v"].astype(np.float64)})
    opened.start(start)
    wide = {"x": np.ones((4, 2, 6), np.float64)}
    with pytest.raises(InvalidInput, match="input 'x' is float64"):
        opened.step(at(wide, 0))
    with pytest.raises(InvalidInput, match="input 'x' is float64"):
        opened.run(wide)


def test_large_inputs_are_not_copied(exported: Exported) -> None:
    """Over 32 kB an input is not copied; what is no contiguous array is."""
    bundle = exported("lif", n=6)
    inputs, start = draw(bundle, 6, 2000), bundle.initial_state(2000)
    trace = record(Eager(bundle).program, inputs, start)
    opened = find_runtime("onnxruntime-cpu")(bundle)
    opened.start(start)
    for step in range(6):
        x = inputs["x"][step] if step % 2 else np.asfortranarray(inputs["x"][step])
        assert_array_equal(opened.step({"x": x})["s"], trace.outputs["s"][step])


def test_names() -> None:
    with pytest.raises(InvalidInput, match="unknown runtime 'tensorrt'; choose from eager, torchscript"):
        find_runtime("tensorrt")


def test_missing_provider_is_unavailable(monkeypatch: pytest.MonkeyPatch, exported: Exported, command: Callable) -> None:
    monkeypatch.setattr("deploy_snn.runtimes.find.missing_cuda_library", lambda: "libcuda.so.1: no such file")
    with pytest.raises(Unavailable, match=r"libcuda\.so\.1"):
        find_runtime("onnxruntime-cuda")
    status, _, message = command("parity", exported("lif", n=6).path, "--runtime", "onnxruntime-cuda")
    assert (status, message) == (3, "deploy-snn: onnxruntime-cuda cannot run here: libcuda.so.1: no such file\n")
    status, shown, _ = command("parity", exported("lif", n=6).path, "--steps", 5)
    assert status == 0
    assert "not compared: onnxruntime-cuda, onnxruntime-cuda-graph: libcuda.so.1: no such file" in shown
