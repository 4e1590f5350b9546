"""Generated C against eager torch: every neuron, every connection and every model, built by one call of the compiler."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor

from deploy_snn import export
from deploy_snn.bundle.trace import at
from deploy_snn.compiled import CSource, Refusal, c_source
from deploy_snn.compiled.integers import integer_weights
from deploy_snn.compiled.loops import Type
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.c import C
from deploy_snn.importers import load_model
from deploy_snn.lowering import Lowered
from deploy_snn.network import Connection, Dense, Lateral, MaxPool2d, Network, OneToOne, snap_weights
from deploy_snn.neurons import DelayLine, IFNodes, Input, LIFNodes
from deploy_snn.parity.golden import golden_trace
from deploy_snn.program import Program
from deploy_snn.registry import CONNECTIONS, NEURONS
from deploy_snn.tensors import Arrays

STEPS = 200
STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off")
LIBRARY_FUNCTIONS = {"memcpy", "memset", "expf"}
STACK = 1024
"""The largest stack frame in bytes. It does not grow with the model."""
HOSTILE = 'evil"; } int main(void) { return 1; } /* */ // \\\n??/'


def connection_examples() -> ModuleType:
    """The networks of the connections' own tests."""
    path = Path(__file__).parents[1] / "network" / "test_connections.py"
    spec = importlib.util.spec_from_file_location("connection_examples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hostile_names() -> Network:
    """Layers whose tensors have names that collide or that mean something in C."""
    network = Network(record=["state.v"])
    network.add_layer(Input(n=3), "int32_t")
    for name in ("é", "state", "a", "a_v", "NULL", "row"):
        network.add_layer(LIFNodes(n=3, thresh=-60.0), name)
    network.add_connection(OneToOne(9.0), "int32_t", "é")
    network.add_connection(OneToOne(9.0), "é", "state")
    network.add_connection(OneToOne(9.0), "state", "a")
    network.add_connection(OneToOne(9.0), "a", "a_v")
    network.add_connection(OneToOne(9.0), "a_v", "NULL")
    network.add_connection(OneToOne(9.0), "NULL", "row")
    return network


def hazards() -> Network:
    """States that a later kernel of the same step reads: spikes pass on within a step, and back from the step before."""
    network = Network(one_step=True, record=["a.v"])
    network.add_layer(Input(n=5), "x")
    for name in ("a", "b"):
        network.add_layer(LIFNodes(n=5, thresh=-58.0, refrac=1, traces=True, traces_additive=True), name)
    network.add_layer(DelayLine(n=5, delay=torch.tensor([0.0, 1.0, 3.0, 2.0, 1.0])), "late")
    dyadic = (torch.rand(5, 5) * 64).round() / 8
    network.add_connection(Dense(dyadic), "x", "a")
    network.add_connection(Dense(dyadic.T.contiguous(), torch.ones(5)), "a", "b")
    network.add_connection(OneToOne(4.0), "b", "late")
    network.add_connection(Dense(dyadic), "late", "a")
    network.add_connection(Lateral(-1.0), "b", "b")
    return network


def mutual() -> Network:
    """Two layers in one stage, each of which reads what the other was in the step before."""
    network = Network()
    for name in ("a", "b"):
        network.add_layer(LIFNodes(n=4, thresh=-60.0, refrac=0), name, external=True)
    network.add_connection(OneToOne(3.0), "a", "b")
    network.add_connection(OneToOne(4.0), "b", "a")
    return network


def counted_pooling() -> Network:
    """Max pooling without decay: rates are counts, and often equal."""
    network = Network()
    network.add_layer(Input(shape=(1, 4, 4)), "a")
    network.add_layer(IFNodes(shape=(1, 2, 2), thresh=1.0, reset=0.0, refrac=0), "b")
    network.add_connection(MaxPool2d(2), "a", "b")
    return network


def models() -> dict[str, Program]:
    torch.manual_seed(0)
    found: dict[str, Program] = {}
    for name in NEURONS:
        window: dict[str, Any] = {"res_window_size": 4, "ref_window_size": 3} if name == "csrm" else {}
        found[name] = load_model(name, {"n": 5, "traces": True, "sum_input": True} | window).program
        plain = {"shape": [1, 3], "traces": True, "traces_additive": True, "learning": False, "dt": 0.5}
        found[f"{name} fixed"] = load_model(name, plain | window).program
    found["difference-lif late"] = load_model("difference-lif", {"n": 4, "reset_after": "leak", "decay": 0.9}).program
    found["lif one"] = load_model("lif", {"n": 1, "lbound": -68.0}).program
    examples = connection_examples()
    found |= {name: examples.network_with(name) for name in CONNECTIONS}
    for name, options in (
        ("diehl_cook_2015", {"n": 8, "n_input": 40}),
        ("conv_lif", {"size": 6, "channels": 2}),
        ("reservoir_srm0", {"n": 30, "n_input": 16}),
        ("csrm_window", {"n": 8, "n_input": 16}),
        ("izhikevich_2003", {"n": 20}),
        ("adapting_population", {"n": 8}),
    ):
        network = load_model(f"models/{name}.py", options).program
        if isinstance(network, Network):
            snap_weights(network.connections, 10)
        found[name] = network
    return found | {"hazards": hazards(), "mutual": mutual(), "pooling": counted_pooling(), HOSTILE: hostile_names()}


@dataclass
class Model:
    """A model of the joint library."""

    program: Program
    source: CSource
    library: Any

    def call(self, name: str, *arguments: Any, result: Any = ctypes.c_int) -> Any:
        function = getattr(self.library, f"{self.source.prefix}_{name}")
        function.restype = result
        return function(*arguments)

    def memory(self, rows: int) -> Any:
        return ctypes.create_string_buffer(rows * self.call("state_size", result=ctypes.c_size_t))

    def load(self, memory: Any, rows: int, state: Arrays) -> int:
        arrays = [np.ascontiguousarray(state[spec.name]) for spec in self.program.contract.states]
        return self.call("load_state", memory, rows, pointers(arrays)) if arrays else 0

    def state(self, memory: Any, rows: int) -> Arrays:
        found = {s.name: np.zeros(s.shape(batch=rows), s.dtype) for s in self.program.contract.states}
        if found:
            self.call("store_state", memory, rows, pointers(found.values()), result=None)
        return found

    def run(self, memory: Any, rows: int, inputs: Arrays) -> Arrays:
        given = [np.ascontiguousarray(inputs[spec.name]) for spec in self.program.contract.inputs]
        outputs = {s.name: np.zeros((len(given[0]), *s.shape(batch=rows)), s.dtype) for s in self.program.contract.outputs}
        self.call("run", memory, rows, len(given[0]), pointers(given), pointers(outputs.values()), result=None)
        return outputs


def pointers(arrays: Any) -> Any:
    addresses = [array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def draw(name: str, program: Program, rows: int) -> Arrays:
    """Inputs that make the model fire."""
    rng = np.random.default_rng(rows)
    single = any(name.startswith(neuron) for neuron in NEURONS)
    scale = 60 if name.startswith("izhikevich") else 20 if single or name == "adapting_population" else 1
    scale = 4 if name == "mutual" else scale
    inputs = {}
    for spec in program.contract.inputs:
        drawn = rng.random((STEPS, *spec.shape(batch=rows)), np.float32)
        inputs[spec.name] = drawn if spec.role == "noise" else (drawn < 0.4).astype(np.float32) * scale
    return inputs


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """All models in one library. Its folder has the sources, and a golden check of each."""
    folder = tmp_path_factory.mktemp("joint")
    sources: dict[str, tuple[Program, CSource]] = {}
    for number, (name, program) in enumerate(models().items()):
        program.requires_grad_(requires_grad=False)
        golden = golden_trace(program, 12, 0)
        assert golden is not None
        own = name if name == HOSTILE else f"m{number}"
        source = c_source(Lowered(program, name=own, golden=golden[0]), header_name=f"{number}.h", check_steps=12)
        (folder / f"{number}.h").write_text(source.header)
        (folder / f"{number}.c").write_text(source.source)
        sources[name] = (program, source)
    files = [f"{number}.c" for number in range(len(sources))]
    subprocess.run(
        ["cc", *STRICT, "-fstack-usage", "-shared", "-fPIC", *files, "-o", "joint.so", "-lm"], cwd=folder, check=True
    )
    library = ctypes.CDLL(str(folder / "joint.so"))
    return {name: Model(program, source, library) for name, (program, source) in sources.items()}


def folder_of(built: dict[str, Model]) -> Path:
    return Path(next(iter(built.values())).library._name).parent


def assert_equal(model: Model, actual: Arrays, expected: Arrays, *, what: str) -> None:
    exact = not model.program.contract.rounding or all(r.operation == "sum" for r in model.program.contract.rounding)
    for name, array in expected.items():
        if exact or array.dtype == np.bool_:
            assert_array_equal(actual[name], array, f"{what}: {name}")
        else:
            np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=1e-5, err_msg=f"{what}: {name}")


def test_every_model_is_equal_to_eager(built: dict[str, Model]) -> None:
    """In one call that keeps the state, and step by step from the state of eager torch; for one row and for three."""
    for name, model in built.items():
        for rows in (1, 3):
            what = f"{name}, {rows} rows"
            inputs = draw(name, model.program, rows)
            start = {k: v.numpy().copy() for k, v in model.program.initial_state(rows).items()}
            trace = record(model.program, inputs, start)
            memory = model.memory(rows)
            assert model.load(memory, rows, start) == 0, what
            outputs = model.run(memory, rows, inputs)
            assert any(array.any() for array in outputs.values()), f"{what}: no output at all"
            assert_equal(model, outputs, trace.outputs, what=what)
            assert_equal(model, model.state(memory, rows), at(trace.states, -1), what=what)
            for step in range(0, STEPS, 7):
                assert model.load(memory, rows, trace.state_before(step)) == 0, what
                now = model.run(memory, rows, {k: v[step : step + 1] for k, v in inputs.items()})
                assert_equal(model, at(now, 0), at(trace.outputs, step), what=f"{what}, step {step}")
                assert_equal(model, model.state(memory, rows), at(trace.states, step), what=f"{what}, step {step}")


def test_initial_states(built: dict[str, Model]) -> None:
    for model in built.values():
        memory = model.memory(1)
        model.call("initial_state", memory, result=None)
        expected = {name: value.numpy() for name, value in model.program.initial_state(1).items()}
        assert_equal(model, model.state(memory, 1), expected, what=model.source.prefix)


def test_the_contract_is_inside(built: dict[str, Model]) -> None:
    for model in built.values():
        text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(model.library, f"{model.source.prefix}_contract")))
        assert type(model.program.contract).parse(text, "contract") == model.program.contract


