"""deploy-snn.js in Node: results equal eager torch, and damaged files are errors."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from deploy_snn import export, load_model
from deploy_snn.api import export_loaded
from deploy_snn.bundle import Bundle, Trace
from deploy_snn.bundle.readout import Readout, vote
from deploy_snn.bundle.trace import at
from deploy_snn.c_compiler import find_zig
from deploy_snn.contract import CONTRACT_KEY
from deploy_snn.eager import record, to_numpy, to_torch
from deploy_snn.formats.wasm import MODULE
from deploy_snn.learnt import learnt_model
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.reference import reference_program
from deploy_snn.tensors import pack_tensors, read_tensors, write_tensors
from deploy_snn.wasm_module import PREAMBLE, add_section, read_section

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODULE_URL = (ROOT / "serve" / "web" / "deploy-snn.js").as_uri()
NODE = which("node")
STEPS, ROWS = 40, 3
LONG = 200
"""The steps of the large network, more than the module computes in one call of the WebAssembly code."""

if NODE is None or find_zig() is None:
    pytest.skip("needs Node, and the package ziglang (the extra wasm)", allow_module_level=True)


def node(*arguments: object) -> str:
    done = subprocess.run([str(NODE), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def script(code: str, *arguments: object) -> Any:
    """Run a script, in which ``deploy`` is the module, and return the JSON value that it logs."""
    begin = f'import * as deploy from "{MODULE_URL}"; import {{ readFileSync }} from "node:fs"; '
    return json.loads(node("--input-type=module", "--eval", begin + code, "--", *arguments))


def large() -> Network:
    """A network so large that its weights are in a file beside the module."""
    torch.manual_seed(0)
    network = Network()
    network.add_layer(Input(n=200), "x")
    network.add_layer(LIFNodes(n=1500), "y")
    network.add_connection(Dense((torch.rand(200, 1500) * 2**16).round() / 2**20), "x", "y")
    return network


def draw_inputs(bundle: Bundle, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Draw inputs of different sizes, and uniform noise."""
    rng = np.random.default_rng(1)
    inputs = {}
    for spec in bundle.contract.inputs:
        x = rng.random((steps, *spec.shape(batch=ROWS)), np.float32)
        inputs[spec.name] = x if spec.role == "noise" else np.where(x < 0.3, 150 * x, 0).astype(np.float32)
    return inputs


@dataclass(frozen=True)
class Results:
    """The results of Node and of eager torch for the same inputs."""

    bundle: Bundle
    checked: dict[str, Any]
    trace: Trace


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Results of every exact reference bundle, of one that rounds, and of one with a file of weights."""
    folder = tmp_path_factory.mktemp("web")
    bundles = {}
    for path in sorted((ROOT / "export").iterdir()):
        if not path.is_dir():
            continue
        reference = Bundle.open(path)
        if not reference.contract.rounding or path.name == "srm0":
            loaded = learnt_model(reference)
            bundles[path.name] = export_loaded(loaded, folder / path.name, formats=["wasm"], golden_steps=20)
    bundles["large"] = export(large(), folder / "large", formats=["wasm"], golden_steps=3)
    traces = {}
    for name, bundle in bundles.items():
        inputs = draw_inputs(bundle, LONG if name == "large" else STEPS)
        write_tensors(bundle.path / "run.safetensors", inputs)
        traces[name] = record(reference_program(bundle), inputs, bundle.initial_state(ROWS))
    found = json.loads(node(HERE / "recordings.mjs", *(bundle.path for bundle in bundles.values())))
    return {name: Results(bundle, found[str(bundle.path)], traces[name]) for name, bundle in bundles.items()}


def test_spikes_and_states_equal_eager(results: dict[str, Results]) -> None:
    exact = [name for name, run in results.items() if not run.bundle.contract.rounding]
    assert len(exact) >= 14
    spikes = 0
    for name in exact:
        run = results[name]
        found = read_tensors(run.bundle.path / "node.safetensors")
        for group, arrays in (("outputs", run.trace.outputs), ("run", run.trace.outputs), ("states", run.trace.states)):
            for tensor, expected in arrays.items():
                assert_array_equal(found.pop(f"{group}/{tensor}"), expected, err_msg=f"{name}: {group}/{tensor}")
        assert not found
        spikes += sum(int(array.sum()) for array in run.trace.spikes)
    assert spikes > 1000


def test_golden_trace(results: dict[str, Results]) -> None:
    for name, run in results.items():
        golden = run.bundle.golden()
        compared = sum(array.size for array in (*golden.outputs.values(), *golden.states.values()))
        assert run.checked == {
            "steps": golden.steps,
            "compared": compared,
            "exact": name != "srm0",
            "wrong": None,
            "batch": ROWS,
        }


@pytest.mark.parametrize("name", ["diehl_cook_2015", "srm0"])
def test_wrong_golden_trace(name: str, results: dict[str, Results], tmp_path: Path) -> None:
    """check() finds one wrong state in one step of the golden trace, and does not change the model's state."""
    bundle = results[name].bundle
    tensors = read_tensors(bundle.path / "golden.safetensors")
    key = next(key for key in tensors if key.startswith("states/") and key.endswith("v"))
    tensors[key][7, 1, 2] += np.float32(0.5)
    write_tensors(tmp_path / "golden.safetensors", tensors)
    code = """
        const [wasm, golden] = process.argv.slice(1).map((path) => readFileSync(path));
        const model = await deploy.load(wasm);
        const x = Object.fromEntries(model.inputs.map(({ name, axes }) => [name, new Float32Array(axes[1].size).fill(9)]));
        model.step(x);
        const before = model.saveState();
        const { wrong } = model.check(golden);
        console.log(JSON.stringify({ wrong, same: String(before) === String(model.saveState()) }));
    """
    found = script(code, bundle.path / MODULE, tmp_path / "golden.safetensors")
    assert found["same"]
    assert {key: found["wrong"][key] for key in ("step", "tensor")} == {"step": 7, "tensor": key.removeprefix("states/")}
    assert found["wrong"]["index"] == tensors[key][0, 0].size + 2


