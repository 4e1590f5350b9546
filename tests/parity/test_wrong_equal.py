"""Faults that an earlier parity reported as equal. Each is planted in a bundle or a runtime and must be reported."""

import json
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes, NeuronProgram
from deploy_snn.parity import (
    Lockstep,
    ModelReport,
    Plan,
    Recording,
    Request,
    Tolerance,
    compare_runtimes,
    make_stimulus,
    record_reference,
)
from deploy_snn.runtimes.eager import Eager
from deploy_snn.tensors import Arrays

Exported = Callable[..., Bundle]
Command = Callable[..., tuple[int, str, str]]


def copy_with(bundle: Bundle, folder: Path, **files: Callable[[Path], None] | None) -> Bundle:
    """Copy a bundle with changed files (None removes one). The manifest lists their checksums."""
    copy = Path(shutil.copytree(bundle.path, folder / bundle.path.name))
    manifest = json.loads((copy / "manifest.json").read_text())
    for key, change in files.items():
        name = key.replace("__", ".")
        if change is None:
            (copy / name).unlink()
            del manifest["files"][name]
        else:
            change(copy / name)
            data = (copy / name).read_bytes()
            manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(copy)


def graph(mutate: Callable[[onnx.GraphProto], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        model = onnx.load(path)
        mutate(model.graph)
        onnx.save(model, path)

    return change


def compare(bundle: Bundle, *runtimes: str, **options: object) -> ModelReport:
    plan = {"steps": 40, "runtimes": list(runtimes) or ["onnxruntime-cpu"]} | options
    return compare_runtimes(bundle, Plan(**plan))


# 1: dtype, shape and names of every output of every step and run


def test_sequence_without_rows_is_an_error(exported: Exported, tmp_path: Path) -> None:
    """An output without rows is an error, though it has no wrong value."""

    def no_rows(g: onnx.GraphProto) -> None:
        for node in [*g.node, *(n for scan in g.node for a in scan.attribute for n in a.g.node)]:
            node.output[:] = ["all.s" if name == "s" and node in g.node else name for name in node.output]
        for name, value in (("none", 0), ("axis", 0)):
            g.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        g.node.append(onnx.helper.make_node("Slice", ["all.s", "none", "none", "axis"], ["s"]))

    bundle = copy_with(exported("lif", n=6), tmp_path, sequence__onnx=graph(no_rows))
    report = compare(bundle, modes=("sequence",))
    assert not report.equal
    assert all("output 's' is bool [0, 3, 6]" in run.error for run in report.runs if run.mode == "sequence")


class WithFaults(Eager):
    """Eager torch with planted results."""

    outputs: Callable[[Arrays], Arrays] = staticmethod(dict)
    states: Callable[[Arrays], Arrays] = staticmethod(dict)

    def step(self, inputs: Arrays) -> Arrays:
        return type(self).outputs(super().step(inputs))

    def run(self, inputs: Arrays) -> Arrays:
        return type(self).outputs(super().run(inputs))

    def state(self) -> Arrays:
        return type(self).states(super().state())


def reference(name: str, steps: int = 30, **options: object) -> tuple[NeuronProgram, Recording]:
    program = NeuronProgram(deploy_snn.load_model(name, n=6, **options))
    return program, record_reference(program, make_stimulus("poisson", Request(program, steps, 3, 0)))


@pytest.mark.parametrize("mode", ["locked", "free", "sequence"])
@pytest.mark.parametrize(
    ("outputs", "states", "sentence"),
    [
        (lambda o: {"s": o["s"].astype(np.float32)}, dict, "output 's' is float32"),
        (dict, lambda s: {k: v.astype(np.float64) for k, v in s.items()}, "state 'v' is float64"),
        (lambda o: o | {"t": o["s"]}, dict, "unknown .*output 't'"),
        (lambda _: {}, dict, "output 's' is missing"),
        (dict, lambda s: {"v": s["v"]}, "state 'refrac_count' is missing"),
        (lambda o: {"s": o["s"][..., :2, :]}, dict, "axis 'batch' is 2, not 3"),
        (dict, lambda s: s | {"v": s["v"][0]}, "it has 1 axes, not 2"),
        (dict, lambda s: s | {"v": np.full_like(s["v"], np.nan)}, None),
        (dict, lambda s: s | {"v": np.full_like(s["v"], np.inf)}, None),
    ],
)
def test_results_must_fit_the_contract(
    outputs: Callable, states: Callable, sentence: str | None, mode: str, exported: Exported
) -> None:
    wrong = type("Planted", (WithFaults,), {"outputs": staticmethod(outputs), "states": staticmethod(states)})
    program, trace = reference("lif")
    report = Lockstep(trace, program, Tolerance()).run("wrong", wrong(exported("lif", n=6)), mode)
    assert not report.equal
    if sentence is None:
        assert report.divergence.tensor == "next.v"
        assert report.divergence.actual in ("nan", "inf")
    else:
        assert re.search(sentence, report.error), report.error
    assert report.model_validate_json(report.model_dump_json()) == report


def test_additional_graph_outputs_are_an_error(exported: Exported, tmp_path: Path) -> None:
    def more(g: onnx.GraphProto) -> None:
        g.output.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.BOOL, ["batch", 6]))
        g.node.append(onnx.helper.make_node("Not", ["s"], ["more"]))

    bundle = copy_with(exported("lif", n=6), tmp_path, step__onnx=graph(more))
    report = compare(bundle, "onnxruntime-cpu", "onnx-reference", modes=("locked",))
    runs = [run for run in report.runs if run.mode == "locked"]
    assert len(runs) >= 2
    assert all("unexpected outputs more" in run.error for run in runs)


