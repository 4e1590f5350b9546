"""snn-executorch: built against the wheel of ExecuTorch, it computes the bits of Python and refuses what it cannot run.

It runs in an environment with the package executorch: .venv/runtimes (Makefile).
"""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.bundle import file_record
from deploy_snn.contract import Contract, Role, TensorSpec
from deploy_snn.eager import record
from deploy_snn.lowering import Lowered
from deploy_snn.reference import reference_program
from deploy_snn.tensors import write_tensors

from .conftest import CPP, SANITIZE, Host, run

if TYPE_CHECKING:
    from ...conftest import SharedFolder  # noqa: TID252

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        importlib.util.find_spec("executorch") is None,
        reason="the package executorch is not installed: pip install executorch",
    ),
    # Of ExecuTorch and torchao, when they are imported.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ROOT = CPP.parent.parent
REFERENCES = sorted(path.parent.name for path in (ROOT / "export").glob("*/manifest.json"))
BOUNDS = {"max_batch": 4, "sequence_batch": 2, "max_steps": 7}
"""The golden traces have a batch of 2, so that `check` calls `sequence`: 200 steps in calls of 7, and 4 at the end."""


@pytest.fixture(scope="session", params=SANITIZE)
def host(request: pytest.FixtureRequest, headers: Path, shared: "SharedFolder") -> Host:
    """The program, as shipped and with sanitizers."""
    if not all(map(shutil.which, ("cmake", "c++"))):
        pytest.skip("the C++ hosts need cmake and a C++ compiler, and this machine lacks them")
    folder = shared.once(f"executorch-{request.param}", lambda folder: build(folder, headers, SANITIZE[request.param]))
    return Host(folder / "snn-executorch", ())


def build(folder: Path, headers: Path, sanitize: str) -> None:
    import executorch

    run(
        "cmake", "-S", CPP, "-B", folder,
        f"-DCMAKE_PREFIX_PATH={next(iter(executorch.__path__))};{headers}/usr",
        "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON",
        f"-DDEPLOY_SNN_SANITIZE={sanitize}",
        f"-DCMAKE_BUILD_TYPE={'Debug' if sanitize else 'Release'}",
    )  # fmt: skip
    run("cmake", "--build", folder, "--target", "snn-executorch", "--parallel", os.cpu_count() or 1)


@pytest.fixture(scope="session")
def referenced(shared: "SharedFolder") -> Callable[..., Path]:
    """``referenced("lif")``: a copy of a bundle in export/, with model.pte; ``xnnpack=True`` for model.xnnpack.pte."""

    def add(name: str, *, xnnpack: bool = False) -> Path:
        from deploy_snn.formats.executorch import Executorch, ExecutorchXnnpack

        kind = ExecutorchXnnpack if xnnpack else Executorch

        def write(path: Path) -> None:
            shutil.copytree(ROOT / "export" / name, path)
            kind(**BOUNDS).write(Lowered(reference_program(Bundle.open(path)), name=name), path)
            accept(path, *kind.files)

        return shared.once(f"{kind.__name__}/{name}", write)

    return add


