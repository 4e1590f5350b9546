"""The library for the Arduino IDE and PlatformIO: its sketch compiles against its layout, and checks the model."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deploy_snn import export, load_model
from deploy_snn.formats.c import C
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes

SCRIPT = Path(__file__).parents[3] / "serve" / "c" / "arduino.py"
BOARD = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#define A0 14
struct {
    void begin(long) {}
    void print(long x) { std::printf("%ld", x); }
    void print(const char *x) { std::printf("%s", x); }
    void println(long x) { print(x); println(); }
    void println(const char *x) { print(x); println(); }
    void println() { std::printf("\\n"); }
} Serial;
long random(long n) { return std::rand() % n; }
int analogRead(int) { return 1023; }
void delay(unsigned long) {}
"""
"""What the sketch needs of a board, on this machine."""

MAIN = "int main() { setup(); for (int i = 0; i < 30; i++) loop(); }\n"


def library(bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", SCRIPT, bundle, folder], capture_output=True, text=True, check=False, cwd=folder.parent
    )


def run_sketch(folder: Path, name: str) -> list[str]:
    """Compile as the Arduino IDE does, where the platform's flags allow contraction, and run it."""
    machine = ["-mfma"] if platform.machine() == "x86_64" else []
    source, build = folder / "src", folder.parent
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", *machine]
    subprocess.run(["cc", "-std=gnu11", *flags, "-c", source / f"{name}.c", "-o", build / "model.o"], check=True)
    sketch = folder / "examples" / f"{name}_steps" / f"{name}_steps.ino"
    (build / "sketch.cpp").write_text(f"{BOARD}{sketch.read_text()}{MAIN}")
    command = ["c++", "-std=gnu++11", *flags, f"-I{source}", build / "sketch.cpp", build / "model.o", "-o", build / "run"]
    subprocess.run([*command, "-lm"], check=True)
    return subprocess.run([build / "run"], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(not all(map(shutil.which, ("cc", "c++"))), reason="a C and a C++ compiler are needed")
@pytest.mark.parametrize("name", ["lif", "diehl_cook_2015"])
def test_the_sketch_checks_the_model_and_steps(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, snap = (
        (load_model("lif", n=6), None) if name == "lif" else (load_model("models/diehl_cook_2015.py", n=6, n_input=40), 7)
    )
    export(model, tmp_path / name, formats=[C(check_steps=40)], golden_steps=40, snap_bits=snap)
    done = library(tmp_path / name, tmp_path / "library")
    assert (done.returncode, done.stderr) == (0, "")
    shown = run_sketch(tmp_path / "library", name)
    assert shown[0] == f"{name}: equal to torch"
    assert len(shown) == 31
    assert set("".join(shown[1:])) == {"0", "1"}

    source = tmp_path / "library" / "src" / f"{name}.c"
    text = source.read_text()
    threshold = "thresh = -52.0f" if name == "lif" else "inh_thresh = -40.0f"
    assert text.count(threshold) == 1
    source.write_text(text.replace(threshold, f"{threshold.partition('=')[0]}= -64.0f"))
    assert run_sketch(tmp_path / "library", name)[0].startswith(f"{name}: differs from torch at step ")


def test_what_the_tools_read(tmp_path: Path) -> None:
    bundle = export(load_model("lif", n=6), tmp_path / "lif", formats=["c"], golden_steps=0).path
    assert library(bundle, tmp_path / "library").returncode == 0
    lines = (tmp_path / "library" / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert fields.keys() >= {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"}
    assert (tmp_path / "library" / "src" / fields["includes"]).is_file()
    described = json.loads((tmp_path / "library" / "library.json").read_text())
    assert "-ffp-contract=off" in described["build"]["flags"]
    assert (tmp_path / "library" / "src" / described["headers"]).is_file()
    assert "_check(" not in (tmp_path / "library" / "examples" / "lif_steps" / "lif_steps.ino").read_text()


def test_what_cannot_be_a_library(tmp_path: Path) -> None:
    network = Network()
    network.add_layer(Input(n=600), "x")
    network.add_layer(LIFNodes(n=500), "y")
    network.add_connection(Dense(torch.rand(600, 500)), "x", "y")
    large = export(network, tmp_path / "large", formats=["c"], golden_steps=0).path
    other = export(load_model("lif", n=6), tmp_path / "lif", formats=["onnx"], golden_steps=0).path
    for bundle, message in (
        (large, "has 1200000 bytes of weights in a file"),
        (other, "has no files of format c: export the model with it"),
        (tmp_path / "none", "No such file"),
    ):
        done = library(bundle, tmp_path / "library")
        assert done.returncode == 2
        assert message in done.stderr
        assert not (tmp_path / "library").exists()
