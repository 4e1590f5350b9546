"""Mutated graphs: parity exits with status 1 and names the first wrong tensor."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploy_snn.bundle import Bundle

Mutate = Callable[[onnx.GraphProto], None]
Command = Callable[..., tuple[int, str, str]]


def node(graph: onnx.GraphProto, operator: str, index: int = 0) -> onnx.NodeProto:
    return [n for n in graph.node if n.op_type == operator][index]


def producer(graph: onnx.GraphProto, value: str) -> onnx.NodeProto:
    return next(n for n in graph.node if value in n.output)


def greater_instead_of_greater_or_equal(graph: onnx.GraphProto) -> None:
    node(graph, "GreaterOrEqual").op_type = "Greater"


def mask_at_zero(graph: onnx.GraphProto) -> None:
    """Replace LIF's ``refrac_count > 0`` by ``>=``, so that a neuron is refractory at 0 too."""
    node(graph, "Greater").op_type = "GreaterOrEqual"


def count_down_first(graph: onnx.GraphProto) -> None:
    """Compute the mask from the refractory count after the decrement."""
    mask = node(graph, "Greater")
    fired = producer(graph, "next.refrac_count")
    countdown = producer(graph, fired.input[2])
    mask.input[0] = countdown.output[0]
    nodes = [countdown, *(n for n in graph.node if n is not countdown)]
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def no_mask(graph: onnx.GraphProto) -> None:
    """Add the drive also while the neuron is refractory."""
    masked = node(graph, "Where")
    masked.input[1] = masked.input[2]


def decay_off_by_one_ulp(graph: onnx.GraphProto) -> None:
    constant = next(c for c in graph.initializer if c.name == "neuron.decay")
    value = np.nextafter(numpy_helper.to_array(constant), np.float32(2))
    constant.CopyFrom(numpy_helper.from_array(value.astype(np.float32), "neuron.decay"))


def wrong_reset(graph: onnx.GraphProto) -> None:
    constant = next(c for c in graph.initializer if c.name == "neuron.reset")
    constant.CopyFrom(numpy_helper.from_array(np.array(-64, np.float32), "neuron.reset"))


def constant_theta(graph: onnx.GraphProto) -> None:
    grown = producer(graph, "next.theta")
    grown.input[1] = next(
        c.name for c in graph.initializer if numpy_helper.to_array(c).shape == () and not numpy_helper.to_array(c)
    )


def last_index_wins(graph: onnx.GraphProto) -> None:
    node(graph, "ArgMax").attribute.append(onnx.helper.make_attribute("select_last_index", 1))
    attributes = [a for a in node(graph, "ArgMax").attribute if a.name != "select_last_index" or a.i == 1]
    del node(graph, "ArgMax").attribute[:]
    node(graph, "ArgMax").attribute.extend(attributes)


CASES = [
    ("lif", greater_instead_of_greater_or_equal, "s"),
    ("lif", mask_at_zero, "s"),
    ("lif", count_down_first, "s"),
    ("lif", no_mask, "s"),
    ("lif", decay_off_by_one_ulp, "next.v"),
    ("lif", wrong_reset, "next.v"),
    ("if", greater_instead_of_greater_or_equal, "s"),
    ("current-lif", greater_instead_of_greater_or_equal, "s"),
    ("boosted-lif", no_mask, "s"),
    ("adaptive-lif", greater_instead_of_greater_or_equal, "s"),
    ("adaptive-lif", constant_theta, "next.theta"),
    ("diehl-and-cook", last_index_wins, "s"),
    ("izhikevich", greater_instead_of_greater_or_equal, "s"),
    ("csrm", greater_instead_of_greater_or_equal, "s"),
    ("mcculloch-pitts", greater_instead_of_greater_or_equal, "s"),
]


def mutant(bundle: Bundle, mutate: Mutate, folder: Path) -> Path:
    """Copy a bundle with a changed graph. Its checksums are valid."""
    copy = Path(shutil.copytree(bundle.path, folder / bundle.path.name))
    model = onnx.load(copy / "step.onnx")
    mutate(model.graph)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    assert data != (copy / "step.onnx").read_bytes()
    (copy / "step.onnx").write_bytes(data)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["step.onnx"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize("mode", ["locked", "free"])
@pytest.mark.parametrize(("name", "mutate", "tensor"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_mutant_is_reported(  # noqa: PLR0917  (pytest's fixtures come by position)
    name: str, mutate: Mutate, tensor: str, mode: str, exported: Callable[..., Bundle], command: Command, tmp_path: Path
) -> None:
    folder = mutant(exported(name, n=16), mutate, tmp_path)
    found = tmp_path / "report.json"
    common = ("--stimulus", "threshold", "--steps", 60, "--batch", 2, "--mode", mode, "--json", found)
    status, shown, _ = command("parity", folder, "--runtime", "onnxruntime-cpu,torchscript", *common)
    assert status == 1
    assert f"on onnxruntime-cpu, {mode}: {tensor} first differs at step" in shown
    wrong, right = (run for run in json.loads(found.read_text())["models"][0]["runs"] if run["mode"] == mode)
    assert right["equal"], "TorchScript has no fault"
    assert not wrong["equal"]
    assert wrong["divergence"]["tensor"] == tensor
    if tensor == "s" and name != "diehl-and-cook":
        assert wrong["divergence"]["verdict"].endswith("a bug")


def test_only_the_threshold_stimulus_detects_a_wrong_comparison(
    exported: Callable[..., Bundle], command: Command, tmp_path: Path
) -> None:
    """A Poisson drive does not detect > instead of >=, since no potential equals the threshold exactly."""
    folder = mutant(exported("lif", n=16), greater_instead_of_greater_or_equal, tmp_path)
    common = ("--runtime", "onnxruntime-cpu", "--mode", "both", "--steps", 200)
    assert command("parity", folder, "--stimulus", "poisson", *common)[0] == 0
    status, shown, _ = command("parity", folder, "--stimulus", "threshold", *common)
    assert status == 1
    assert (
        "expected True, actual False; the reference compared -52.0 with its threshold -52.0, 0 ulp away"
        in shown.replace("\n", " ")
    )
