"""A step compiled ahead of time computes the same bits, and is refused on another kind of CPU."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_snn.bundle import Bundle, Manifest
from deploy_snn.cli.export import export_model
from deploy_snn.contract import CONTRACT_FILE
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.formats.aoti import CPU_FILE, target_cpu
from deploy_snn.parity import Plan, Tolerance, compare_runtimes
from deploy_snn.runtimes import find_runtime, usable_runtimes

MODELS = Path(__file__).parent.parent.parent / "models"
EXACT = Tolerance(atol=0, rtol=0)
CASES = {
    "diehl-and-cook": {"n": 6},  # a noise, a state that rows share, outputs that are no step's first
    "csrm": {"n": 5, "traces": True},
    str(MODELS / "diehl_cook_2015.py"): {"n": 7, "n_input": 9},
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    made: dict[str, Bundle] = {}

    def export(model: str) -> Bundle:
        if model not in made:
            folder = tmp_path_factory.mktemp("compiled") / "bundle"
            snap = 14 if model.endswith(".py") else None
            made[model] = export_model(model, CASES[model], folder, formats=["aoti"], snap=snap)
        return made[model]

    return export


@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize(("stimulus", "batch"), [("golden", 2), ("poisson", 1), ("poisson", 5)])
def test_the_same_bits(model: str, stimulus: str, batch: int, compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled(model)
    assert usable_runtimes(bundle) == ["aoti"]
    plan = Plan(runtimes=["aoti"], stimulus=stimulus, batch=batch, steps=200, tolerance=EXACT)
    report = compare_runtimes(bundle, plan)
    assert report.equal
    assert report.spikes > 0


def test_other_cpu_or_invalid_file_is_an_error(compiled: Callable[[str], Bundle], tmp_path: Path) -> None:
    bundle = compiled("csrm")
    assert bundle.manifest.formats["aoti"] == {"cpu": target_cpu()}
    assert bundle.contract.inputs
    for cpu, error, message in (
        ("x86-64-v9", Unavailable, "was compiled for x86-64-v9, which this CPU does not support: export the model here"),
        ("", InvalidInput, "is not a compiled step"),
    ):
        other = copy_with_cpu(bundle, tmp_path / f"for-{cpu}", cpu)
        runtime = find_runtime("aoti")(other)
        runtime.start(other.initial_state(1))
        with pytest.raises(error, match=message):
            runtime.step({})


def copy_with_cpu(bundle: Bundle, path: Path, cpu: str) -> Bundle:
    """The bundle as if compiled for another CPU; without one, as if something else had written it."""
    shutil.copytree(bundle.path, path)
    with zipfile.ZipFile(bundle.path / "step.aoti.pt2") as old, zipfile.ZipFile(path / "step.aoti.pt2", "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(CPU_FILE):
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
            elif cpu:
                new.writestr(zipfile.ZipInfo(entry.filename), cpu)
        assert any(name.endswith(CONTRACT_FILE) for name in new.namelist())
    return Bundle(path, Manifest.read(path / "manifest.json"))


def test_missing_compiler_is_unavailable(monkeypatch: pytest.MonkeyPatch, command: Callable, tmp_path: Path) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    status, _, message = command("export", "lif", "--format", "aoti", "-o", tmp_path / "lif")
    assert status == 3
    assert "needs a C++ compiler" in message
    assert not list(tmp_path.iterdir())


def test_aoti_is_written_only_on_request(exported: Callable[..., Bundle]) -> None:
    bundle = exported("lif", n=6)
    assert "step.aoti.pt2" not in bundle.manifest.files
    assert "aoti" not in bundle.manifest.formats
