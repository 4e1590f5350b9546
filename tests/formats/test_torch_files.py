"""TorchScript and torch.export files, loaded with torch alone."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.neurons import NEURONS
from deploy_snn.torch_internals import load_script


def drives(bundle: Bundle, steps: int) -> dict[str, torch.Tensor]:
    return {
        spec.name: torch.rand(steps, *spec.shape(batch=3)) * (1 if spec.role == "noise" else 25)
        for spec in bundle.contract.inputs
    }


@pytest.mark.parametrize("name", NEURONS)
def test_state_is_an_argument_and_a_result(name: str, exported: Callable[..., Bundle]) -> None:
    """A second call goes on from the state it is given, and from the initial state it starts again: nothing is hidden."""
    bundle = exported(name, n=6)
    inside = {CONTRACT_FILE: ""}
    script = load_script(bundle.path / "model.pt", inside)
    assert Contract.parse(inside[CONTRACT_FILE], "model.pt") == bundle.contract
    inside = {CONTRACT_FILE: ""}
    step = torch.export.load(bundle.path / "model.pt2", extra_files=inside).module()
    assert Contract.parse(inside[CONTRACT_FILE], "model.pt2") == bundle.contract
    run = torch.export.load(bundle.path / "sequence.pt2").module()

    inputs = drives(bundle, 30)
    start = script.initial_state(3)
    assert {key: value.shape for key, value in start.items()} == {
        spec.name: torch.Size(spec.shape(batch=3)) for spec in bundle.contract.states
    }
    whole, last = script.rollout(inputs, start)
    again, _ = script.rollout(inputs, start)
    assert torch.equal(whole["s"], again["s"])
    exported_whole, exported_last = run(inputs, start)
    assert torch.equal(whole["s"], exported_whole["s"])
    for function in (script, step):
        state = start
        for now in range(30):
            outputs, state = function({key: value[now] for key, value in inputs.items()}, state)
            assert torch.equal(outputs["s"], whole["s"][now])
        for key, value in state.items():
            assert torch.equal(value, last[key])
            assert torch.equal(value, exported_last[key])
    assert whole["s"].any()


def test_rollout_of_an_empty_sequence_is_an_error(exported: Callable[..., Bundle]) -> None:
    script = load_script(exported("lif", n=6).path / "model.pt", {})
    with pytest.raises(torch.jit.Error, match="the inputs are empty"):
        script.rollout({"x": torch.zeros(0, 1, 6)}, script.initial_state(1))


def test_files_contain_no_paths_of_this_machine(exported: Callable[..., Bundle]) -> None:
    bundle = exported("lif", n=6)
    for name in ("model.pt", "model.pt2", "sequence.pt2"):
        with zipfile.ZipFile(bundle.path / name) as archive:
            for entry in archive.namelist():
                assert str(Path(deploy_snn.__file__).parent).encode() not in archive.read(entry), (name, entry)


def test_golden_trace_is_complete(exported: Callable[..., Bundle]) -> None:
    golden = exported("diehl-and-cook", n=6).golden()
    assert golden.steps == 200
    assert golden.outputs["s"].any()
    assert golden.states["v"].shape == (200, 2, 6)
    assert golden.states["theta"].shape == (200, 6)
    assert np.isfinite(golden.states["v"]).all()
