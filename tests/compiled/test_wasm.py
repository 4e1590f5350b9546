"""WebAssembly modules, run by Wasmtime, against eager torch."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from deploy_snn import export, load_model
from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.c_compiler import find_zig
from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.runtimes import find_runtime
from deploy_snn.runtimes.eager import Eager
from deploy_snn.wasm_module import PREAMBLE, add_section, read_section

if find_zig() is None or find_spec("wasmtime") is None:
    pytest.skip("needs the extra wasm: the packages ziglang and wasmtime", allow_module_level=True)

FUNCTIONS = {"state_size", "initial_state", "step", "run", "step_events", "load_state", "store_state"}
STEPS = 60


def large() -> Network:
    """A network whose parameters are in a file of their own. Its sums are exact, and too large for int16."""
    torch.manual_seed(0)
    network = Network()
    network.add_layer(Input(n=600), "x")
    network.add_layer(LIFNodes(n=500), "y")
    network.add_connection(Dense((torch.rand(600, 500) * 2**16).round() / 2**20), "x", "y")
    return network


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Integer weights, expf, a state that rows share, no state at all, and a file of weights."""
    folder = tmp_path_factory.mktemp("wasm")
    models = {
        "integers": (load_model("models/diehl_cook_2015.py", n=8, n_input=40), 10),
        "expf": (load_model("srm0", n=5), None),
        "shared": (load_model("adaptive-lif", n=5, traces=True), None),
        "stateless": (load_model("mcculloch-pitts", n=3), None),
        "large": (large(), None),
    }
    return {
        name: export(model, folder / name, formats=["wasm"], golden_steps=12, snap_bits=snap)
        for name, (model, snap) in models.items()
    }


@pytest.mark.parametrize("name", ["integers", "expf", "shared", "stateless", "large"])
def test_steps_and_runs(name: str, bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and runs in turn; a run takes several windows, and the memory grows with the batch."""
    from deploy_snn.runtimes import wasm

    bundle = bundles[name]
    monkeypatch.setattr(wasm, "WINDOW", 2**12)
    opened = find_runtime("wasm")(bundle)
    tolerance = 1e-5 if name == "expf" else 0.0
    spikes = name in ("integers", "large")
    for rows in (1, 70):
        rng = np.random.default_rng(rows)
        inputs = {spec.name: rng.random((STEPS, *spec.shape(batch=rows)), np.float32) for spec in bundle.contract.inputs}
        for spec in bundle.contract.inputs:
            if spec.role != "noise":
                x = inputs[spec.name]
                inputs[spec.name] = (x < 0.2).astype(np.float32) if spikes else 20 * x
        start = bundle.initial_state(rows)
        trace = record(Eager(bundle).program, inputs, start)
        assert any(array.any() for array in trace.outputs.values())
        opened.start(start)
        first = [opened.step(at(inputs, step)) for step in range(10)]
        rest = opened.run({key: array[10:] for key, array in inputs.items()})
        for key, expected in trace.outputs.items():
            assert_array_equal(np.concatenate([np.stack([now[key] for now in first]), rest[key]]), expected)
        state = opened.state()
        assert state.keys() == trace.states.keys()
        for key, expected in at(trace.states, -1).items():
            assert_allclose(state[key], expected, rtol=tolerance, atol=tolerance)


def test_the_module_stands_alone(bundles: dict[str, Bundle]) -> None:
    """No imports, the named exports only, SIMD, and the contract as a custom section."""
    import wasmtime

    for name, bundle in bundles.items():
        code = bundle.file("model.wasm").read_bytes()
        module = wasmtime.Module(wasmtime.Engine(), code)
        assert not module.imports
        prefix = bundle.manifest.formats["wasm"]["prefix"]
        expected = {f"{prefix}_{function}" for function in FUNCTIONS}
        if name == "stateless":
            expected -= {f"{prefix}_load_state", f"{prefix}_store_state"}
        if name == "large":
            expected |= {f"{prefix}_set_weights"}
        assert {item.name for item in module.exports} == expected | {"memory", "__heap_base"}
        assert Contract.parse(read_section(code, CONTRACT_KEY), name) == bundle.contract
    plain = wasmtime.Config()
    plain.wasm_simd = plain.wasm_relaxed_simd = False
    with pytest.raises(wasmtime.WasmtimeError, match="SIMD"):
        wasmtime.Module(wasmtime.Engine(plain), bundles["integers"].file("model.wasm").read_bytes())


def test_spikes_must_be_spikes(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["integers"]
    opened, state = find_runtime("wasm")(bundle), bundle.initial_state(2)
    state["X.previous"] = np.full_like(state["X.previous"], 0.5)
    with pytest.raises(InvalidInput, match=r"state 'X\.previous' holds spikes: every element must be 0 or 1"):
        opened.start(state)


def test_more_rows_than_the_memory_has_room_for(bundles: dict[str, Bundle]) -> None:
    opened = find_runtime("wasm")(bundles["integers"])
    with pytest.raises(InvalidInput, match=r"batch 10000000 takes \d+ bytes, more than the memory of WebAssembly"):
        opened._bind(10_000_000)


def replaced(bundle: Bundle, path: Path, code: bytes) -> Bundle:
    """A copy of the bundle with another module, which the manifest records."""
    shutil.copytree(bundle.path, path)
    (path / "model.wasm").write_bytes(code)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["model.wasm"] = {"bytes": len(code), "sha256": sha256(code).hexdigest()}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(path)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda code: b"\x7fELF" + code[4:], "it does not begin as a WebAssembly module"),
        (lambda code: code[:-5], "a section of it is cut short"),
        (lambda code: code[:8] + b"\0\xff\xff\xff\xff\xff\xff", "the size of a section cannot be read"),
        (lambda _: PREAMBLE, r"model\.wasm.*contract"),
        (lambda code: add_section(PREAMBLE, CONTRACT_KEY, read_section(code, CONTRACT_KEY)), "has no model 'integers'"),
        (lambda code: code[:8] + bytes([1, 1, 255]) + code[8:], "Wasmtime cannot load"),
    ],
)
def test_damaged_modules(damage: Damage, message: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["integers"]
    damaged = replaced(bundle, tmp_path / "copy", damage(bundle.file("model.wasm").read_bytes()))
    with pytest.raises(InvalidInput, match=message):
        find_runtime("wasm")(damaged)


def test_the_module_of_another_model(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    other = bundles["expf"].file("model.wasm").read_bytes()
    with pytest.raises(InvalidInput, match=r"contract.*model\.wasm|model\.wasm.*contract"):
        find_runtime("wasm")(replaced(bundles["integers"], tmp_path / "copy", other))


def test_without_zig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy_snn.formats import wasm

    monkeypatch.setattr(wasm, "find_zig", lambda: None)
    with pytest.raises(Unavailable, match="format wasm needs the package ziglang: install the extra 'wasm'"):
        export(load_model("lif", n=3), tmp_path / "lif", formats=["wasm"], golden_steps=0)