# 2: zero comparisons


def test_nothing_compared_is_a_failure(exported: Exported, command: Command, tmp_path: Path) -> None:
    files = ("step__onnx", "sequence__onnx", "model__pt", "model__pt2", "sequence__pt2", "model__c", "model__h")
    bundle = copy_with(exported("lif", n=6), tmp_path, **dict.fromkeys(files))
    status, shown, _ = command("parity", bundle.path, "--steps", 20)
    assert status == 1
    assert "no runtime was compared" in shown
    assert re.search(r"not compared: .*onnxruntime-cpu.*: the bundle has no step.onnx", " ".join(shown.split()))
    partly = copy_with(exported("lif", n=6), tmp_path / "partly", sequence__onnx=None)
    status, shown, _ = command("parity", partly.path, "--steps", 20)
    assert status == 0
    assert re.search(r"not compared: .*onnxruntime-cpu.*: the bundle has no sequence.onnx", " ".join(shown.split()))
    assert command("parity", partly.path, "--steps", 20, "--runtime", "torchscript,onnxruntime-cpu")[0] == 3


# 3: an ambiguous name


def test_folder_with_the_name_of_a_neuron_is_an_error(
    exported: Exported, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported("lif", n=6).path, tmp_path / "lif")
    monkeypatch.chdir(tmp_path)
    status, _, error = command("parity", "lif", "--steps", 20)
    assert status == 2
    assert "use ./lif for the folder, or LIFNodes for the neuron" in error
    assert command("parity", "./lif", "--steps", 20, "--runtime", "onnxruntime-cpu")[0] == 0


# 4: initial states and golden traces


def test_initial_state_is_compared(exported: Exported, tmp_path: Path) -> None:
    def shift(path: Path) -> None:
        arrays = load_file(path)
        arrays["v"] = np.nextafter(arrays["v"], np.float32(0))
        save_file(arrays, path)

    report = compare(copy_with(exported("lif", n=6), tmp_path, initial_state__safetensors=shift))
    (wrong,) = (run for run in report.runs if not run.equal)
    assert (wrong.runtime, wrong.mode, wrong.divergence.tensor) == ("initial_state.safetensors", "initial state", "v")


