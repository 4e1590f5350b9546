"""Networks that learn in the C++ hosts: the weights of Python, saved with the state, and taken up by another host."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.contract import Role
from deploy_snn.cpus import cpus_here
from deploy_snn.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.hosts

ROOT = Path(__file__).parent.parent.parent.parent
STEPS, SAMPLE, WEIGHTS = 100, 25, "X_to_exc.w"


@pytest.fixture(scope="module")
def plastic(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_model(
        str(ROOT / "models" / "diehl_cook_2015.py"),
        {"n": 6, "n_input": 20, "plastic": True},
        tmp_path_factory.mktemp("plastic") / "b",
        formats=["onnx", "torchscript", "c"],
        format_options={"c": {"libraries": cpus_here()}},
        golden_steps=0,
    )


@pytest.mark.parametrize("hosts", [("torch", "ort"), ("ort", "c"), ("c", "torch")])
def test_a_host_learns_and_another_one_goes_on(hosts: tuple[str, str], plastic: Bundle, build, tmp_path: Path) -> None:
    """The sums of the norm have another order in each runtime, and so the last bits of a weight may differ."""
    rng = np.random.default_rng(4)
    inputs = {spec.name: rng.random((STEPS, *spec.shape(batch=1)), np.float32) for spec in plastic.contract.inputs}
    for spec in plastic.contract.inputs:
        if spec.role is Role.DRIVE:
            inputs[spec.name] = (inputs[spec.name] < 0.4).astype(np.float32)
    session = plastic.session("eager")
    for first in range(0, STEPS, SAMPLE):
        session.run({name: values[first : first + SAMPLE] for name, values in inputs.items()})
        session.normalise()
    state: list[object] = []
    for host, first in zip(hosts, (0, STEPS // 2), strict=True):
        write_tensors(tmp_path / "in", {name: values[first : first + STEPS // 2] for name, values in inputs.items()})
        files = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--state-out", tmp_path / f"state-{host}")
        done = build.hosts[host]("run", plastic.path, *files, "--normalise-every", SAMPLE, *state)
        assert (done.returncode, done.stderr) == (0, "")
        state = ["--state-in", tmp_path / f"state-{host}"]
    learnt = read_tensors(tmp_path / f"state-{hosts[1]}")
    assert np.abs(learnt[WEIGHTS] - plastic.initial_state(1)[WEIGHTS]).max() > 0.01
    np.testing.assert_allclose(learnt[WEIGHTS].sum(0), 2, rtol=1e-5)
    for name, value in session.state.items():
        np.testing.assert_allclose(learnt[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("host", ["torch", "ort", "c"])
def test_a_model_without_a_norm(host: str, compiled: Callable[[str], Bundle], build, tmp_path: Path) -> None:
    bundle = compiled("current-lif")
    write_tensors(
        tmp_path / "in", {spec.name: np.zeros((4, *spec.shape(batch=1)), np.float32) for spec in bundle.contract.inputs}
    )
    files = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--normalise-every", 2)
    build.hosts[host].refuses(2, "the program has no weights to normalise", "run", bundle.path, *files)
