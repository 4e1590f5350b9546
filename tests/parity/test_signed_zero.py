"""The stimulus "signed-zero" holds -0.0. A sign that a runtime loses is counted, and a fault only if it makes a spike."""

from collections.abc import Callable

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
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


class Unsigned(OnnxRuntimeCpu):
    """ONNX Runtime where every state is ``x + 0``, which has no -0.0."""

    def state(self) -> Arrays:
        return {name: array + np.float32(0) for name, array in super().state().items()}


class BitComparison(OnnxRuntimeCpu):
    """A threshold of 0 that is compared as whole numbers of the same bits, as MNN's Less does it."""

    def step(self, inputs: Arrays) -> Arrays:
        return {"s": inputs["x"].view(np.int32) >= 0}


def compared(bundle: Bundle, runtime: OnnxRuntimeCpu, stimulus: str) -> RunReport:
    program = reference_program(bundle)
    recording = record_reference(program, make_stimulus(stimulus, Request(program, 40, 3, 0)))
    return Lockstep(recording, program, Tolerance(atol=0, rtol=0)).run("candidate", runtime, "locked")


@pytest.mark.parametrize("name", ["current-lif", "lif"])
def test_inputs_and_states_hold_both_zeros(name: str, exported: Callable[..., Bundle]) -> None:
    """Apart from the signs, the drives are those of "poisson"."""
    program = reference_program(exported(name, n=6))
    request = Request(program, 40, 3, 0)
    stimulus, poisson = (make_stimulus(kind, request) for kind in ("signed-zero", "poisson"))
    np.testing.assert_array_equal(stimulus.inputs["x"], poisson.inputs["x"])
    assert not np.signbit(poisson.inputs["x"][poisson.inputs["x"] == 0]).any()
    arrays = [*stimulus.inputs.values(), *(array for state in stimulus.restarts.values() for array in state.values())]
    signs = np.concatenate([np.signbit(array[array == 0]) for array in arrays])
    assert 0.4 < signs.mean() < 0.6
    assert stimulus.remarks == {"-0.0": signs.sum()}
    states = [state["refrac_count"] for state in stimulus.restarts.values()]
    assert any(np.signbit(state).any() for state in states)


def test_lost_signs_are_counted_and_equal(exported: Callable[..., Bundle]) -> None:
    bundle = exported("current-lif", n=6, traces=True)
    lost = compared(bundle, Unsigned(bundle), "signed-zero")
    assert lost.equal
    counted = {tensor.tensor: tensor.signed_zeros for tensor in lost.tensors}
    assert counted["next.i"] > 5
    assert f"next.i: {counted['next.i']} zeros have the other sign" in lost.notes
    assert not compared(bundle, Unsigned(bundle), "poisson").notes


def test_a_sign_that_makes_a_spike_is_a_fault(exported: Callable[..., Bundle]) -> None:
    """A neuron with the threshold 0 fires for -0.0. A comparison of bits is right for all other numbers."""
    bundle = exported("mcculloch-pitts", n=6, thresh=0)
    assert compared(bundle, OnnxRuntimeCpu(bundle), "signed-zero").equal
    assert compared(bundle, BitComparison(bundle), "poisson").equal
    report = compared(bundle, BitComparison(bundle), "signed-zero")
    assert not report.equal
    assert report.divergence is not None
    assert (report.divergence.tensor, report.divergence.expected) == ("s", True)
    assert str(report.divergence.inputs["x"]) == "-0.0"


@pytest.mark.parametrize("name", ["current-lif", "srm0", "izhikevich", "mcculloch-pitts"])
def test_all_runtimes_fire_the_same_spikes(name: str, exported: Callable[..., Bundle]) -> None:
    report = compare_runtimes(exported(name, n=6), Plan(stimulus="signed-zero", steps=40))
    assert report.equal
    assert report.stimuli[0].remarks["-0.0"] > 50