def test_initial_state_inside_torchscript_is_compared(exported: Exported, tmp_path: Path) -> None:
    away = deploy_snn.export(LIFNodes(n=6, rest=-64.5), tmp_path / "away", formats=["torchscript"], golden_steps=0)

    def replace(path: Path) -> None:
        shutil.copy(away.path / "model.pt", path)

    report = compare(copy_with(exported("lif", n=6), tmp_path, model__pt=replace), "torchscript")
    assert any(run.mode == "initial state" and run.runtime == "torchscript" and not run.equal for run in report.runs)


@pytest.mark.parametrize("tensor", ["outputs/s", "states/v", "start/v"])
def test_golden_trace_is_compared(tensor: str, exported: Exported, tmp_path: Path) -> None:
    def change(path: Path) -> None:
        arrays = load_file(path)
        place = (0,) * arrays[tensor].ndim
        arrays[tensor][place] = not arrays[tensor][place] if tensor == "outputs/s" else arrays[tensor][place] + 2**-10
        save_file(arrays, path)

    report = compare(copy_with(exported("lif", n=6), tmp_path, golden__safetensors=change))
    (wrong,) = (run for run in report.runs if not run.equal)
    assert (wrong.runtime, wrong.mode) == ("golden.safetensors", "golden trace")
    assert wrong.divergence.tensor.removeprefix("next.") == tensor.partition("/")[2]


# 5: stimuli that do not exercise the whole model


def clip_inhibition(g: onnx.GraphProto) -> None:
    g.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    for node in g.node:
        node.input[:] = ["positive" if name == "x" else name for name in node.input]
    g.node.insert(0, onnx.helper.make_node("Max", ["x", "nothing"], ["positive"]))


def no_lower_bound(g: onnx.GraphProto) -> None:
    last = next(n for n in g.node if "next.v" in n.output)
    assert last.op_type == "Where"
    last.input[1] = last.input[2]


def half_decay(g: onnx.GraphProto) -> None:
    constant = next(c for c in g.initializer if c.name == "neuron.decay")
    constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) / 2, "neuron.decay"))


def reverse_rows(g: onnx.GraphProto) -> None:
    for name, value in (("first", -1), ("end", -(2**31)), ("along", 0), ("stride", -1)):
        g.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    for node in g.node:
        node.input[:] = ["reversed" if name == "x" else name for name in node.input]
    g.node.insert(0, onnx.helper.make_node("Slice", ["x", "first", "end", "along", "stride"], ["reversed"]))


VOLTS = {"thresh": 0.015, "rest": 0.0, "reset": 0.0}


