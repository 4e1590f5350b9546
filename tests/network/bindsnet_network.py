"""Run BindsNET's own ``Network`` step by step, as a reference for ours. Its code is imported, not copied."""

import importlib
import sys
import warnings
from importlib.machinery import PathFinder
from types import ModuleType

import pytest
import torch
from torch import Tensor

from ..neurons.bindsnet_oracle import MEND, TorchWithDraws  # noqa: TID252  (tests are no package that is installed)


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    """The module ``bindsnet.network``, imported without the top level of its package, which is slow."""
    found = PathFinder.find_spec("bindsnet")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"BindsNET is not installed; {MEND}")
    package = ModuleType("bindsnet")
    package.__path__ = list(found.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "bindsnet", package)
        network = importlib.import_module("bindsnet.network")
        for name in ("nodes", "topology"):
            importlib.import_module(f"bindsnet.network.{name}")
        yield network
        for name in [name for name in sys.modules if name.startswith("bindsnet.")]:
            patch.delitem(sys.modules, name)


def run(network: ModuleType, inputs: dict[str, Tensor], noise: dict[str, Tensor], *, one_step: bool) -> dict[str, Tensor]:
    """Call ``run`` for each step. Return spikes ``NAME.s`` and potentials ``NAME.v``. BindsNET writes into its inputs."""
    steps = len(next(iter(inputs.values())))
    module = sys.modules["bindsnet.network.nodes"]
    seen: dict[str, list[Tensor]] = {}
    real = module.torch
    try:
        for step in range(steps):
            module.torch = draws = TorchWithDraws()
            for name, values in noise.items():  # in these tests at most one layer takes noise
                draws.layer, draws.noise = network.layers[name], values[step]
            given = {name: values[step : step + 1].clone() for name, values in inputs.items()}
            network.run(inputs=given, time=1, one_step=one_step)
            for name, layer in network.layers.items():
                seen.setdefault(f"{name}.s", []).append(layer.s.bool().clone())
                if hasattr(layer, "v"):
                    seen.setdefault(f"{name}.v", []).append(layer.v.clone())
    finally:
        module.torch = real
    return {name: torch.stack(values) for name, values in seen.items()}
