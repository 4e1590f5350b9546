"""The installed library in a separate project, and the cost of a step beside that of the bare ONNX Runtime call in it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.eager import record
from deploy_snn.reference import reference_program

pytestmark = pytest.mark.hosts

ROOT = Path(__file__).parent.parent.parent.parent
ONNXRUNTIME = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*"))


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def only_as_shipped(build) -> None:
    if build.sanitized:
        pytest.skip("this tests the build without sanitizers")


def test_a_robot(build, tmp_path: Path) -> None:
    """The example builds against the installed library; ended by SIGTERM, it continues from its saved state in C."""
    only_as_shipped(build)
    run("cmake", "--install", build.folder, "--prefix", tmp_path / "prefix")
    project = ROOT / "serve" / "cpp" / "examples" / "robot"
    run("cmake", "-S", project, "-B", tmp_path / "robot", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
    run("cmake", "--build", tmp_path / "robot")
    bundle = Bundle.open(ROOT / "export" / "lif")
    x = (np.random.default_rng(0).random((60, 1, 8)) * 25).astype(np.float32)
    expected = record(reference_program(bundle), {"x": x}, bundle.initial_state(1)).outputs["s"]
    assert expected.any()

    state, library = tmp_path / "state.safetensors", tmp_path / "lif.so"
    run("cc", "-O3", "-ffp-contract=off", "-shared", "-fPIC", bundle.file("model.c"), "-o", library)
    command = [str(tmp_path / "robot" / "robot"), str(bundle.path), str(state)]
    seen = b""
    for begin, end, runtime in ((0, 25, ("onnxruntime", ONNXRUNTIME)), (25, 60, ("c", library))):
        robot = subprocess.Popen([*command, *map(str, runtime)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert robot.stdin
        assert robot.stdout
        robot.stdin.write(x[begin:end].tobytes())
        robot.stdin.flush()
        actions = b""
        while len(actions) < (end - begin) * 8:  # it waits for its sensors now
            actions += os.read(robot.stdout.fileno(), 4096)
        robot.send_signal(signal.SIGTERM)
        assert robot.wait(20) == 0
        robot.stdin.close()
        robot.stdout.close()
        seen += actions
    assert seen == expected.astype(np.uint8).tobytes()
    assert state.is_file()


@pytest.mark.parametrize("runtime", ["torch", "aoti", "ort", "c"])
@pytest.mark.parametrize("model", ["current-lif", str(ROOT / "models" / "diehl_cook_2015.py")])
def test_a_program_starts_anew(model: str, runtime: str, compiled: Callable[[str], Bundle], build) -> None:
    """With another batch, the same batch, another state: nothing is left from the run before."""
    assert not run(build.folder / "restart", compiled(model).path, runtime, ONNXRUNTIME)


@pytest.mark.parametrize("model", ["lif", str(ROOT / "models" / "diehl_cook_2015.py")])
def test_a_step_allocates_nothing(model: str, compiled: Callable[[str], Bundle], build) -> None:
    """A step makes no more allocations than ONNX Runtime's own call."""
    only_as_shipped(build)
    cost = json.loads(run(build.folder / "step_cost", compiled(model).path, ONNXRUNTIME))
    assert cost["bare"]["allocations"] > 0, "the counter counts"
    assert cost["step"]["allocations"] == cost["bare"]["allocations"]


def test_the_readme_of_the_hosts(build, tmp_path: Path) -> None:
    """Its commands run unchanged and print the output that it shows."""
    only_as_shipped(build)
    text = (ROOT / "serve" / "cpp" / "README.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    (tmp_path / "export").symlink_to(ROOT / "export")
    path = f"{build.folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "ORT": str(ONNXRUNTIME)}
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$).*\n)*)", "".join(blocks), re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        for wanted, found in zip(expected.splitlines(), done.stdout.splitlines(), strict=True):
            assert found == wanted or (wanted.endswith("...") and found.startswith(wanted.removesuffix("...")))
