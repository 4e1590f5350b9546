"""The compiled step as operators of torch, and the library that registers them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from deploy_snn import c_compiler, export, load_model
from deploy_snn.bundle import Bundle
from deploy_snn.bundle.bundle import file_record
from deploy_snn.eager import record, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import find_runtime
from deploy_snn.runtimes.torchscript_custom import link_flags

from .operator_models import STRICT, draw, models

RUNTIME = "torchscript-custom"
MODULE, SOURCE = "model.custom.pt", "model.custom.c"

# "Tensor" is a name of torch, and "für" is no identifier of C.
MODELS = models("Tensor", "für")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    folder = tmp_path_factory.mktemp("custom")

    def bundle(name: str) -> Bundle:
        if not (folder / name).exists():
            build, snap = MODELS[name]
            export(build(), folder / name, formats=[RUNTIME], golden_steps=20, snap_bits=snap)
        return Bundle.open(folder / name)

    return bundle


@pytest.mark.parametrize("name", MODELS)
def test_steps_and_a_run(name: str, bundles: Callable[[str], Bundle]) -> None:
    """They are equal to eager torch, in every output and state. A method is one operator."""
    bundle = bundles(name)
    runtime = find_runtime(RUNTIME, bundle)(bundle)
    for method in (runtime.script.forward, runtime.script.rollout):
        kinds = [node.kind() for node in method.graph.nodes()]
        assert len([kind for kind in kinds if kind.startswith("deploy_snn::")]) == 1
        others = {kind for kind in kinds if kind.startswith("aten::")}
        assert others <= {"aten::__getitem__", "aten::_set_item"}
    assert ("model.weights" in bundle.manifest.files) is (name == "recorded")
    for batch in (1, 3):
        inputs, start = draw(bundle, 40, batch), bundle.initial_state(batch)
        for key, array in runtime.initial_state(batch).items():
            assert_array_equal(array, start[key])
        trace = record(reference_program(bundle), inputs, start)
        assert any(array.any() for array in trace.spikes)
        runtime.start(start)
        for step in range(40):
            outputs = runtime.step({key: array[step] for key, array in inputs.items()})
            for key, array in outputs.items():
                assert_array_equal(array, trace.outputs[key][step], f"{key}, step {step}")
            for key, array in runtime.state().items():
                assert_array_equal(array, trace.states[key][step], f"{key}, step {step}")
        runtime.start(start)
        for first, end in ((0, 17), (17, 40)):
            for key, array in runtime.run({key: array[first:end] for key, array in inputs.items()}).items():
                assert_array_equal(array, trace.outputs[key][first:end], key)
        for key, array in runtime.state().items():
            assert_array_equal(array, trace.states[key][-1], key)


def test_parity(bundles: Callable[[str], Bundle], command: Callable[..., tuple[int, str, str]]) -> None:
    stimuli = "golden,poisson,threshold"
    status, shown, _ = command(
        "parity", bundles("diehl_cook_2015").path, "--runtime", RUNTIME, "--stimulus", stimuli, "--steps", 30
    )
    assert status == 0, shown
    assert RUNTIME in shown


def test_learning(tmp_path: Path) -> None:
    """Weights learn, and are normalised at the end of a sample. Sums over them have another order in C."""
    network = load_model("models/diehl_cook_2015.py", n=6, n_input=20, plastic=True)
    bundle = export(network, tmp_path / "plastic", formats=[RUNTIME], golden_steps=0)
    inputs = draw(bundle, 60, 2)
    sessions = [bundle.session(name, batch=2) for name in ("eager", RUNTIME)]
    for session in sessions:
        for first in (0, 30):
            session.run({name: array[first : first + 30] for name, array in inputs.items()})
            session.normalise()
    expected, found = (session.state for session in sessions)
    weights = [spec.name for spec in bundle.contract.weights]
    assert weights
    for name in weights:
        assert np.abs(found[name] - bundle.initial_state(1)[name]).max() > 0.01
    for name, array in found.items():
        assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def build(bundle: Bundle, library: Path) -> Path:
    """With the command of docs/c.md, and every warning an error."""
    subprocess.run(["cc", *STRICT, SOURCE, "-o", str(library), *link_flags(), "-lm"], cwd=bundle.path, check=True)
    return library


LOAD = """
import sys, warnings
import torch
warnings.simplefilter("ignore")
torch.ops.load_library(sys.argv[1])
module = torch.jit.load(sys.argv[2])
state = module.initial_state(2)
print(len(module({name: torch.zeros(2, 40 if name == "X.x" else 8) for name in sys.argv[3:]}, state)[1]) == len(state))
"""


def test_the_library_in_a_process_without_deploy_snn(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    """The process ends without a word, after torch has forgotten the operators."""
    bundle = bundles("diehl_cook_2015")
    library = build(bundle, tmp_path / "model.so")
    names = [spec.name for spec in bundle.contract.inputs]
    command = [sys.executable, "-I", "-c", LOAD, library, bundle.file(MODULE), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_what_the_operators_are_given_is_checked(bundles: Callable[[str], Bundle]) -> None:
    bundle = bundles("diehl_cook_2015")
    module = find_runtime(RUNTIME, bundle)(bundle).script
    drawn = to_torch(draw(bundle, 2, 2))
    now, state = {name: tensor[0] for name, tensor in drawn.items()}, to_torch(bundle.initial_state(2))
    potential = next(spec.name for spec in bundle.contract.states if spec.kind == "potential")
    spikes = next(spec.name for spec in bundle.contract.states if spec.kind == "previous")
    before = {name: tensor.clone() for name, tensor in state.items()}
    expected = module(now, state)
    turned = {name: tensor.T.contiguous().T for name, tensor in now.items()}
    assert not any(tensor.is_contiguous() for tensor in turned.values())
    for found, wanted in zip(module(turned, state), expected, strict=True):
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    for name, tensor in state.items():
        assert torch.equal(tensor, before[name]), name
    shape, kind = "the shape of an input or a state is not that of the contract", "the type of an input or a state"
    no_rows = [{name: tensor[:0] for name, tensor in tensors.items()} for tensors in (now, state)]
    for method, inputs, given, message in (
        (module, now, state | {potential: state[potential][:1]}, shape),
        (module, now, state | {potential: state[potential][None]}, shape),
        (module, now, state | {potential: state[potential].double()}, kind),
        (module, now, state | {spikes: state[spikes] + 0.5}, "neither 0 nor 1"),
        (module, no_rows[0], no_rows[1], "the batch must have at least one row"),
        (module.rollout, now, state, shape),
        (module.rollout, {name: tensor[:0] for name, tensor in drawn.items()}, state, "must have at least one step"),
        (module.rollout, drawn | {"X.x": drawn["X.x"][:1]}, state, shape),
    ):
        with pytest.raises(RuntimeError, match=message):
            method(inputs, given)
    assert torch.equal(module(now, state)[1][potential], expected[1][potential])


def replaced(bundle: Bundle, path: Path, files: dict[str, bytes]) -> Bundle:
    """A copy of a bundle with other files, and their checksums in the manifest."""
    path.mkdir()
    for name in bundle.manifest.files:
        (path / name).write_bytes(files.get(name, bundle.file(name).read_bytes()))
    records = {name: file_record(path / name) for name in bundle.manifest.files}
    manifest = bundle.manifest.model_copy(update={"files": records})
    (path / "manifest.json").write_text(manifest.model_dump_json())
    return Bundle.open(path)


def test_parity_finds_a_fault_in_the_source(tmp_path: Path) -> None:
    """In a process of its own: this one has the operators of the correct source."""
    bundle = export(load_model("lif", n=6), tmp_path / "lif", formats=[RUNTIME], golden_steps=0)
    source = bundle.file(SOURCE).read_text()
    assert ">= thresh" in source
    wrong = replaced(bundle, tmp_path / "wrong", {SOURCE: source.replace(">= thresh", "> thresh").encode()})
    command = [sys.executable, "-m", "deploy_snn", "parity", wrong.path, "--runtime", RUNTIME, "--stimulus", "threshold"]
    done = subprocess.run([*command, "--steps", "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "s first differs at step" in done.stdout, done.stdout


def test_the_source_of_another_model_is_refused(tmp_path: Path) -> None:
    """One of the same name, with another threshold: the source was written before the model was exported again."""
    one, two = (
        export(load_model("lif", n=3, thresh=thresh), tmp_path / str(thresh) / "lif", formats=[RUNTIME], golden_steps=0)
        for thresh in (-50.0, -51.0)
    )
    mixed = replaced(one, tmp_path / "mixed", {SOURCE: two.file(SOURCE).read_bytes()})
    message = r"model\.custom\.c has no operator lif_step_\w+: it is the source of another model"
    with pytest.raises(InvalidInput, match=message):
        find_runtime(RUNTIME, mixed)(mixed)


def test_a_module_with_the_contract_of_another_model_is_refused(tmp_path: Path) -> None:
    one, two = (
        export(load_model("lif", n=3, dt=dt), tmp_path / str(dt) / "lif", formats=[RUNTIME], golden_steps=0)
        for dt in (1.0, 0.5)
    )
    find_runtime(RUNTIME, two)(two)
    mixed = replaced(one, tmp_path / "mixed", {MODULE: two.file(MODULE).read_bytes()})
    with pytest.raises(InvalidInput, match="differs from the manifest: dt"):
        find_runtime(RUNTIME, mixed)(mixed).initial_state(1)


def test_without_a_compiler(
    bundles: Callable[[str], Bundle], command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    c_compiler.find_compiler.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(c_compiler.shutil, "which", lambda _: None)
    monkeypatch.setattr(c_compiler, "find_spec", lambda _: None)
    status, _, shown = command("parity", bundles("input").path, "--runtime", RUNTIME)
    c_compiler.find_compiler.cache_clear()
    assert status == 3
    assert "no C compiler was found" in " ".join(shown.split())
