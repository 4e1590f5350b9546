"""Firmware on emulated processors: every neuron, and a small Diehl & Cook network, fixed and learning, checked there."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from deploy_snn import export, load_model
from deploy_snn.formats.c import C
from deploy_snn.registry import NEURONS

FIRMWARE = Path(__file__).parents[3] / "serve" / "c"
TOOLS = {
    "cortex-m4": (
        ("arm-none-eabi-gcc", "qemu-system-arm", "/usr/lib/picolibc/arm-none-eabi/picolibc.specs"),
        "gcc-arm-none-eabi picolibc-arm-none-eabi qemu-system-arm",
    ),
    "rv32": (
        ("riscv64-unknown-elf-gcc", "qemu-system-riscv32", "/usr/lib/picolibc/riscv64-unknown-elf/picolibc.specs"),
        "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc",
    ),
}
STEPS = 40


def need(target: str) -> None:
    tools, packages = TOOLS[target]
    missing = [tool for tool in ("make", *tools) if not (Path(tool).is_file() or shutil.which(tool))]
    if missing:
        pytest.skip(f"{missing[0]} is not installed: apt-get install {packages}")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not any(shutil.which(tools[0]) for tools, _ in TOOLS.values()):
        pytest.skip(f"no compiler for firmware is installed: apt-get install {TOOLS['cortex-m4'][1]}")
    folder = tmp_path_factory.mktemp("bundles")
    torch.manual_seed(0)
    models = {name: (load_model(name, n=5, traces=True), None) for name in NEURONS}
    models["small_diehl_cook"] = (load_model("models/diehl_cook_2015.py", n=8, n_input=40), 10)
    models["small_diehl_cook_that_learns"] = (load_model("models/diehl_cook_2015.py", n=8, n_input=40, plastic=True), None)
    for name, (model, snap) in models.items():
        bundle = export(model, folder / name, formats=[C(check_steps=STEPS)], golden_steps=STEPS, snap_bits=snap)
    weights = bundle.golden().states["X_to_exc.w"][-1]
    assert (weights != bundle.initial_state(1)["X_to_exc.w"]).any(), "the last one does not learn"
    return folder


def run(target: str, bundles: Path, build: Path) -> tuple[int, list[str]]:
    command = ["make", "--silent", "run", f"BUNDLES={bundles}", f"BUILD={build}", f"TARGET={target}"]
    done = subprocess.run(
        command, cwd=FIRMWARE, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL
    )
    assert "error" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("target", TOOLS)
def test_all_models_are_equal_on_the_device(target: str, bundles: Path, tmp_path: Path) -> None:
    need(target)
    status, shown = run(target, bundles, tmp_path / "build")
    assert shown[-1] == f"{len(NEURONS) + 2} of {len(NEURONS) + 2} models are equal to torch"
    assert status == 0


def test_another_result_is_found_on_the_device(bundles: Path, tmp_path: Path) -> None:
    """A lower threshold: the device names the model and the step, and fails."""
    need("cortex-m4")
    some = tmp_path / "some"
    for name in ("lif", "heaviside"):
        shutil.copytree(bundles / name, some / name)
    source = some / "lif" / "model.c"
    text = source.read_text()
    assert text.count("thresh = -52.0f") == 1
    source.write_text(text.replace("thresh = -52.0f", "thresh = -58.0f"))
    status, shown = run("cortex-m4", some, tmp_path / "build")
    assert shown[0] == "heaviside: equal"
    assert shown[1].startswith("lif: differs at step ")
    assert shown[2] == "1 of 2 models are equal to torch"
    assert status != 0