def test_only_named_library_functions_and_a_small_stack(built: dict[str, Model]) -> None:
    folder = folder_of(built)
    symbols = subprocess.run(["nm", "-u", "joint.so"], cwd=folder, capture_output=True, text=True, check=True).stdout
    undefined = {line.split()[-1].partition("@")[0] for line in symbols.splitlines() if line.split()[0] == "U"}
    assert undefined <= LIBRARY_FUNCTIONS
    frames = [line.split("\t") for path in folder.glob("*.su") for line in path.read_text().splitlines()]
    assert len(frames) > len(built)
    # "dynamic,bounded" is for the arguments of a call with many of them.
    assert not [frame for frame in frames if frame[2] not in ("static", "dynamic,bounded") or int(frame[1]) > STACK]
    data = subprocess.run(["nm", "joint.so"], cwd=folder, capture_output=True, text=True, check=True).stdout
    own = [line for line in data.splitlines() if line.split()[-1].startswith(("m0_", "m1_", "evil_"))]
    assert own
    assert not [line for line in own if line.split()[-2] in "dDbB"]  # no variable that could change


def test_golden_checks_under_sanitizers(built: dict[str, Model]) -> None:
    """Each model checks itself, in one program that AddressSanitizer and UndefinedBehaviorSanitizer watch."""
    folder = folder_of(built)
    prefixes = [model.source.prefix for model in built.values()]
    includes = "".join(f'#include "{number}.h"\n' for number in range(len(prefixes)))
    calls = "".join(
        f'    {{ static {p}_check_memory memory; if ({p}_check(&memory)) {{ puts("{p}"); }} }}\n' for p in prefixes
    )
    (folder / "main.c").write_text(f"#include <stdio.h>\n{includes}int main(void) {{\n{calls}    return 0;\n}}\n")
    files = ["main.c", *(f"{number}.c" for number in range(len(prefixes)))]
    sanitize = "-fsanitize=address,undefined"
    flags = ["-std=c99", "-O1", "-ffp-contract=off", sanitize, "-fno-sanitize-recover=all"]
    subprocess.run(["cc", *flags, *files, "-o", "checks", "-lm"], cwd=folder, check=True)
    done = subprocess.run(["./checks"], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_check_finds_another_result(tmp_path: Path) -> None:
    program = load_model("lif", {"n": 4}).program
    golden = golden_trace(program, 12, 0)
    assert golden is not None
    source = c_source(Lowered(program, name="lif", golden=golden[0]), header_name="lif.h", check_steps=12)
    (tmp_path / "lif.h").write_text(source.header)
    (tmp_path / "lif.c").write_text(source.source.replace("thresh = -52.0f", "thresh = -60.0f"))
    main = '#include "lif.h"\nint main(void) { static lif_check_memory m; return lif_check(&m); }\n'
    (tmp_path / "main.c").write_text(main)
    subprocess.run(["cc", "-std=c99", "main.c", "lif.c", "-o", "check"], cwd=tmp_path, check=True)
    assert 0 < subprocess.run(["./check"], cwd=tmp_path, check=False).returncode <= 12


def test_spike_lists(built: dict[str, Model]) -> None:
    """A step of spike lists is a step of the dense input; an index out of range changes nothing."""
    model = built["diehl_cook_2015"]
    inputs = draw("diehl_cook_2015", model.program, 1)
    dense, listed = model.memory(1), model.memory(1)
    for memory in (dense, listed):
        model.call("initial_state", memory, result=None)
    scratch = np.zeros(40, np.float32)

    class Events(ctypes.Structure):
        _fields_ = (
            ("x", ctypes.c_void_p),
            ("count", ctypes.c_int32),
            ("dense", ctypes.c_void_p),
            ("noise", ctypes.c_void_p),
        )

    def events(indices: Any, noise: Any) -> int:
        outputs = [np.zeros(8, np.uint8) for _ in range(2)]
        given = Events(indices.ctypes.data, len(indices), scratch.ctypes.data, noise.ctypes.data)
        return model.call("step_events", listed, ctypes.byref(given), pointers(outputs))

    for step in range(60):
        now = {name: array[step : step + 1] for name, array in inputs.items()}
        model.run(dense, 1, now)
        indices = np.flatnonzero(now["X.x"]).astype(np.int32)
        assert events(indices, np.ascontiguousarray(now["exc.noise"])) == 0
        assert not scratch.any()
    before = model.state(listed, 1)
    assert_equal(model, before, model.state(dense, 1), what="lists")
    for wrong in (40, -1):
        assert events(np.array([3, wrong], np.int32), np.zeros(8, np.float32)) == -1
    assert_equal(model, model.state(listed, 1), before, what="refused list")


def test_spikes_must_be_spikes(built: dict[str, Model]) -> None:
    model = built["diehl_cook_2015"]
    state = {name: value.numpy().copy() for name, value in model.program.initial_state(1).items()}
    memory = model.memory(1)
    assert model.load(memory, 1, state) == 0
    state["X.previous"][0, 3] = 0.5
    assert model.load(memory, 1, state) == -1


def test_hostile_names_stay_outside(built: dict[str, Model]) -> None:
    source = built[HOSTILE].source
    assert source.prefix.isidentifier()
    assert source.prefix.isascii()
    assert "int main(void) {" not in source.source + source.header
    assert (source.source + source.header).isascii()


def test_integer_weights() -> None:
    """The smallest type that holds the weights; none if a sum could round, or if they are not on a grid."""
    for largest, expected in ((127, Type.INT8), (-127, Type.INT8), (128, Type.INT16), (32768, None), (0.1, None)):
        w = torch.tensor([largest, 1.0, -1.0]) / 16
        found = integer_weights(w, float(w.abs().sum()))
        assert (found and found.type) == expected
        if found:
            assert_array_equal(found.values * found.scale, w.numpy())
    w = torch.tensor([127.0, 1.0])
    assert integer_weights(w, 2.0**24) is not None
    assert integer_weights(w, 2.0**24 + 2) is None
    coarse = integer_weights(torch.tensor([4096.0, 64.0]), 4160.0)
    assert coarse is not None
    assert (coarse.type, coarse.scale) == (Type.INT8, 64.0)


def test_snapped_weights_are_integers(built: dict[str, Model]) -> None:
    parameters = {entry["name"]: entry for entry in built["diehl_cook_2015"].source.parameters}
    assert parameters["X_to_exc_w"]["type"] in ("int8", "int16")
    assert parameters["X_to_exc_w"]["scale"] == 2.0**-10
    assert "sums" in built["diehl_cook_2015"].source.source


def test_large_weights_are_in_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network()
    network.add_layer(Input(n=600), "x")
    network.add_layer(LIFNodes(n=500), "y")
    network.add_connection(Dense(torch.rand(600, 500)), "x", "y")
    bundle = export(network, tmp_path / "large", formats=["c"], golden_steps=12)
    assert (tmp_path / "large" / "model.weights").stat().st_size == 600 * 500 * 4
    assert len(bundle.file("model.c").read_text()) < 30_000
    session, eager = bundle.session("c", batch=2), bundle.session("eager", batch=2)
    x = (np.random.default_rng(0).random((20, 2, 600)) < 0.1).astype(np.float32)
    assert_array_equal(session.run(x)["y.s"], eager.run(x)["y.s"])
    np.testing.assert_allclose(session.state["y.v"], eager.state["y.v"], rtol=1e-5)


class Cumulative(Connection):
    """An operator without a pattern."""

    def shape_error(self) -> str:
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        return torch.cumsum(z, 1)


def test_an_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    """By default the model is exported without C, and the manifest says why."""
    network = Network()
    network.add_layer(Input(n=3), "x")
    network.add_layer(LIFNodes(n=3), "y")
    network.add_connection(Cumulative(), "x", "y")
    message = r"format c cannot compile the operator aten\.cumsum\.default in x: export without the format c"
    with pytest.raises(Refusal, match=message):
        export(network, tmp_path / "asked", formats=["c"], golden_steps=0)
    bundle = export(network, tmp_path / "default", golden_steps=0)
    assert "aten.cumsum" in bundle.manifest.formats["c"]["refused"]
    assert "model.c" not in bundle.manifest.files
    assert "model.pt2" in bundle.manifest.files


def test_infinite_weights_are_refused() -> None:
    network = connection_examples().network_with("dense")
    network.connections[0].w[0, 0] = float("inf")
    with pytest.raises(Refusal, match="a_to_b: its weights hold NaN or an infinity"):
        c_source(Lowered(network), header_name="model.h")


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the package ziglang is not installed")
def test_clang_accepts_it_too(built: dict[str, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a system compiler, zig builds the library; the warnings of clang are errors as well."""
    from deploy_snn import c_compiler

    folder = folder_of(built)
    monkeypatch.setattr(c_compiler.shutil, "which", lambda _: None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    c_compiler.find_compiler.cache_clear()
    names = list(built)
    number = names.index("diehl_cook_2015")
    files = {f"{number}{end}": (folder / f"{number}{end}").read_text() for end in (".c", ".h")}
    try:
        path = c_compiler.build_library(files, flags=("-Wall", "-Wextra", "-Werror", "-pedantic"))
    finally:
        c_compiler.find_compiler.cache_clear()
    model = built["diehl_cook_2015"]
    other = Model(model.program, model.source, ctypes.CDLL(str(path)))
    inputs = draw("diehl_cook_2015", model.program, 1)
    memories = [m.memory(1) for m in (model, other)]
    for m, memory in zip((model, other), memories, strict=True):
        m.call("initial_state", memory, result=None)
        m.run(memory, 1, inputs)
    assert_equal(model, other.state(memories[1], 1), model.state(memories[0], 1), what="clang")


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the package ziglang is not installed")
def test_clang_warns_of_no_model(built: dict[str, Model]) -> None:
    """Of one model for each class, without a second one with other options."""
    flags = ["-std=c99", "-O0", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    files = [f"{number}.c" for number, name in enumerate(built) if not name.endswith(" fixed")]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *files, "-o", "clang.so", "-lm"]
    done = subprocess.run(command, cwd=folder_of(built), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


Exported = Callable[..., Any]


def test_the_runtime_in_parity_run_and_inspect(exported: Exported, command: Callable) -> None:
    bundle = exported("models/diehl_cook_2015.py", n=8, n_input=64, snap=10)
    status, shown, _ = command("parity", bundle.path, "--runtime", "c", "--steps", 30, "--batch", 2)
    assert status == 0, shown
    status, shown, _ = command("inspect", bundle.path)
    assert status == 0
    assert "X_to_exc_w" in shown
    assert "int16" in shown
    assert shutil.which("cc")


def test_a_model_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """With the numbers: the state struct is as large as the compiler says, but for padding."""
    path = Path(__file__).parents[2] / "models" / "conv_lif.py"
    network = load_model(path, {"size": 6, "channels": 2}).program
    fitting = export(network, tmp_path / "fits", formats=[C(flash=10_000, ram=10_000)], golden_steps=0)
    session = fitting.session("c")
    size = session._runtime._row_bytes
    for limits, message in (
        ({"ram": size // 2}, f"bytes of RAM for its state and scratch memory; the limit is {size // 2}"),
        ({"flash": 16}, "bytes of flash for its parameters; the limit is 16"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            export(network, tmp_path / "refused", formats=[C(**limits)], golden_steps=0)
        if "ram" in limits:
            needed = int(str(caught.value).split(" needs ")[1].split()[0])
            assert size - 64 <= needed <= size
        assert not (tmp_path / "refused").exists()