def test_check_starts_from_recorded_states(results: dict[str, Results], tmp_path: Path) -> None:
    """check() starts each step from the recorded state, so that small errors do not add up beyond the tolerance."""
    bundle = results["srm0"].bundle
    program, golden = reference_program(bundle), bundle.golden()
    error = np.float32(0.9e-5 * 60)
    state, states, outputs = golden.start, [], []
    for step in range(golden.steps):
        with torch.no_grad():
            found, after = program(to_torch(at(golden.inputs, step)), to_torch(state))
        state = {name: array + error if name == "v" else array for name, array in to_numpy(after).items()}
        states.append(state)
        outputs.append(to_numpy(found))
    assert np.abs(states[-1]["v"]).max() > 60
    series = [{name: np.stack([step[name] for step in steps]) for name in steps[0]} for steps in (outputs, states)]
    Trace(golden.start, golden.inputs, series[0], series[1]).write(tmp_path / "golden.safetensors")
    code = """
        const [wasm, golden] = process.argv.slice(1).map((path) => readFileSync(path));
        console.log(JSON.stringify((await deploy.load(wasm)).check(golden).wrong));
    """
    assert script(code, bundle.path / MODULE, tmp_path / "golden.safetensors") is None


def test_state_files_are_exchanged_with_python(results: dict[str, Results], tmp_path: Path) -> None:
    """State files have the same bytes as in Python, and each side continues from the other's file."""
    run = results["diehl_cook_2015"]
    last = {name: array[-1] for name, array in run.trace.states.items()}
    assert (run.bundle.path / "state.safetensors").read_bytes() == pack_tensors(last)
    inputs = {name: array[:9] for name, array in draw_inputs(run.bundle).items()}
    trace = record(reference_program(run.bundle), inputs, last)
    write_tensors(tmp_path / "in.safetensors", inputs)
    write_tensors(tmp_path / "state.safetensors", last)
    code = """
        const [wasm, inputs, state] = process.argv.slice(1).map((path) => readFileSync(path));
        const model = await deploy.load(wasm);
        model.loadState(state);
        const outputs = model.run(deploy.readTensors(inputs));
        const spikes = Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, [...data]]));
        console.log(JSON.stringify({ spikes, state: [...model.saveState()] }));
    """
    found = script(code, run.bundle.path / MODULE, tmp_path / "in.safetensors", tmp_path / "state.safetensors")
    for name, expected in trace.outputs.items():
        assert_array_equal(np.array(found["spikes"][name]), expected.ravel())
    assert bytes(found["state"]) == pack_tensors({name: array[-1] for name, array in trace.states.items()})


