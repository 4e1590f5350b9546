"""The hosts compute the same bits as Python, and continue from each other's states."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import unavailable_reason
from deploy_snn.runtimes.torchscript_custom import link_flags
from deploy_snn.tensors import Arrays, read_tensors, write_tensors

pytestmark = pytest.mark.hosts

ROOT = Path(__file__).parent.parent.parent.parent
REFERENCES = sorted(path.parent for path in (ROOT / "export").glob("*/manifest.json"))
MODELS = ["current-lif", "diehl-and-cook", "csrm", str(ROOT / "models" / "diehl_cook_2015.py")]


@pytest.mark.parametrize("host", ["torch", "ort"])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.name)
def test_every_reference(reference: Path, host: str, build) -> None:
    done = build.hosts[host]("check", reference)
    message = f"{reference.name}: 200 steps of a batch of 2, step by step and as a sequence: all equal\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, message, "")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A shared library for every reference bundle, built with the command of the README."""
    folder = tmp_path_factory.mktemp("libraries")
    readme = (ROOT / "serve" / "cpp" / "README.md").read_text()
    command = next(line for line in readme.splitlines() if line.startswith("$ cc -std=c99"))
    words = command.removeprefix("$ ").split()
    built = {}
    for reference in REFERENCES:
        built[reference.name] = folder / f"{reference.name}.so"
        places = {"export/lif/model.c": reference / "model.c", "lif.so": built[reference.name]}
        subprocess.run([str(places.get(word, word)) for word in words], check=True)
    return built


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.name)
def test_every_reference_compiled(reference: Path, libraries: dict[str, Path], build) -> None:
    done = build.hosts["c"]("check", reference, "--library", libraries[reference.name], *tolerance_of(reference))
    message = f"{reference.name}: 200 steps of a batch of 2, step by step and as a sequence: all equal\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, message, "")


def tolerance_of(reference: Path) -> tuple[str, ...]:
    """The option for a model whose contract allows other last bits."""
    return ("--tolerance", "1e-5") if Bundle.open(reference).contract.rounding else ()


def where_cuda_is_usable(host: str, runtime: str) -> Any:
    reason = unavailable_reason(runtime)
    return pytest.param(host, marks=pytest.mark.skipif(reason is not None, reason=f"{runtime}: {reason}"))


@pytest.mark.cuda
@pytest.mark.parametrize(
    "host", [where_cuda_is_usable("torch", "torchscript-cuda"), where_cuda_is_usable("ort", "onnxruntime-cuda")]
)
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.name)
def test_every_reference_on_cuda(reference: Path, host: str, build, monkeypatch: pytest.MonkeyPatch) -> None:
    if build.sanitized:
        pytest.skip("CUDA and AddressSanitizer claim the same addresses")
    wheels = [str(path) for path in (Path(onnxruntime.__file__).parent.parent / "nvidia").glob("*/lib")]
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([*wheels, os.environ.get("LD_LIBRARY_PATH", "")]))
    done = build.hosts[host]("check", reference, "--device", "cuda", *tolerance_of(reference))
    if done.returncode == 3 and "the graph needs cuDNN" in done.stderr:
        pytest.skip(done.stderr.strip())
    message = f"{reference.name}: 200 steps of a batch of 2, step by step and as a sequence: all equal\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, message, "")


