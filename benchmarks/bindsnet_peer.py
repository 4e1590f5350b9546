"""BindsNET's node classes as a contender. Its code (AGPL) is not copied: it is loaded from the installed package."""

import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

DT = 1.0
INSTALL = "pip install --no-deps bindsnet==0.3.4"


def bindsnet_version() -> str:
    """The installed version. Raises SystemExit, with the install command, if it is not installed."""
    try:
        return importlib.metadata.version("bindsnet")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"BindsNET, the peer of this benchmark, is not installed: {INSTALL}") from None


def bindsnet_nodes() -> ModuleType:
    """BindsNET's ``network/nodes.py`` alone: its package import pulls in far more than torch."""
    name = "bindsnet.network.nodes"
    if name not in sys.modules:
        found = importlib.util.find_spec("bindsnet")
        if found is None or not found.submodule_search_locations:
            raise SystemExit(f"BindsNET, the peer of this benchmark, is not installed: {INSTALL}")
        folder = Path(found.submodule_search_locations[0])
        package = ModuleType("bindsnet")
        package.__path__ = [str(folder)]
        spec = importlib.util.spec_from_file_location(name, folder / "network" / "nodes.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules |= {"bindsnet": package, name: module}
        spec.loader.exec_module(module)
    return sys.modules[name]


class Drawn:
    """Stands for torch inside BindsNET's nodes: the winner of a step is the one with the most noise, as here."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise
        self.step = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def multinomial(self, weights: Tensor, _draws: int) -> Tensor:
        rows = self.noise[self.step][: len(weights)]
        return torch.where(weights > 0, rows, torch.tensor(-1.0)).argmax(1, keepdim=True)


class Peer:
    """One layer of BindsNET's with its defaults: ``begin()``, then ``step(0)``, ``step(1)``, ... gives the spikes.

    It writes into the inputs it is given, so it gets its own, and ``begin`` (which is not timed) restores them. It is run
    in torch's inference mode, like ours, and given tensors, where ours is given numpy arrays and has to wrap them.
    """

    name = "BindsNET"

    def __init__(self, cls: str, n: int, batch: int, drives: list[Tensor], parameters: Mapping[str, Tensor]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.layer = getattr(bindsnet_nodes(), cls)(n=n)
        for name in ("a", "b", "c", "d", "S"):  # Izhikevich draws these: both shall have the same
            if name in parameters:
                setattr(self.layer, name, parameters[name].clone())
        self.layer.compute_decays(DT)
        self.batch = batch
        self.lead = 1 if cls == "IzhikevichNodes" else 0  # it reports a spike so many steps earlier than ours
        self._drives = drives
        self._given = [torch.empty_like(drive) for drive in drives]

    def begin(self) -> None:
        self.layer.set_batch_size(self.batch)  # makes new states; reset_state_variables leaves some of CSRM's alone
        if hasattr(self.layer, "theta"):
            self.layer.theta.zero_()
        for given, drive in zip(self._given, self._drives, strict=True):
            given.copy_(drive)

    def step(self, k: int) -> Tensor:
        self.layer.forward(self._given[k])
        spikes: Tensor = self.layer.s
        return spikes
