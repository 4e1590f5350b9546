"""Step BindsNET's own node classes, as a reference for ours. Its code is imported, not copied."""

import importlib.metadata
import importlib.util
import math
import warnings
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

VERSION = "0.3.4"
MEND = f"install the oracle of these tests: pip install --no-deps bindsnet=={VERSION}"


class TorchWithDraws:
    """Replaces torch inside BindsNET's module: random draws return what our noise implies. torch itself is not changed."""

    def __init__(self) -> None:
        self.layer: torch.nn.Module | None = None
        self.noise = torch.empty(0)

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def rand_like(self, like: Tensor) -> Tensor:
        assert self.noise.shape == like.shape
        return self.noise

    def multinomial(self, weights: Tensor, draws: int) -> Tensor:
        """Return the candidate with the largest noise of each row. BindsNET calls this only for rows that have a spike."""
        assert draws == 1
        crossed = self.layer.s.flatten(1)
        rows = crossed.any(1)
        assert torch.equal(crossed[rows].float(), weights)
        tickets = torch.where(weights > 0, self.noise.flatten(1)[rows], -1.0)
        return tickets.argmax(1, keepdim=True)


def bindsnet_nodes() -> ModuleType:
    """Load BindsNET's ``network/nodes.py`` alone, as a new module: importing its package would load many libraries."""
    package = PathFinder.find_spec("bindsnet")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(f"BindsNET is not installed; {MEND}")
    installed = importlib.metadata.version("bindsnet")
    if installed != VERSION:
        raise ModuleNotFoundError(f"BindsNET is here as {installed}, which computes otherwise; {MEND}")
    path = Path(package.submodule_search_locations[0]) / "network" / "nodes.py"
    spec = importlib.util.spec_from_file_location("bindsnet_nodes_oracle", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Oracle:
    """A layer of BindsNET with the keywords of ours. Parameters must be floats: with an int, BindsNET would truncate."""

    def __init__(self, name: str, shape: tuple[int, ...], batch: int, dt: float, options: dict[str, object]) -> None:
        module = bindsnet_nodes()
        self.torch = module.torch = TorchWithDraws()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns about how BindsNET copies tensor parameters
            self.layer = getattr(module, name)(n=math.prod(shape), shape=shape, **options)
        self.torch.layer = self.layer
        self.layer.learning = bool(options.get("learning", True))  # its constructors ignore the keyword
        self.layer.compute_decays(dt)
        self.layer.set_batch_size(batch)

    def step(self, x: Tensor | None, noise: Tensor | None = None) -> Tensor:
        """Take one step and return the spikes. The drive is copied, since BindsNET writes into it."""
        if noise is not None:
            self.torch.noise = noise
        self.layer.forward(None if x is None else x.clone())
        return self.layer.s.bool()

    def state(self, name: str) -> Tensor:
        """Return a state by our name for it."""
        return getattr(self.layer, "x" if name == "trace" else name)
