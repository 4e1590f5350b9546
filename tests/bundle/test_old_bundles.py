"""Bundles that version 0.1 wrote, with contracts of version 1, are read, run and compared by today's code."""

import json
import shutil
from pathlib import Path

import pytest

from deploy_snn import verify
from deploy_snn.bundle import Bundle
from deploy_snn.contract import Kind, Operation, Rounding
from deploy_snn.errors import InvalidInput
from deploy_snn.parity import Tolerance
from deploy_snn.runtimes import usable_runtimes

OLD = Path(__file__).parent / "schema_1"
MODELS = Path(__file__).parent.parent.parent / "models"
NAMES = ("lif", "izhikevich_2003", "adapting_population")


@pytest.mark.parametrize("name", NAMES)
def test_every_runtime_computes_what_was_recorded(name: str) -> None:
    bundle = Bundle.open(OLD / name)
    assert json.loads((OLD / name / "manifest.json").read_text())["schema_version"] == 1
    assert len(usable_runtimes(bundle)) >= 4
    report = verify(bundle, stimulus="golden", tolerance=Tolerance(atol=0, rtol=0))
    assert report.equal, report
    assert report.spikes


@pytest.mark.parametrize(
    ("name", "definition"),
    [("lif", None), ("izhikevich_2003", "izhikevich_2003.py"), ("adapting_population", "adapting_population.py")],
)
def test_eager_torch_is_rebuilt(name: str, definition: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = verify(OLD / name, steps=50, batch=2, definition=MODELS / definition if definition else None)
    assert report.equal, report
    assert report.reference == "eager torch"


def test_a_definition_that_is_not_here_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidInput, match=r"older deploy_snn, and its model file models/adapting_population\.py does not exist"
    ):
        verify(OLD / "adapting_population", steps=5)


def test_the_contract_gains_kinds_owners_and_typed_rounding() -> None:
    lif = Bundle.open(OLD / "lif").contract
    assert {spec.name: spec.kind for spec in lif.states} == {"v": Kind.POTENTIAL, "refrac_count": Kind.COUNTER}
    cortex = Bundle.open(OLD / "izhikevich_2003").contract
    assert cortex.rounding == (Rounding(tensor="cortex.v", operation=Operation.SUM),)
    assert {spec.kind for spec in cortex.states} >= {Kind.POTENTIAL, Kind.RECOVERY}
    assert {spec.owner for spec in cortex.tensors} == {"cortex"}


def test_reworded_prose_does_not_break_a_bundle(tmp_path: Path) -> None:
    """Units and initial values in words are documentation: a file whose contract words them otherwise is the same model."""
    copy = Path(shutil.copytree(OLD / "lif", tmp_path / "lif"))
    manifest = json.loads((copy / "manifest.json").read_text())
    for spec in manifest["contract"]["tensors"]:
        spec.update(unit="millivolts", initial="see the paper")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert verify(copy, stimulus="golden", runtimes=["onnxruntime-cpu", "torchscript", "pt2"]).equal
    manifest["contract"]["tensors"][1]["role"] = "spikes"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput):
        Bundle.open(copy).session("onnxruntime-cpu")