def test_invalid_state_changes_nothing(results: dict[str, Results], tmp_path: Path) -> None:
    """An invalid state, here with a spike that is neither 0 nor 1, is rejected and changes nothing."""
    bundle = results["diehl_cook_2015"].bundle
    state = bundle.initial_state(2)
    state["exc.v"] += np.float32(3)
    state["X.previous"][1, 5] = 0.5
    write_tensors(tmp_path / "state.safetensors", state)
    code = """
        const [wasm, state] = process.argv.slice(1).map((path) => readFileSync(path));
        const model = await deploy.load(wasm);
        let message = "";
        try { model.loadState(state); } catch (error) { message = error.message; }
        console.log(JSON.stringify({ message, batch: model.batch, state: [...model.saveState()] }));
    """
    found = script(code, bundle.path / MODULE, tmp_path / "state.safetensors")
    assert found["message"] == "a state that holds spikes must be 0 or 1 everywhere"
    assert (found["batch"], bytes(found["state"])) == (1, pack_tensors(bundle.initial_state()))


Damage = Callable[[bytes, bytes], bytes]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "elf": (
        lambda code, _: b"\x7fELF" + code[4:],
        "the module cannot be loaded: it does not begin as a WebAssembly module",
    ),
    "empty": (lambda *_: b"", "it does not begin as a WebAssembly module"),
    "cut": (lambda code, _: code[:-5], "a section of it is cut short"),
    "size": (lambda code, _: code[:8] + b"\0\xff\xff\xff\xff\xff\xff", "the size of a section cannot be read"),
    "foreign": (lambda *_: PREAMBLE, "it holds no contract of deploy_snn"),
    "bare": (
        lambda _, contract: add_section(PREAMBLE, CONTRACT_KEY, contract),
        "the module does not have the functions of a model",
    ),
    "garbage": (
        lambda _, contract: add_section(PREAMBLE + bytes([1, 1, 255]), CONTRACT_KEY, contract),
        "the module cannot be loaded as WebAssembly",
    ),
    "json": (lambda *_: add_section(PREAMBLE, CONTRACT_KEY, b"{"), "holds a contract that is not JSON"),
    "newer": (
        lambda _, contract: add_section(PREAMBLE, CONTRACT_KEY, contract.replace(b'_version":2', b'_version":3')),
        "version 3, but this module reads version 2: use a newer deploy-snn.js",
    ),
    "tensor": (
        lambda _, contract: add_section(PREAMBLE, CONTRACT_KEY, contract.replace(b'"drive"', b'"drove"')),
        "holds a contract that is damaged",
    ),
}


def test_damaged_modules(results: dict[str, Results], tmp_path: Path) -> None:
    code = results["lif"].bundle.file(MODULE).read_bytes()
    for name, (damage, _) in DAMAGES.items():
        (tmp_path / name).write_bytes(damage(code, read_section(code, CONTRACT_KEY)))
    load_each = """
        const messages = [];
        for (const path of process.argv.slice(1))
            messages.push(await deploy.load(readFileSync(path)).then(() => "loaded", (e) => `${e.name}: ${e.message}`));
        console.log(JSON.stringify(messages));
    """
    messages = script(load_each, *(tmp_path / name for name in DAMAGES))
    for message, (name, (_, expected)) in zip(messages, DAMAGES.items(), strict=True):
        assert message.startswith("DeploySnnError: "), name
        assert expected in message, name
        assert "\n" not in message, name


WRONG_CALLS = {
    "model.step({})": "input 'x' is missing; expected x float32 [batch, 8]",
    "model.step({ x: new Float32Array(7) })": "input 'x' has 7 elements; expected 8, x float32 [batch, 8]",
    "model.step({ x, y: x })": "unknown input 'y'; expected x float32 [batch, 8]",
    "model.step({ x: x.map((_, i) => (i === 3 ? NaN : 0)) })": "input 'x' must be finite, but is NaN at index 3",
    "model.run({ x: new Float32Array(12) })": "input 'x' has 12 elements; expected steps of 8",
    "model.reset(0)": "batch 0: expected a whole number of at least 1",
    "model.reset(1e8)": "batch 100000000 takes",
    "(model.state = { v: x })": "state 'refrac_count' is missing",
    "(model.state = { ...model.state, w: x })": "unknown state 'w'",
    "(model.state = { v: x.subarray(1), refrac_count: x })": "state 'v' has the shape [7]; expected v float32 [batch, 8]",
    "(model.state = { v: x.map(() => Infinity), refrac_count: x })": "state 'v' must be finite, but is Infinity at index 0",
    "model.loadState(new Uint8Array(4))": "the file cannot be read as .safetensors: it is too short",
    "model.loadState(model.saveState().subarray(0, 90))": "cannot be read as .safetensors: its header is cut short",
    "model.check(model.saveState())": "the golden trace holds 'refrac_count'; expected names such as inputs/x",
}