@pytest.mark.parametrize("host", ["aoti", "c"])
@pytest.mark.parametrize("model", MODELS)
def test_a_compiled_step(model: str, host: str, compiled: Callable[[str], Bundle], build) -> None:
    done = build.hosts[host]("check", compiled(model).path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all equal" in done.stdout


@pytest.mark.parametrize("model", MODELS[:1] + MODELS[-1:])
def test_the_compiled_operator(model: str, compiled: Callable[[str], Bundle], headers: Path, build, tmp_path: Path) -> None:
    """ONNX Runtime runs step.custom.onnx with the library of its source."""
    bundle, library = compiled(model), tmp_path / "step.custom.so"
    include = headers / "usr" / "include" / "onnxruntime"
    flags = ["-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC", f"-I{include}"]
    subprocess.run(["cc", *flags, bundle.file("step.custom.c"), "-o", library, "-lm"], check=True)
    done = build.hosts["ort"]("check", bundle.path, "--operators", library)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all equal" in done.stdout
    message = "the library of operators cannot be loaded"
    build.hosts["ort"].refuses(3, message, "check", bundle.path, "--operators", tmp_path / "none.so")


@pytest.mark.parametrize("model", MODELS[:1] + MODELS[-1:])
def test_the_compiled_operators_of_torch(model: str, compiled: Callable[[str], Bundle], build, tmp_path: Path) -> None:
    """libtorch runs model.custom.pt with the library of its source. A library of another model is refused."""
    bundle, library, other = compiled(model), tmp_path / "model.custom.so", tmp_path / "other.so"
    another = compiled(next(name for name in MODELS if name != model))
    flags = ["-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC", *link_flags()]
    for path, source in ((library, bundle), (other, another)):
        subprocess.run(["cc", source.file("model.custom.c"), "-o", path, *flags, "-lm"], check=True)
    torch_host = build.hosts["torch"]
    done = torch_host("check", bundle.path, "--operators", library)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all equal" in done.stdout
    if not build.sanitized:  # libtorch leaks what it has read of a module whose operator is unknown
        torch_host.refuses(2, "build model.custom.c of this bundle", "check", bundle.path, "--operators", other)
    missing = "the library of operators cannot be loaded"
    torch_host.refuses(3, missing, "check", bundle.path, "--operators", tmp_path / "none.so")


def draw(bundle: Bundle, steps: int, batch: int) -> Arrays:
    rng = np.random.default_rng(steps + batch)
    return {
        spec.name: rng.random((steps, *spec.shape(batch=batch)), np.float32) * (1 if spec.role == "noise" else 25)
        for spec in bundle.contract.inputs
    }


@pytest.mark.parametrize("hosts", [("torch", "ort"), ("ort", "aoti"), ("aoti", "c"), ("c", "torch")])
@pytest.mark.parametrize("model", MODELS)
def test_a_run_continues_in_another_process_and_host(
    model: str, hosts: tuple[str, str], compiled: Callable[[str], Bundle], build, tmp_path: Path
) -> None:
    """The host reads files of Python, and writes the same bytes as Python would."""
    bundle = compiled(model)
    for batch in (1, 3):
        inputs = draw(bundle, 40, batch)
        trace = record(reference_program(bundle), inputs, bundle.initial_state(batch))
        assert any(array.any() for array in trace.spikes)
        state: list[object] = []
        for name, host, begin, end in (("a", hosts[0], 0, 15), ("b", hosts[1], 15, 40)):
            paths = {part: tmp_path / f"{name}{batch}-{part}" for part in ("in", "out", "state")}
            write_tensors(paths["in"], {key: array[begin:end] for key, array in inputs.items()})
            done = build.hosts[host](
                "run", bundle.path, "--input", paths["in"], "--output", paths["out"], "--state-out", paths["state"], *state
            )
            assert (done.returncode, done.stderr) == (0, "")
            write_tensors(tmp_path / "expected", {key: array[begin:end] for key, array in trace.outputs.items()})
            assert paths["out"].read_bytes() == (tmp_path / "expected").read_bytes()
            write_tensors(tmp_path / "expected", {key: array[end - 1] for key, array in trace.states.items()})
            assert paths["state"].read_bytes() == (tmp_path / "expected").read_bytes()
            state = ["--state-in", paths["state"]]


@pytest.mark.parametrize("host", ["torch", "ort", "c"])
def test_shapes_of_many_axes_and_programs_without_a_state(host: str, libraries, build, tmp_path: Path) -> None:
    for name in ("conv_lif", "input"):
        bundle = Bundle.open(ROOT / "export" / name)
        trace = record(reference_program(bundle), draw(bundle, 20, 5), bundle.initial_state(5))
        write_tensors(tmp_path / "in", trace.inputs)
        library = ("--library", libraries[name]) if host == "c" else ()
        done = build.hosts[host]("run", bundle.path, "--input", tmp_path / "in", "--output", tmp_path / "out", *library)
        assert done.returncode == 0, done.stderr
        outputs = read_tensors(tmp_path / "out")
        for key, array in trace.outputs.items():
            assert_array_equal(outputs[key], array)
        assert done.stdout == f"20 steps of a batch of 5: {sum(int(array.sum()) for array in trace.spikes)} spikes\n"


@pytest.mark.parametrize("host", ["torch", "aoti", "ort", "c"])
def test_a_mismatch_is_found_and_named(host: str, compiled: Callable[[str], Bundle], build, tmp_path: Path) -> None:
    """A golden trace with one spike inverted, and one with a potential that differs in its last bit."""
    for tensor, step, message in (
        ("outputs/s", 7, "s differs at [1, 3]: expected"),
        ("states/v", 199, "v differs at [1, 3]: expected -"),
    ):
        path = tmp_path / tensor.replace("/", "-")
        shutil.copytree(compiled("current-lif").path, path)
        golden = read_tensors(path / "golden.safetensors")
        value = golden[tensor][step, 1, 3]
        golden[tensor][step, 1, 3] = not value if value.dtype == bool else np.nextafter(value, np.float32(0))
        rewrite(path, "golden.safetensors", golden)
        done = build.hosts[host]("check", path)
        assert (done.returncode, done.stderr) == (1, "")
        at_once, by_step = done.stdout.splitlines()
        assert f"step by step: at step {step} " in by_step
        assert message in by_step
        assert "as a sequence: " in at_once
        # --tolerance allows a difference in a last bit, and never one in a spike.
        status = build.hosts[host]("check", path, "--tolerance", "1e-5").returncode
        assert status == (1 if tensor == "outputs/s" else 0)


def rewrite(bundle: Path, name: str, tensors: Arrays) -> None:
    """Replace a file of a bundle, and its checksum in the manifest."""
    write_tensors(bundle / name, tensors)
    manifest = json.loads((bundle / "manifest.json").read_text())
    data = (bundle / name).read_bytes()
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("host", ["torch", "aoti", "ort", "c"])
def test_bench(host: str, compiled: Callable[[str], Bundle], build) -> None:
    done = build.hosts[host]("bench", compiled("current-lif").path, "--steps", 300, "--batch", 2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["bundle"], found["steps"], found["batch"]) == ("current-lif", 300, 2)
    assert 0 < found["p50"] <= found["p99"] <= found["p999"] <= found["largest"]
    assert found["sequence"] > 0
    assert "p50" in build.hosts[host]("bench", compiled("current-lif").path, "--steps", 10).stdout
