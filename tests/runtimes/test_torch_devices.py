"""The torch runtimes on another device than that of the export.

Torch's device "meta" stands for it: it computes shapes and no values, and refuses to mix its tensors with those of the
CPU. So a constant or an assertion that stays on the CPU is an error here, as it would be on a GPU, which these tests do
not need.
"""

from pathlib import Path

import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.eager import to_torch
from deploy_snn.network import Network
from deploy_snn.neurons.nodes import Nodes
from deploy_snn.registry import RUNTIMES
from deploy_snn.runtimes.eager import Eager
from deploy_snn.runtimes.pt2 import ExportedProgram
from deploy_snn.runtimes.tf32 import without_tf32
from deploy_snn.runtimes.torch_runtime import TorchRuntime
from deploy_snn.runtimes.torchscript import TorchScript

EXPORT = Path(__file__).parent.parent.parent / "export"
BUNDLES = ("srm0", "csrm", "izhikevich", "diehl_cook_2015", "conv_lif")
RUNTIME_CLASSES = (Eager, TorchScript, ExportedProgram)


def on_meta(runtime: type[TorchRuntime], name: str) -> TorchRuntime:
    return type("OnMeta", (runtime,), {"device": "meta"})(Bundle.open(EXPORT / name))


def zeros(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(shape, device="meta")


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("runtime", RUNTIME_CLASSES)
def test_nothing_stays_on_the_device_of_the_export(
    runtime: type[TorchRuntime], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = on_meta(runtime, name)
    contract, start = opened.contract, opened.bundle.initial_state(2)
    for checking in (Nodes, Network):  # eager torch's checks read parameters, and meta has no values
        monkeypatch.setattr(checking, "_check", lambda *_: None)
    state = {name: tensor.to("meta") for name, tensor in to_torch(start).items()}
    step = {spec.name: zeros(spec.shape(batch=2)) for spec in contract.inputs}
    sequence = {spec.name: zeros((3, *spec.shape(batch=2))) for spec in contract.inputs}
    for function, inputs, time in ((opened.step_function, step, ()), (opened.run_function, sequence, (3,))):
        with torch.inference_mode():
            outputs, after = function(inputs, state)
        for spec in contract.outputs:
            assert outputs[spec.name].device.type == "meta"
            assert outputs[spec.name].shape == (*time, *spec.shape(batch=2))
        for spec in contract.states:
            assert after[spec.name].device.type == "meta"
            assert after[spec.name].shape == spec.shape(batch=2)


def test_no_code_of_a_moved_program_names_the_cpu() -> None:
    opened = on_meta(ExportedProgram, "diehl_cook_2015")
    for function in (opened.step_function, opened.run_function):
        code = [str(module.code) for module in function.modules() if isinstance(module, torch.fx.GraphModule)]
        assert any("meta" in text for text in code), "the test needs a program that names a device"
        assert not any("'cpu'" in text for text in code)


def test_tf32_is_off_during_a_call_and_the_callers_settings_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before, products.fp32_precision = products.fp32_precision, "tf32"
    assert convolutions.fp32_precision == "tf32", "torch's default"
    opened, seen = on_meta(Eager, "lif"), []

    def step(_: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> tuple[dict, dict]:
        seen.append((products.fp32_precision, convolutions.fp32_precision))
        return {}, state

    monkeypatch.setattr(opened, "step_function", step)
    opened.start(opened.bundle.initial_state(1))
    try:
        opened.step({})
        with pytest.raises(KeyError), without_tf32():
            raise KeyError
        assert seen == [("ieee", "ieee")]
        assert (products.fp32_precision, convolutions.fp32_precision) == ("tf32", "tf32")
    finally:
        products.fp32_precision = before


def test_the_cuda_runtimes_are_these_classes_on_cuda() -> None:
    for runtime, base in zip(("eager-cuda", "torchscript-cuda", "pt2-cuda"), RUNTIME_CLASSES, strict=True):
        assert issubclass(RUNTIMES[runtime], base)
        assert (RUNTIMES[runtime].device, base.device) == ("cuda", "cpu")
