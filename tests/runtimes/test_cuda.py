"""ONNX Runtime on CUDA, where there is a GPU."""

from collections.abc import Callable

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.neurons import NEURONS
from deploy_snn.parity import Plan, compare_runtimes
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes import unavailable_reason

REASON = unavailable_reason("onnxruntime-cuda")
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("stimulus", ["poisson", "threshold"])
def test_parity_on_cuda(neuron: str, stimulus: str, exported: Callable[..., Bundle]) -> None:
    report = compare_runtimes(
        exported(neuron, n=64), Plan(runtimes=["onnxruntime-cuda"], stimulus=stimulus, steps=200, batch=4)
    )
    assert report.spikes
    assert report.equal, [run.divergence for run in report.runs]


def test_the_state_stays_on_the_device(exported: Callable[..., Bundle]) -> None:
    bundle = exported("lif", n=64)
    runtime = RUNTIMES["onnxruntime-cuda"](bundle)
    runtime.start(bundle.initial_state(2))
    assert {value.device_name() for states in runtime._states for value in states.values()} == {"cuda"}
    assert runtime._session.get_provider_options()["CUDAExecutionProvider"]["use_tf32"] == "0"
