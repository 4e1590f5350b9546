"""deploy-snn.js in Node, with networks that learn, against eager torch."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from deploy_snn import export, load_model
from deploy_snn.bundle.trace import at
from deploy_snn.c_compiler import find_zig
from deploy_snn.eager import record, to_numpy, to_torch
from deploy_snn.learning import MSTDPET
from deploy_snn.learnt import LEARNT
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.tensors import Arrays, read_tensors, write_tensors

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NODE = which("node")
STEPS, FIRST = 100, 60
NO_NORM = "DeploySnnError: the program has no weights to normalise: no learning rule has a norm"

if NODE is None or find_zig() is None:
    pytest.skip("needs Node, and the package ziglang (the extra wasm)", allow_module_level=True)


def diehl_cook() -> Network:
    network = load_model(ROOT / "models" / "diehl_cook_2015.py", n=10, n_input=36, plastic=True)
    assert isinstance(network, Network)
    network.layers["exc"].neuron.theta_plus.fill_(2.0)  # so that several neurons win within few steps
    return network


def rewarded() -> Network:
    network = Network()
    network.add_layer(Input(n=12), "x")
    network.add_layer(LIFNodes(n=5), "y")
    network.add_connection(Dense(8 * torch.rand(12, 5), rule=MSTDPET(nu=0.5, wmin=0.0, wmax=9.0)), "x", "y")
    return network


@pytest.mark.parametrize(("build", "message"), [(diehl_cook, None), (rewarded, NO_NORM)])
def test_learning_equals_eager(build: Callable[[], Network], message: str | None, tmp_path: Path) -> None:
    """Learning over two samples equals eager torch. A start weight above its limit is clamped in the first step."""
    torch.manual_seed(0)
    program = build()
    export(program, tmp_path / "net", formats=["wasm"], golden_steps=0)
    rng = np.random.default_rng(2)
    inputs: Arrays = {}
    for spec in program.contract.inputs:
        x = rng.random((STEPS, *spec.shape(batch=1)), np.float32)
        inputs[spec.name] = {"noise": x, "reward": 4 * x - 2}.get(spec.role, (x < 0.5).astype(np.float32))
    initial = to_numpy(program.initial_state(1))
    weights = next(spec.name for spec in program.contract.states if spec.kind == "weight")
    start = initial | {weights: initial[weights].copy()}
    start[weights][3, 2] = 20.0
    write_tensors(tmp_path / "net" / "run.safetensors", inputs)
    write_tensors(tmp_path / "net" / "start.safetensors", start)
    command = [str(NODE), HERE / "learning.mjs", str(FIRST), tmp_path / "net"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == message
    found = read_tensors(tmp_path / "net" / "learnt.safetensors")

    state = start
    spikes = 0
    for step in range(FIRST):
        with torch.no_grad():
            outputs, after = program(to_torch(at(inputs, step)), to_torch(state))
        state = to_numpy(after)
        for name, expected in (state | to_numpy(outputs)).items():
            assert_same(found[f"{step}/{name}"], expected, name, step)
        spikes += sum(int(array.sum()) for array in to_numpy(outputs).values())
    assert spikes > 10
    assert (state[weights] != start[weights]).mean() > 0.1

    if message is None:
        with torch.no_grad():
            normalised = to_numpy(program.normalise(to_torch(state)))
        assert np.abs(normalised[weights] / state[weights] - 1).max() > 1e-3
        state = state | normalised
    for name, expected in state.items():
        assert_allclose(found[f"normalised/{name}"], expected, rtol=1e-6, atol=1e-6 if name.endswith(".v") else 0)

    lasting = {spec.name for spec in program.contract.states if spec.kind in LEARNT and spec.batch_axis is None}
    assert {weights} <= lasting
    state = initial | {name: found[f"normalised/{name}"] for name in lasting}
    for name, expected in state.items():
        assert_array_equal(found[f"rest/{name}"], expected, err_msg=name)
    trace = record(program, {name: array[FIRST:] for name, array in inputs.items()}, state)
    for name, array in trace.outputs.items():
        assert_array_equal(found[f"second/{name}"], array, err_msg=name)
    for name, array in trace.states.items():
        assert_same(found[f"last/{name}"], array[-1], name, STEPS)


def assert_same(actual: np.ndarray, expected: np.ndarray, name: str, step: int) -> None:
    """Check for equal bits; potentials may differ by rounding, since they are sums of weights."""
    tolerance = 1e-5 * float(np.abs(expected).max()) if name.endswith(".v") else 0.0
    assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=f"{name} after step {step}")
