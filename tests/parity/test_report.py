"""The report of parity: coverage, several stimuli, JUnit and HTML files, explanations, pairs, and the self-test."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Kind, Operation, Role, Rounding
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import CurrentIntegrator, Input, LIFNodes, NeuronProgram, SRM0Nodes
from deploy_snn.parity import ParityReport, Plan, Request, make_stimulus, record_reference
from deploy_snn.parity.coverage import Coverage
from deploy_snn.parity.exactness import links_of, rounded_tensors
from deploy_snn.parity.html import html_page
from deploy_snn.parity.mutants import mutants
from deploy_snn.parity.report import ModelReport, RunReport
from deploy_snn.parity.self_test import self_test

Exported = Callable[..., Bundle]
Command = Callable[..., tuple[int, str, str]]


def coverage_of(program: NeuronProgram, *stimuli: str) -> dict[str, int]:
    coverage = Coverage()
    for name in stimuli:
        record_reference(program, make_stimulus(name, Request(program, 60, 3, 0)), coverage)
    return {item.name: item.hits for item in coverage.items() if not item.covered}


def test_coverage_of_stimuli() -> None:
    """Coverage reports that a Poisson drive never reaches equality, and that a constant drive is never negative."""
    program = NeuronProgram(LIFNodes(n=8, lbound=-80.0))
    (missed,) = coverage_of(program, "poisson")
    assert missed == "step, ge in `s = v >= self.thresh`: equal operands"
    assert any(name.startswith("clip, where") and "first branch" in name for name in coverage_of(program, "constant"))
    assert coverage_of(program, "poisson", "threshold") == {}


def test_coverage_of_noise() -> None:
    program = NeuronProgram(SRM0Nodes(n=8))
    coverage = Coverage()
    record_reference(program, make_stimulus("poisson", Request(program, 40, 3, 0)), coverage)
    decided = {item.name: item.hits for item in coverage.items()}["noise: results that the noise decided"]
    assert decided > 0


def test_spread_of_rounding() -> None:
    """Rounding spreads from a drive to potentials and through graded layers, but not to counters or past spikes."""
    import torch

    network = Network()
    network.add_layer(Input(n=3), "X")
    network.add_layer(LIFNodes(n=4), "spiking")
    network.add_layer(CurrentIntegrator(n=4), "graded")
    network.add_layer(LIFNodes(n=2), "last")
    network.add_layer(LIFNodes(n=2), "exact")
    for source, target, scale in (("X", "spiking", 1 / 3), ("spiking", "exact", 1.0), ("X", "graded", 1 / 3)):
        n, m = (network.layers[name].neuron.n for name in (source, target))
        network.add_connection(Dense(torch.rand(n, m) * scale if scale < 1 else torch.ones(n, m)), source, target)
    network.add_connection(Dense(torch.ones(4, 2)), "graded", "last")
    rounded = rounded_tensors(network.contract, links_of(network))
    assert {"spiking.v", "graded.v", "graded.s", "last.v"} <= rounded
    assert not rounded & {"spiking.refrac_count", "last.refrac_count", "exact.v", "exact.refrac_count", "spiking.previous"}
    exponential = NeuronProgram(SRM0Nodes(n=3)).contract
    assert rounded_tensors(exponential, ()) == frozenset(), "a state depends on rounding, and not only the spikes"
    unknown = exponential.model_copy(update={"rounding": (Rounding(tensor="s", operation=Operation.UNKNOWN),)})
    assert rounded_tensors(unknown, ()) == {"v", "refrac_count"}
    assert {spec.kind for spec in exponential.states} == {Kind.POTENTIAL, Kind.COUNTER}
    assert exponential.outputs[0].role is Role.SPIKES


def test_several_stimuli_batches_and_seeds(exported: Exported, command: Command, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    options = ("--stimulus", "ramp,constant", "--batch", "1,3", "--seed", "0,4", "--steps", 10)
    bundle = exported("lif", n=6).path
    assert command("parity", bundle, *options, "--runtime", "onnxruntime-cpu", "--mode", "free", "--json", written)[0] == 0
    report = ParityReport.model_validate_json(written.read_text())
    cases = {(run.stimulus, run.batch, run.seed) for run in report.models[0].runs if run.mode == "free"}
    assert cases == {(s, b, seed) for s in ("ramp", "constant") for b in (1, 3) for seed in (0, 4)}
    status, _, error = command("parity", bundle, "--batch", "few")
    assert (status, "--batch few: expected whole numbers" in error) == (2, True)


def test_report_of_a_mismatch(strict_comparison: Path, command: Command, tmp_path: Path) -> None:
    """A mismatch is reported as text, JUnit and HTML, with the first wrong node and a script that replays the step."""
    files = {option: tmp_path / f"report.{option}" for option in ("junit", "html")}
    options = [text for option, path in files.items() for text in (f"--{option}", path)]
    stimulus = ("--stimulus", "threshold", "--steps", 30, "--mode", "locked", "--runtime", "onnxruntime-cpu,torchscript")
    status, shown, _ = command("parity", strict_comparison, *stimulus, *options, "-v", "--dump", tmp_path / "dump")
    text = " ".join(shown.split())
    assert status == 1
    assert "First wrong node: Greater(" in text
    assert "State before: v = " in text
    suite = ET.parse(files["junit"]).getroot()[0]
    assert suite.attrib["failures"] == "1"
    assert "s differs at step" in suite.find("testcase/failure").attrib["message"]
    page = files["html"].read_text()
    assert "<svg" in page
    assert "DIFFERS" not in page
    assert not {"<script", "<link", "<img", "http://", "https://", "url("} & {part for part in page.split() if "<" in part}
    replayed = subprocess.run(
        [sys.executable, "replay.py"],
        cwd=tmp_path / "dump" / "lif-onnxruntime-cpu",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "s: 0 elements differ from actual" in replayed
    assert "s: 0 elements differ from expected" not in replayed


def test_html_escapes_every_text() -> None:
    markup = "<script>alert('&')</script>"
    run = RunReport(runtime=markup, mode="free", stimulus=markup, steps=0, equal=False, error=markup)
    models = (ModelReport(model=markup, reference=markup, runs=(run,), silent=(markup,), files={markup: markup}),)
    page = html_page(ParityReport(equal=False, versions={markup: markup}, models=models))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_lines_fit_a_terminal_of_80_columns(exported: Exported, command: Command) -> None:
    status, shown, _ = command("parity", exported("lif", n=6).path, "--steps", 20)
    table = shown[: shown.index("lif: ")]
    assert status == 0
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80
    assert len([line for line in table.splitlines() if line.rstrip().endswith("equal")]) == 1 + len(
        {"torchscript", "pt2", "c", "onnxruntime-cpu", "onnx-reference"}
    )


@pytest.mark.parametrize(
    ("reference", "candidate", "status"),
    [
        ("right", "right/step.onnx", 0),
        ("right:pt2", "right/model.pt", 0),
        ("right", "wrong/step.onnx", 1),
        ("lif", "right", 0),
    ],
)
def test_pairs(  # noqa: PLR0917
    reference: str,
    candidate: str,
    status: int,
    exported: Exported,
    command: Command,
    strict_comparison: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(strict_comparison.parent)
    Path("right").symlink_to(exported("lif", n=16).path)
    options = ("--steps", 20, "--n", 16)
    found, shown, _ = command("parity", "--reference", reference, "--candidate", candidate, *options)
    assert found == status, shown
    assert ("runs equal" in shown) == (status == 0)


def test_pair_with_different_contracts(exported: Exported, command: Command) -> None:
    pair = ("--reference", exported("lif", n=6).path, "--candidate", exported("if", n=16).path)
    status, _, error = command("parity", *pair)
    assert status == 2
    assert "have different contracts: axes of tensor 'x'" in error
    assert command("parity", "--reference", "lif")[0] == 2


def test_step_file_without_a_contract(exported: Exported, command: Command, tmp_path: Path) -> None:
    """A graph without a contract is an error, unless --contract names a bundle or a manifest."""
    bundle = exported("lif", n=16)
    model = onnx.load(bundle.path / "step.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "step.onnx")
    pair = ("--reference", bundle.path, "--candidate", tmp_path / "step.onnx", "--steps", 20)
    status, _, error = command("parity", *pair)
    assert (status, "holds no contract" in error) == (2, True)
    assert command("parity", *pair, "--contract", bundle.path)[0] == 0


@pytest.mark.parametrize("name", ["lif", "csrm", "diehl-and-cook", "izhikevich"])
def test_sample_of_the_mutants(name: str, exported: Exported) -> None:
    """Every eighth mutant is detected unless it is equivalent. benchmarks/mutants.py runs all of them."""
    tested = self_test(exported(name, n=6), Plan(steps=60), every=8)
    assert len(tested.results) > 10
    equivalent = {"val_3"} if name == "diehl-and-cook" else set()  # equivalent: any number below all noise works
    assert not [s for s in tested.survivors if s.what.split()[0] not in equivalent]


def test_mutants_are_of_every_kind(exported: Exported) -> None:
    bundle = exported("adaptive-lif", n=6)
    found = list(mutants(onnx.load(bundle.path / "sequence.onnx"), bundle.contract, in_time=True))
    assert {m.kind for m in found} == {"operator", "operands", "constant", "wiring", "rows", "time"}
    original = (bundle.path / "sequence.onnx").read_bytes()
    assert all(m.model.SerializeToString() != original for m in found)


def test_self_test_on_the_command_line(exported: Exported, command: Command, tmp_path: Path) -> None:
    """The self-test detects all mutants by default. With a weak stimulus it lists those that survive."""
    written = tmp_path / "mutants.json"
    bundle = exported("mcculloch-pitts", n=6).path
    status, shown, _ = command("parity", bundle, "--self-test", "--steps", 40, "--json", written)
    assert (status, "100.0 %" in shown) == (0, True)
    assert all(result["killed_by"] for result in json.loads(written.read_text())[0]["results"])
    status, shown, _ = command("parity", bundle, "--self-test", "--steps", 40, "--stimulus", "ramp", "--strict")
    assert status == 1
    assert "not detected: operator: GreaterOrEqual -> s: Greater" in shown
