"""The reference bundles in export/ load, and all runtimes give the same bits as their golden traces."""

from pathlib import Path

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.cli.parity_table import describe
from deploy_snn.parity import Plan, Tolerance, compare_runtimes
from deploy_snn.runtimes import usable_runtimes

ROOT = Path(__file__).parent.parent
FROM_NIR = {"heaviside", "difference-lif", "difference-current-lif"}
"""Neurons without a reference bundle. The tests of NIR importers compare them with the writers' own simulations."""
NAMES = sorted(path.parent.name for path in (ROOT / "export").glob("*/manifest.json"))


def test_every_neuron_and_model_has_a_reference_bundle() -> None:
    from deploy_snn.neurons import NEURONS

    assert set(NAMES) == {*(NEURONS.keys() - FROM_NIR), *(path.stem for path in (ROOT / "models").glob("*.py"))}


def test_reference_bundles_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "export").rglob("*") if path.is_file()) < 5_500_000


@pytest.mark.parametrize("name", NAMES)
def test_reference_bundle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the paths of definitions in the manifests are relative to it
    bundle = Bundle.open(Path("export") / name)
    runtimes = ["eager", *usable_runtimes(bundle)]
    assert {"torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"} < set(runtimes)
    report = compare_runtimes(bundle, Plan(runtimes=runtimes, stimulus="golden", tolerance=Tolerance(atol=0, rtol=0)))
    assert report.steps == 200
    assert report.spikes > 0
    assert report.equal, "\n".join(f"{run.runtime}, {run.mode}: {describe(run)}" for run in report.runs if not run.equal)
