"""Sparse weights stay sparse from end to end: with equal and unequal fan-in, and in a large network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import deploy_snn
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Dense, Network, Sparse, snap_weights
from deploy_snn.neurons import Input, LIFNodes


def sparse(n: int, m: int, density: float, hub: bool, seed: int) -> torch.Tensor:
    """A random dense matrix on a grid. With a ``hub``, one target gets input from every source."""
    torch.manual_seed(seed)
    w = (torch.rand(n, m) < density) * (torch.randint(-64, 65, (n, m)) / 16)
    if hub:
        w[:, 0] = 0.25
    return w


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")  # torch warns when a user creates one
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    hub=st.booleans(),
    seed=st.integers(0, 99),
    layout=st.sampled_from(["dense", "coo", "csr"]),
)
def test_sparse_equals_dense(*, n: int, m: int, density: float, hub: bool, seed: int, layout: str) -> None:
    w = sparse(n, m, density, hub, seed)
    given_w = {"dense": w, "coo": w.to_sparse(), "csr": w.to_sparse_csr()}[layout]
    connection = Sparse(given_w)
    connection.attach("a", (n,), "b", (m,))
    z = (torch.rand(3, n) < 0.5).float()
    assert torch.equal(connection.transmit(z), z @ w)
    assert torch.equal(connection.matrix().to_dense(), w)
    dense = Dense(w)
    assert torch.equal(connection.largest_sums(), dense.largest_sums())
    assert connection.fan_in.numel() <= 2 * ((w != 0).sum() + m)


def test_export_with_unequal_fan_in(tmp_path: Path) -> None:
    w = sparse(30, 20, 0.1, hub=True, seed=1)
    network = Network()
    network.add_layer(Input(n=30), "X")
    network.add_layer(LIFNodes(n=20, thresh=-64.0, refrac=1), "out")
    network.add_connection(Sparse(w.to_sparse()), "X", "out")
    assert network.connections[0].places is not None
    snap_weights(network.connections, 10)
    bundle = deploy_snn.export(network, tmp_path / "hub", golden_steps=3)
    report = deploy_snn.verify(bundle, steps=40, batch=2)
    assert report.equal
    assert report.spikes


def test_invalid_matrices() -> None:
    for wrong in (torch.ones(3), [[1.0]], torch.full((2, 2), torch.nan).to_sparse()):
        with pytest.raises(InvalidInput, match="w"):
            Sparse(wrong)


LARGE = r"""
import re, sys, time, torch, deploy_snn
from deploy_snn.network import Network, Sparse
from deploy_snn.neurons import LIFNodes
n, fan_in = int(sys.argv[1]), 20
torch.manual_seed(0)
indices = torch.stack([torch.randint(n, (n * fan_in,)), torch.arange(n).repeat_interleave(fan_in)])
w = torch.sparse_coo_tensor(indices, torch.rand(n * fan_in), (n, n), check_invariants=True)
network = Network()
network.add_layer(LIFNodes(n=n), "cortex", external=True)
network.add_connection(Sparse(w), "cortex", "cortex")
begun = time.perf_counter()
bundle = deploy_snn.export(network, sys.argv[2])
# The peak of this process alone: ru_maxrss would include what the parent had before exec.
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
print(time.perf_counter() - begun, peak / 2**20)
"""


def test_memory_of_a_large_network(tmp_path: Path) -> None:
    """A sparse network of 20,000 neurons needs little memory; its dense matrix would take 1.6 GB."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, "20000", str(tmp_path / "large")], capture_output=True, text=True, check=True
    )
    seconds, gigabytes = map(float, done.stdout.split())
    assert gigabytes < 1.5, seconds
    session = deploy_snn.open_bundle(tmp_path / "large").session()
    spikes = session.run({"cortex.x": np.full((3, 1, 20000), 20, np.float32)})["cortex.s"]
    assert spikes[0].all()