@pytest.fixture
def lif(referenced: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle of LIF neurons, to be changed."""
    return Path(shutil.copytree(referenced("lif"), tmp_path / "lif"))


def accept(path: Path, *files: str, **changes: Any) -> None:
    """Record files as they are now in the manifest, with other changes of it."""
    manifest = json.loads((path / "manifest.json").read_text()) | changes
    manifest["files"].update({file: file_record(path / file).model_dump() for file in files})
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_reference(reference: str, referenced: Callable[..., Path], host: Host) -> None:
    done = host("check", referenced(reference))
    message = f"{reference}: 200 steps of a batch of 2, step by step and as a sequence: all equal\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, message, "")


@pytest.mark.parametrize("reference", ["conv_lif", "csrm"])
def test_xnnpack(reference: str, referenced: Callable[..., Path], host: Host) -> None:
    done = host("check", referenced(reference, xnnpack=True), "--xnnpack")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all equal" in done.stdout
    host.refuses(2, "has no model.pte, only", "check", referenced(reference, xnnpack=True))


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_recording_continues_in_another_process(
    batch: int, referenced: Callable[..., Path], host: Host, tmp_path: Path
) -> None:
    """The files are byte for byte what Python writes, up to the bound of the batch; 2 is the batch of `sequence`."""
    path = referenced("diehl_cook_2015")
    bundle = Bundle.open(path)
    rng = np.random.default_rng(batch)
    inputs = {spec.name: 25 * rng.random((40, *spec.shape(batch=batch)), np.float32) for spec in bundle.contract.inputs}
    trace = record(reference_program(bundle), inputs, bundle.initial_state(batch))
    assert any(array.any() for array in trace.spikes)
    state: list[object] = []
    for begin, end in ((0, 15), (15, 40)):
        write_tensors(tmp_path / "in", {name: array[begin:end] for name, array in inputs.items()})
        places = (tmp_path / "out", tmp_path / f"state-{end}")
        done = host("run", path, "--input", tmp_path / "in", "--output", places[0], "--state-out", places[1], *state)
        assert (done.returncode, done.stderr) == (0, "")
        for written, expected in (
            (places[0], {name: array[begin:end] for name, array in trace.outputs.items()}),
            (places[1], {name: array[end - 1] for name, array in trace.states.items()}),
        ):
            write_tensors(tmp_path / "expected", expected)
            assert written.read_bytes() == (tmp_path / "expected").read_bytes()
        state = ["--state-in", places[1]]


def test_the_bound_of_the_batch(lif: Path, host: Host, tmp_path: Path) -> None:
    write_tensors(tmp_path / "in", {"x": np.zeros((5, 5, 8), np.float32)})
    message = f"a batch of 5: {lif}/model.pte was exported for at most 4: export it with --max-batch 5"
    host.refuses(2, message, "run", lif, "--input", tmp_path / "in", "--output", tmp_path / "out")
    host.refuses(2, message, "bench", lif, "--batch", 5)
    assert not (tmp_path / "out").exists()


def replace_contract(path: Path, tensors: list[TensorSpec], *, in_manifest: bool) -> None:
    """Put a contract with these tensors into model.pte, and into the manifest. The program in model.pte stays as it is."""
    contract = Contract.parse((path / "contract").read_bytes(), "contract")
    records = [spec.model_dump(mode="json") for spec in tensors]
    changed = Contract.model_validate(contract.model_dump(mode="json") | {"tensors": records})
    inside, new = (text.model_dump_json().encode() for text in (contract, changed))
    whole = (path / "whole.pte").read_bytes()
    assert whole.count(inside) == 1
    assert len(new) <= len(inside)
    (path / "model.pte").write_bytes(whole.replace(inside, new.ljust(len(inside))))  # JSON may end with spaces
    accept(path, "model.pte", **({"contract": changed.model_dump(mode="json")} if in_manifest else {}))


@pytest.fixture
def opened(lif: Path) -> Path:
    """A bundle for `replace_contract`."""
    (lif / "contract").write_text(Bundle.open(lif).contract.model_dump_json())
    shutil.copy(lif / "model.pte", lif / "whole.pte")
    return lif


def test_swapped_states(opened: Path, host: Host) -> None:
    """`v` and `refrac_count` have one shape: in the wrong order they are no error to ExecuTorch."""
    x, v, refrac_count, s = Bundle.open(opened).contract.tensors
    swapped = [x, refrac_count, v, s]
    replace_contract(opened, swapped, in_manifest=False)
    order = "the order of the tensors is x, refrac_count, v, s instead of x, v, refrac_count, s"
    host.refuses(2, f"model.pte differs from the manifest: {order}", "check", opened)
    # With the same order in the manifest, only the numbers can tell.
    replace_contract(opened, swapped, in_manifest=True)
    done = host("check", opened)
    assert (done.returncode, done.stderr) == (1, "")
    assert "lif, as a sequence: s differs at [0, 0, 0]: expected 0, actual 1\n" in done.stdout
    assert "lif, step by step: at step 0 s differs at [0, 0]: expected 0, actual 1\n" in done.stdout


def test_arguments_that_are_not_those_of_the_contract(opened: Path, host: Host) -> None:
    """The contract inside the file is that of the manifest, but the methods have other arguments or results."""
    x, v, refrac_count, s = Bundle.open(opened).contract.tensors
    wide = [spec.replaced(axes=(spec.axes[0], spec.axes[1].model_copy(update={"size": 9}))) for spec in (x, v)]
    for tensors, message in (
        ([x, v, s], "step has 3 arguments, but the contract lists 2"),
        ([wide[0], v, refrac_count, s], "argument 0 of step is float32 [4, 8], but the contract has x float32 [4, 9]"),
        ([x, wide[1], refrac_count, s], "argument 1 of step is float32 [4, 8], but the contract has v float32 [4, 9]"),
        (
            [x, v.replaced(unit="", initial=""), refrac_count, s.replaced(dtype="float32", role=Role.RECORD)],
            "result 0 of step is bool [4, 8], but the contract has s float32 [4, 8]",
        ),
    ):
        replace_contract(opened, tensors, in_manifest=True)
        host.refuses(2, f"{opened}/model.pte: {message}", "bench", opened)


def test_a_damaged_file(lif: Path, referenced: Callable[..., Path], host: Host) -> None:
    model = lif / "model.pte"
    whole = model.read_bytes()
    model.write_bytes(whole[:-10])
    host.refuses(2, "model.pte has ", "check", lif)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    model.write_bytes(flipped)
    host.refuses(2, "model.pte has changed since the export (SHA-256 differs)", "check", lif)
    model.unlink()
    host.refuses(2, "model.pte is missing, but the manifest lists it", "check", lif)
    # A file that the manifest records may still be another model, or no program at all.
    for data, message in (
        ((referenced("current-lif") / "model.pte").read_bytes(), "model.pte differs from the manifest: "),
        (whole[:-10], "model.pte cannot be loaded: File size is too small"),
        (whole[:100] + b"\xff" * (len(whole) - 100), "model.pte cannot be loaded: "),
        (b"no program", "model.pte cannot be loaded: "),
        (b"", "model.pte cannot be loaded: "),
    ):
        model.write_bytes(data)
        accept(lif, "model.pte")
        host.refuses(2, message, "check", lif)
    unknown = whole.replace(b"aten::where", b"aten::there")
    assert unknown != whole
    model.write_bytes(unknown)
    accept(lif, "model.pte")
    host.refuses(3, "this ExecuTorch cannot run ", "check", lif)


def test_changed_bits_are_refused_or_reported(lif: Path, host: Host) -> None:
    """A file that is damaged before its SHA-256 is recorded ends in a message and never in a crash."""
    model = lif / "model.pte"
    whole = model.read_bytes()
    rng = np.random.default_rng(0)
    statuses = set()
    for _ in range(25):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] ^= 1 << int(rng.integers(8))
        model.write_bytes(data)
        accept(lif, "model.pte")
        done = host("check", lif)
        assert done.returncode in {0, 1, 2, 3}, done
        assert (done.returncode > 1) == (done.stderr.count("\n") == 1), done
        statuses.add(done.returncode)
    assert 2 in statuses


def test_what_it_does_not_do(lif: Path, host: Host, tmp_path: Path) -> None:
    host.refuses(3, "device cuda: format executorch runs on the CPU", "check", lif, "--device", "cuda")
    host.refuses(2, "unknown device 'tpu'; choose from cpu, cuda", "check", lif, "--device", "tpu")
    host.refuses(2, "2 threads: format executorch runs on one", "check", lif, "--threads", 2)
    write_tensors(tmp_path / "in", {"x": np.zeros((5, 1, 8), np.float32)})
    words = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--normalise-every", 2)
    host.refuses(3, "format executorch cannot normalise weights", "run", lif, *words)
    assert not (tmp_path / "out").exists()
