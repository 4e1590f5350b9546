"""NIR files of snnTorch and norse, exported and run on every runtime for 500 steps, against the writer's simulation."""

from collections.abc import Callable
from pathlib import Path

import nir
import pytest
import torch
from torch import Tensor, nn

from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime, usable_runtimes

from .nir_runs import foreign_code
from .test_nir_writers import Recurrent, box, leaky, readout, with_current

with foreign_code():
    import norse.torch as norse
    import snntorch
    from snntorch.export_nir import export_to_nir

STEPS, BATCH, BITS = 500, 2, 10
Written = tuple[nir.NIRGraph, dict[str, object], Tensor, dict[str, Tensor]]
"""A graph, the options to read it with, inputs ``[T, B, *shape]``, and the writer's spikes by output name."""


def on_grid(model: nn.Module) -> nn.Module:
    """Round the weights to multiples of ``2**-BITS``, so that sums are equal on every runtime."""
    for layer in (layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)):
        for weight in layer.parameters():
            weight.data = (weight * 2**BITS).round() / 2**BITS
    return model


def drive(*shape: int) -> Tensor:
    return (16 * torch.randn(STEPS, BATCH, *shape)).round() / 8


def snntorch_writes(model: nn.Module, x: Tensor, output: str) -> Written:
    on_grid(model)
    with foreign_code():
        graph = export_to_nir(model, x[0, :1], ignore_dims=[0])
        for module in model.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        return graph, {"convention": "snntorch"}, x, {output: torch.stack([model(step) for step in x])}


def recurrent() -> Written:
    return snntorch_writes(Recurrent(all_to_all=True), drive(20), "second_lif.s")


def convolutional() -> Written:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        snntorch.Leaky(beta=torch.full((4, 5, 4), 0.9), threshold=torch.full((4, 5, 4), 0.75), init_hidden=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
        leaky(10, 0.8, 0.9),
    )
    return snntorch_writes(model, drive(2, 9, 8), "n5.s")


def with_norse() -> Written:
    weights, cells = [nn.Linear(20, 50), nn.Linear(50, 30), nn.Linear(30, 10)], [box(50, 0.05), with_current(30, 0.05)]
    model = norse.SequentialState(*(part for pair in zip(weights, [*cells, readout(10)], strict=True) for part in pair))
    on_grid(model)
    x = drive(20)
    with foreign_code():
        states: list = [None, None]
        fired: list[list[Tensor]] = [[], []]
        for step in x:
            signal = step
            for index, neuron in enumerate(cells):
                signal, states[index] = neuron(weights[index](signal), states[index])
                fired[index].append(signal.to_dense())
        graph = norse.to_nir(model, torch.zeros(1, 20))
    return graph, {"convention": "norse"}, x, {"n1.s": torch.stack(fired[0]), "n3.s": torch.stack(fired[1])}


@pytest.mark.parametrize("make", [recurrent, convolutional, with_norse])
def test_spikes_on_every_runtime(make: Callable[[], Written], tmp_path: Path) -> None:
    torch.manual_seed(3)
    graph, options, x, spikes = make()
    nir.write(tmp_path / "net.nir", graph)
    bundle = export_model(str(tmp_path / "net.nir"), options, tmp_path / "bundle", golden_steps=2)
    (name,) = (spec.name for spec in bundle.contract.inputs)
    runtimes = ["eager", *usable_runtimes(bundle)]
    assert {"torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"} < set(runtimes)
    for runtime in runtimes:
        stepper = find_runtime(runtime)(bundle)
        stepper.start(bundle.initial_state(BATCH))
        at_once = stepper.run({name: x.numpy()})
        stepper.start(bundle.initial_state(BATCH))
        stepwise = [
            stepper.step({name: now.numpy()}) for now in (x if runtime in ("torchscript", "onnxruntime-cpu") else [])
        ]
        for output, wanted in spikes.items():
            assert 0.01 < wanted.mean() < 0.9
            assert (at_once[output] == wanted.numpy().astype(bool)).all(), f"{runtime}: {output}"
            for step, given in enumerate(stepwise):
                assert (given[output] == wanted[step].numpy().astype(bool)).all(), f"{runtime}: {output} at {step}"
