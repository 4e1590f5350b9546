"""The compiled step as one operator of ONNX Runtime, with its library and without it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.testing import assert_array_equal

from deploy_snn import export, load_model
from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import find_runtime
from deploy_snn.runtimes.step_file import StepFile

from .operator_models import STRICT, draw, models


@pytest.fixture(autouse=True)
def include(headers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = headers / "usr" / "include" / "onnxruntime"
    monkeypatch.setenv("ONNXRUNTIME_INCLUDE_DIR", str(folder))
    return folder


MODELS = models("x", "y")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    folder = tmp_path_factory.mktemp("custom")

    def bundle(name: str) -> Bundle:
        if not (folder / name).exists():
            build, snap = MODELS[name]
            export(build(), folder / name, formats=["onnx-custom"], golden_steps=0, snap_bits=snap)
        return Bundle.open(folder / name)

    return bundle


@pytest.mark.parametrize("name", MODELS)
def test_with_and_without_the_library(name: str, bundles: Callable[[str], Bundle]) -> None:
    """The operator and its function body are equal to eager torch, in every output and state of every step."""
    bundle = bundles(name)
    graph = onnx.load(bundle.file("step.custom.onnx")).graph
    assert [node.op_type for node in graph.node] == ["Step"]
    assert not graph.initializer
    assert ("model.weights" in bundle.manifest.files) is (name == "recorded")
    for batch in (1, 3):
        inputs, start = draw(bundle, 40, batch), bundle.initial_state(batch)
        trace = record(reference_program(bundle), inputs, start)
        assert any(array.any() for array in trace.spikes)
        for runtime in (find_runtime("onnxruntime-custom")(bundle), StepFile(bundle.file("step.custom.onnx"))):
            runtime.start(start)
            for step in range(40):
                outputs = runtime.step({key: array[step] for key, array in inputs.items()})
                for key, array in outputs.items():
                    assert_array_equal(array, trace.outputs[key][step], f"{type(runtime).__name__}, {key}, step {step}")
                for key, array in runtime.state().items():
                    assert_array_equal(array, trace.states[key][step], f"{type(runtime).__name__}, {key}, step {step}")


def build(bundle: Bundle, include: Path, library: Path) -> Path:
    """With the command of docs/c.md, and every warning an error."""
    command = ["cc", *STRICT, "-isystem", include, "step.custom.c", "-o", library, "-lm"]
    subprocess.run(list(map(str, command)), cwd=bundle.path, check=True)
    return library


def session(bundle: Bundle, library: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library))
    return ort.InferenceSession(bundle.file("step.custom.onnx"), options, providers=["CPUExecutionProvider"])


def test_the_library_runs_and_checks_what_it_is_given(
    bundles: Callable[[str], Bundle], include: Path, tmp_path: Path
) -> None:
    bundle = bundles("diehl_cook_2015")
    opened = session(bundle, build(bundle, include, tmp_path / "step.so"))
    given = {name: array[0] for name, array in draw(bundle, 1, 2).items()} | bundle.initial_state(2)
    assert opened.run(None, given)
    one = next(spec.name for spec in bundle.contract.states if spec.kind == "potential")
    with pytest.raises(Exception, match="the shape of an input or a state is not that of the contract"):
        opened.run(None, given | {one: given[one][:1]})
    with pytest.raises(Exception, match="the batch must have at least one row"):
        opened.run(None, {name: array[:0] if array.shape[:1] == (2,) else array for name, array in given.items()})


def test_the_library_of_another_model_is_refused(bundles: Callable[[str], Bundle], include: Path, tmp_path: Path) -> None:
    """One of the same name, whose weights differ: a library that was built before the model was exported again."""
    torch.manual_seed(1)
    other = load_model("models/diehl_cook_2015.py", n=8, n_input=40)
    stale = export(other, tmp_path / "diehl_cook_2015", formats=["onnx-custom"], golden_steps=0, snap_bits=9)
    with pytest.raises(Exception, match="the library was built from another model"):
        session(bundles("diehl_cook_2015"), build(stale, include, tmp_path / "step.so"))


def test_without_the_headers(
    bundles: Callable[[str], Bundle], command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXRUNTIME_INCLUDE_DIR", "/nowhere")
    status, _, shown = command("parity", bundles("input").path, "--runtime", "onnxruntime-custom")
    assert status == 3
    assert "set ONNXRUNTIME_INCLUDE_DIR to the folder with onnxruntime_c_api.h" in " ".join(shown.split())


def test_a_damaged_graph_is_refused(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    """A graph of the right name with the contract of another model."""
    model = onnx.load(bundles("input").file("step.custom.onnx"))
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"dt":1.0', '"dt":0.5')
    bundle = export(MODELS["input"][0](), tmp_path / "input", formats=["onnx-custom"], golden_steps=0)
    onnx.save(model, bundle.path / "step.custom.onnx")
    with pytest.raises(InvalidInput, match="differs from the manifest: dt"):
        find_runtime("onnxruntime-custom")(bundle)