@pytest.mark.parametrize(
    ("options", "mutate"),
    [({}, clip_inhibition), ({"lbound": -80.0}, no_lower_bound), (VOLTS, half_decay), ({}, reverse_rows)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_default_stimuli_exercise_the_model(options: dict, mutate: Callable, tmp_path: Path) -> None:
    right = deploy_snn.export(LIFNodes(n=6, **options), tmp_path / "right", formats=["onnx"], golden_steps=0)
    bundle = copy_with(right, tmp_path / "wrong", step__onnx=graph(mutate))
    report = compare(bundle, "onnxruntime-cpu", steps=60, modes=("locked",))
    assert not report.equal
    assert report.uncovered == ()


def test_second_entry_of_a_window_is_exercised(exported: Exported) -> None:
    """The default stimuli give windows of CSRM with two spikes. The threshold stimulus alone does not."""
    report = compare(exported("csrm", n=6), steps=60, modes=("locked",))
    assert report.equal
    (windows,) = (item for item in report.coverage if "two or more" in item.name)
    assert windows.hits > 0


def test_chunk_of_one_step_is_compared(exported: Exported) -> None:
    class FailsOnOne(Eager):
        def run(self, inputs: Arrays) -> Arrays:
            outputs = super().run(inputs)
            return {"s": ~outputs["s"]} if len(inputs["x"]) == 1 else outputs

    program, trace = reference("lif")
    for seed in range(3):
        lockstep = Lockstep(trace, program, Tolerance(), seed=seed)
        assert not lockstep.run("wrong", FailsOnOne(exported("lif", n=6)), "sequence").equal


def test_silent_output_is_reported(command: Command, tmp_path: Path) -> None:
    """A layer that never fires is reported, and is an error with --strict."""
    network = Network()
    network.add_layer(Input(n=3), "X")
    network.add_layer(LIFNodes(n=2, thresh=float("inf")), "out")
    network.add_connection(Dense(torch.ones(3, 2)), "X", "out")
    bundle = deploy_snn.export(network, tmp_path / "silent", formats=["onnx"], golden_steps=0)
    arguments = ("parity", bundle.path, "--steps", 20, "--stimulus", "poisson", "--runtime", "onnxruntime-cpu")
    status, shown, _ = command(*arguments)
    assert status == 0
    assert "out.s never fired, so its equality proves nothing" in shown
    assert "not fully covered" in shown
    assert command(*arguments, "--strict")[0] == 1


# 6: small differences


def test_one_ulp_is_a_difference_in_an_exact_model(tmp_path: Path) -> None:
    class OneUlp(Eager):
        def state(self) -> Arrays:
            state = super().state()
            return state | {"v": np.nextafter(state["v"], np.float32(0))}

    program, trace = reference("lif", **VOLTS)
    right = deploy_snn.export(program.neuron, tmp_path / "volts", formats=["onnx"], golden_steps=0)
    found = Lockstep(trace, program, Tolerance()).run("ulp", OneUlp(right), "locked")
    assert not found.equal
    assert found.divergence.tolerance is None
    assert found.divergence.ulp in (1, -1)
    assert "the contract names no rounding" in found.divergence.verdict


# 7: a runtime that writes into its inputs


def test_runtime_that_writes_into_its_inputs(exported: Exported) -> None:
    class InPlace(Eager):
        def step(self, inputs: Arrays) -> Arrays:
            outputs = super().step(inputs)
            inputs["x"] *= 0
            return outputs

        def run(self, inputs: Arrays) -> Arrays:
            outputs = super().run(inputs)
            inputs["x"] *= 0
            return outputs

    program, trace = reference("lif")
    lockstep = Lockstep(trace, program, Tolerance())
    for mode in ("locked", "free", "sequence"):
        report = lockstep.run("in place", InPlace(exported("lif", n=6)), mode)
        assert "wrote into its input 'x'" in report.error
        assert lockstep.run("eager", Eager(exported("lif", n=6)), mode).equal


# 8: exceptions


def test_exception_is_the_result_of_its_run(
    exported: Exported, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("deep inside")

    bundle, written = exported("lif", n=6).path, tmp_path / "report.json"
    monkeypatch.setattr("deploy_snn.runtimes.torchscript.TorchScript.step", fail)
    status, shown, _ = command("parity", bundle, bundle, "--steps", 20, "--json", written)
    assert status == 1
    assert "lif on torchscript, locked: failed: ZeroDivisionError: deep inside" in shown
    for model in json.loads(written.read_text())["models"]:
        assert {run["runtime"]: run["equal"] for run in model["runs"] if run["mode"] == "locked"} == {
            "torchscript": False, "pt2": True, "c": True, "onnxruntime-cpu": True, "onnx-reference": True
        }  # fmt: skip


def test_operation_that_a_runtime_cannot_run_is_not_compared(
    exported: Exported, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("cannot reshape array")

    bundle = exported("lif", n=6).path
    monkeypatch.setattr("onnx.reference.ReferenceEvaluator.run", fail)
    status, shown, _ = command("parity", bundle, "--steps", 20)
    assert status == 0
    assert "not compared: onnx-reference: onnx's ReferenceEvaluator cannot run the graph: cannot reshape" in shown
    assert command("parity", bundle, "--steps", 20, "--runtime", "onnx-reference")[0] == 3


def test_one_broken_model_does_not_lose_the_others(exported: Exported, command: Command, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    arguments = ("--steps", 20, "--runtime", "onnxruntime-cpu", "--json", written)
    status, shown, error = command("parity", tmp_path / "none", exported("lif", n=6).path, *arguments)
    assert (status, "does not exist" in error, "all 8 runs equal" in shown) == (2, True, True)
    first, second = json.loads(written.read_text())["models"]
    assert "does not exist" in first["error"]
    assert len(second["runs"]) == 8
