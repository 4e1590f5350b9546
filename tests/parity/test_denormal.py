"""The stimulus "denormal" reaches denormal states. Flushing them is counted, and is a fault only where it makes a spike."""

from collections.abc import Callable

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.parity import (
    Lockstep,
    Plan,
    Request,
    RunReport,
    Tolerance,
    compare_runtimes,
    make_stimulus,
    record_reference,
)
from deploy_snn.reference import reference_program
from deploy_snn.runtimes.onnxruntime import OnnxRuntimeCpu
from deploy_snn.tensors import Arrays

TINY = np.finfo(np.float32).tiny


class Flushing(OnnxRuntimeCpu):
    """ONNX Runtime on a machine that sets denormal numbers to 0."""

    def start(self, state: Arrays) -> None:
        super().start({name: flush(array) for name, array in state.items()})

    def state(self) -> Arrays:
        return {name: flush(array) for name, array in super().state().items()}


def flush(array: np.ndarray) -> np.ndarray:
    return np.where(np.abs(array) < TINY, np.float32(0), array) if array.dtype == np.float32 else array


def compared(bundle: Bundle, runtime: OnnxRuntimeCpu) -> RunReport:
    program = reference_program(bundle)
    recording = record_reference(program, make_stimulus("denormal", Request(program, 40, 3, 0)))
    states = np.concatenate([recording.states[name].ravel() for name in ("i", "trace")])
    assert ((states != 0) & (np.abs(states) < TINY)).sum() > 50
    return Lockstep(recording, program, Tolerance(atol=0, rtol=0)).run("candidate", runtime, "free")


def test_flushed_states_are_counted_and_equal(exported: Callable[..., Bundle]) -> None:
    bundle = exported("current-lif", n=6, traces=True)
    exact, flushing = (compared(bundle, kind(bundle)) for kind in (OnnxRuntimeCpu, Flushing))
    assert exact.equal
    assert not exact.notes
    assert flushing.equal
    counted = {tensor.tensor: tensor.flushed for tensor in flushing.tensors}
    assert counted["next.i"] > 20
    assert counted["next.trace"] > 20
    assert f"next.i: {counted['next.i']} denormal numbers were flushed to 0" in flushing.notes


def test_all_runtimes_are_equal(exported: Callable[..., Bundle]) -> None:
    bundle = exported("current-lif", n=6, traces=True)
    report = compare_runtimes(bundle, Plan(stimulus="denormal", steps=40))
    assert report.equal
    assert report.stimuli[0].remarks["denormal"] > 50


def test_a_flushed_number_that_makes_a_spike_is_a_fault(exported: Callable[..., Bundle]) -> None:
    """A threshold of a denormal number: a drive of half of it fires only where both are flushed to 0."""
    bundle = exported("mcculloch-pitts", n=4, thresh=1e-39)
    program = reference_program(bundle)
    inputs = np.full((3, 1, 4), 5e-40, np.float32)

    class FlushingInputs(OnnxRuntimeCpu):
        def step(self, inputs: Arrays) -> Arrays:
            return {"s": flush(inputs["x"]) >= flush(np.float32(1e-39))}

    from deploy_snn.parity import Stimulus

    recording = record_reference(program, Stimulus("denormal", {"x": inputs}, {}))
    assert not recording.outputs["s"].any()
    lockstep = Lockstep(recording, program, Tolerance())
    assert lockstep.run("exact", OnnxRuntimeCpu(bundle), "free").equal
    assert not lockstep.run("flushing", FlushingInputs(bundle), "free").equal


def test_model_without_decaying_states(exported: Callable[..., Bundle]) -> None:
    program = reference_program(exported("if", n=6))
    with pytest.raises(InvalidInput, match="no state decays to 0; use another stimulus"):
        make_stimulus("denormal", Request(program, 10, 1, 0))
