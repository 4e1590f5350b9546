"""step.onnx in ONNX Runtime for JavaScript, in Node and in a browser."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, which
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from playwright.sync_api import Page, expect

from deploy_snn.bundle import Bundle, Trace
from deploy_snn.eager import record
from deploy_snn.reference import reference_program
from deploy_snn.tensors import read_tensors, write_tensors

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PACKAGES = ROOT / "serve" / "web" / "node_modules"
NODE = which("node")
STEPS, ROWS = 25, 3

BUNDLES = {path.name: Bundle.open(path) for path in sorted((ROOT / "export").iterdir()) if path.is_dir()}
EXACT = [name for name, bundle in BUNDLES.items() if not bundle.contract.rounding]


def skip_if_missing(name: str) -> None:
    if NODE is None or not (PACKAGES / name).is_dir():
        pytest.skip(f"{name} is not installed: run ONNXRUNTIME_NODE_INSTALL=skip npm install in serve/web")


def recording(bundle: Bundle, path: Path) -> Trace:
    """Write random inputs and noise to a file, and return the results of eager torch."""
    rng = np.random.default_rng(2)
    inputs = {}
    for spec in bundle.contract.inputs:
        x = rng.random((STEPS, *spec.shape(batch=ROWS)), np.float32)
        inputs[spec.name] = x if spec.role == "noise" else np.where(x < 0.3, 150 * x, 0).astype(np.float32)
    write_tensors(path, inputs)
    return record(reference_program(bundle), inputs, bundle.initial_state(ROWS))


def run_node(folder: Path, *bundles: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(NODE), str(HERE / "onnxruntime.mjs"), str(folder), *map(str, bundles)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_node_equals_eager(tmp_path: Path) -> None:
    """Node checks the golden trace of every reference bundle, and equals eager torch for the exact ones."""
    skip_if_missing("onnxruntime-node")
    traces = {name: recording(bundle, tmp_path / f"{name}.safetensors") for name, bundle in BUNDLES.items()}
    found = run_node(tmp_path, *(bundle.path for bundle in BUNDLES.values()))
    assert {name: result["wrong"] for name, result in found.items()} == dict.fromkeys(BUNDLES)
    assert {name for name, result in found.items() if result["exact"]} == set(EXACT)
    for name, bundle in BUNDLES.items():
        golden = bundle.golden()
        compared = sum(array.size for array in (*golden.outputs.values(), *golden.states.values()))
        assert (found[name]["steps"], found[name]["compared"]) == (golden.steps, compared)
    for name, bundle in BUNDLES.items():
        outputs = read_tensors(tmp_path / f"{name}-node.safetensors")
        for key, expected in bundle.initial_state(ROWS).items():
            assert_array_equal(outputs.pop(f"start/{key}"), expected, err_msg=name)
        if name not in EXACT:
            continue
        for key, expected in traces[name].outputs.items():
            assert_array_equal(outputs.pop(f"outputs/{key}"), expected, err_msg=name)
        for key, series in traces[name].states.items():
            assert_array_equal(outputs.pop(f"last/{key}"), series[-1], err_msg=name)
        assert not outputs


def test_errors(tmp_path: Path) -> None:
    """Errors: a wrong golden trace, a graph of another model, a damaged graph, and a folder without a bundle."""
    skip_if_missing("onnxruntime-node")
    wrong, other, cut = (copytree(ROOT / "export" / "lif", tmp_path / name) for name in ("wrong", "other", "cut"))
    tensors = read_tensors(wrong / "golden.safetensors")
    tensors["outputs/s"][3, 1, 4] ^= True
    write_tensors(wrong / "golden.safetensors", tensors)
    (other / "step.onnx").write_bytes((ROOT / "export" / "izhikevich" / "step.onnx").read_bytes())
    (cut / "step.onnx").write_bytes((cut / "step.onnx").read_bytes()[:100])
    for path in (wrong, other, cut):
        recording(BUNDLES["lif"], tmp_path / f"{path.name}.safetensors")
    found = run_node(tmp_path, wrong, other, cut, tmp_path / "none")
    expected = {"step": 3, "tensor": "s", "index": 12}
    assert {key: found["wrong"]["wrong"][key] for key in expected} == expected
    assert "has the inputs x, v, u; the manifest names x, v, refrac_count" in found["other"]
    assert found["cut"].startswith("DeploySnnError: ONNX Runtime cannot load step.onnx")
    assert "manifest.json cannot be read" in found["none"]


def test_browser_equals_eager(serve: Callable[[Path], str], open_page: Callable[..., Page], tmp_path: Path) -> None:
    skip_if_missing("onnxruntime-web")
    name = "diehl_cook_2015"
    trace = recording(BUNDLES[name], tmp_path / "run.safetensors")
    others = [other for other in EXACT if other != name][:6]
    query = [("bundle", f"/export/{name}"), ("recording", "/run.safetensors")]
    page = open_page()
    page.route("**/run.safetensors", lambda route: route.fulfill(path=tmp_path / "run.safetensors"))
    address = serve(ROOT)
    found: dict[str, Any] = {}
    for parameters in (query, [("bundle", f"/export/{other}") for other in others]):
        page.goto(f"{address}tests/serve/web/onnxruntime.html?{urlencode(parameters)}")
        expect(page.locator("#found")).not_to_be_empty(timeout=30_000)
        found |= json.loads(page.locator("#found").inner_text())
    for key, expected in trace.outputs.items():
        assert_array_equal(np.array(found["outputs"][key]), expected.ravel())
    for key, series in trace.states.items():
        assert_array_equal(np.array(found["last"][key], np.float32), series[-1].ravel())
    for bundle in (name, *others):
        assert found[f"/export/{bundle}"]["wrong"] is None
        assert found[f"/export/{bundle}"]["exact"]