def test_wrong_calls(results: dict[str, Results]) -> None:
    """Each wrong call raises an error that says what is expected, and does not change the state."""
    uses = ", ".join(f"() => {use}" for use in WRONG_CALLS)
    code = f"""
        const model = await deploy.load(readFileSync(process.argv[1]));
        const x = new Float32Array(8).fill(5);
        model.step({{ x }});
        const before = String(model.saveState());
        const messages = [];
        for (const use of [{uses}]) {{
            try {{ use(); messages.push("no error"); }}
            catch (error) {{ messages.push(`${{error.name}}: ${{error.message}}`); }}
            if (String(model.saveState()) !== before) messages.push("the state changed");
        }}
        console.log(JSON.stringify(messages));
    """
    messages = script(code, results["lif"].bundle.file(MODULE))
    for message, (use, expected) in zip(messages, WRONG_CALLS.items(), strict=True):
        assert message.startswith("DeploySnnError: "), use
        assert expected in message, use


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    """A number that is not finite is found at every index, also after the last group of four."""
    bundle = export(load_model("lif", n=7), tmp_path / "lif", formats=["wasm"], golden_steps=0)
    code = """
        const model = await deploy.load(readFileSync(process.argv[1]));
        const messages = [];
        for (let i = 0; i < 7; i++)
            for (const wrong of [NaN, Infinity, -Infinity])
                try { model.step({ x: new Float32Array(7).map((_, at) => (at === i ? wrong : 1e30)) }); }
                catch (error) { messages.push(error.message); }
        console.log(JSON.stringify(messages));
    """
    wrong = ("NaN", "Infinity", "-Infinity")
    expected = [f"input 'x' must be finite, but is {value} at index {i}" for i in range(7) for value in wrong]
    assert script(code, bundle.file(MODULE)) == expected


def test_votes_equal_python() -> None:
    rng = np.random.default_rng(0)
    assignments = rng.integers(-1, 5, 30)
    for weighted in (False, True):
        proportions = rng.random((30, 5), np.float32) if weighted else np.zeros((0, 0), np.float32)
        rows = tuple(tuple(map(float, row)) for row in proportions)
        readout = Readout(layer="y", assignments=tuple(map(int, assignments)), proportions=rows)
        counts = rng.poisson(0.3, (200, 30))
        counts[0] = 0
        code = f"""
            const readout = {readout.model_dump_json()}, counts = {counts.tolist()};
            console.log(JSON.stringify(counts.map((row) => deploy.vote(readout, row).label)));
        """
        assert script(code) == vote(readout, counts).tolist()


def test_example_of_the_documentation(results: dict[str, Results]) -> None:
    """The example in the module's documentation runs unchanged."""
    lines = (ROOT / "serve" / "web" / "deploy-snn.js").read_text().splitlines()
    example = [line.removeprefix(" *     ") for line in lines if line.startswith(" *     ")]
    code = "\n".join(example).replace("./deploy-snn.js", MODULE_URL)
    code = code.replace('"model.wasm"', json.dumps(results["lif"].bundle.file(MODULE).as_uri()))
    code += "\nconsole.log(JSON.stringify([s.length, saved.length]));"
    out = json.loads(node("--input-type=module", "--eval", code))
    assert out == [8, len(pack_tensors(results["lif"].bundle.initial_state()))]


def test_types_are_correct() -> None:
    """TypeScript accepts a program that uses the whole module, and rejects wrong arguments."""
    compiler = ROOT / "serve" / "web" / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        pytest.skip("TypeScript is not installed: run npm install in serve/web")
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]
    done = subprocess.run(
        [str(NODE), str(compiler), *options, str(HERE / "use.mts")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
