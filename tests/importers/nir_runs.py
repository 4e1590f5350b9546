"""Write NIR graphs to a file, read them back, and run them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nir
import torch
from torch import Tensor

from deploy_snn.importers.imported import Imported
from deploy_snn.importers.nir import read_nir
from deploy_snn.network import Network


def through_file(graph: nir.NIRGraph, folder: Path, **options: object) -> Imported:
    path = folder / "graph.nir"
    nir.write(path, graph)
    return read_nir(path, options)


def steps(network: Network, *inputs: Tensor) -> dict[str, Tensor]:
    """Run a network on sequences ``[T, B, *shape]`` of its inputs, in their order, and return its outputs."""
    names = [spec.name for spec in network.contract.inputs]
    with torch.no_grad():
        return network.rollout(dict(zip(names, inputs, strict=True)), network.initial_state(inputs[0].shape[1]))[0]


@contextmanager
def foreign_code() -> Iterator[None]:
    """Run other projects' code without gradients, and ignore its warnings."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
