"""The comparison reports a planted difference with its position and its cause."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.eager import record, to_torch
from deploy_snn.parity import Lockstep, ParityReport, Request, Tolerance, make_stimulus, record_reference
from deploy_snn.runtimes.eager import Eager
from deploy_snn.tensors import Arrays

Exported = Callable[..., Bundle]


class Faulty(Eager):
    """Eager torch with a fault: it flips one spike, or changes one potential, in one step."""

    step_of_fault, tensor, place, by = 7, "s", (1, 3), 0.0
    taken = 0

    def step(self, inputs: Arrays) -> Arrays:
        outputs = super().step(inputs)
        if self.taken == self.step_of_fault and self.tensor == "s":
            outputs["s"] = outputs["s"].copy()
            outputs["s"][self.place] ^= True
        self.taken += 1
        return outputs

    def run(self, inputs: Arrays) -> Arrays:
        steps = [self.step({name: array[i] for name, array in inputs.items()}) for i in range(len(inputs["x"]))]
        return {"s": np.stack([outputs["s"] for outputs in steps])}

    def state(self) -> Arrays:
        state = {name: array.copy() for name, array in super().state().items()}
        if self.taken == self.step_of_fault + 1 and self.tensor != "s":
            state[self.tensor][self.place] += np.float32(self.by)
        return state


def lockstep(bundle: Bundle, **options: object) -> Lockstep:
    program = Eager(bundle).program
    stimulus = make_stimulus("poisson", Request(program, 30, 2, 0))
    return Lockstep(record_reference(program, stimulus), program, Tolerance(), **options)


@pytest.mark.parametrize("mode", ["locked", "free", "sequence"])
def test_flipped_spike_is_reported(exported: Exported, mode: str) -> None:
    compared = lockstep(exported("lif", n=6))
    report = compared.run("planted", Faulty(exported("lif", n=6)), mode, lambda _: None)
    found = report.divergence
    assert (report.equal, found.step, found.tensor, found.batch_row, found.neuron) == (False, 7, "s", 1, (3,))
    assert found.expected is not found.actual
    assert report.tensors[0].differing == 1
    assert found.verdict.endswith("a bug")
    inputs, before = compared.trace.inputs["x"][7], compared.trace.state_before(7)
    decay = np.float32(np.exp(np.float32(-0.01)))
    drive = 0 if before["refrac_count"][1, 3] > 0 else inputs[1, 3]
    assert found.value == pytest.approx(decay * (before["v"][1, 3] + 65) - 65 + drive)
    assert found.threshold == -52


def test_changed_potential_is_reported(exported: Exported) -> None:
    runtime = Faulty(exported("lif", n=6))
    runtime.tensor, runtime.by = "v", 0.25
    found = lockstep(exported("lif", n=6)).run("planted", runtime, "free", lambda _: None).divergence
    assert (found.step, found.tensor, found.batch_row, found.neuron) == (7, "next.v", 1, (3,))
    assert found.actual - found.expected == 0.25
    assert found.ulp_from_threshold is None


class Drifting(Eager):
    """Eager torch with a fault that stays: in one step it changes its potentials by a small number."""

    def step(self, inputs: Arrays) -> Arrays:
        outputs = super().step(inputs)
        self._steps = getattr(self, "_steps", 0) + 1
        if self._steps == 8:
            self._state["v"] = self._state["v"] + 2.0**-8
        return outputs


def test_drift_is_reset_in_locked_mode_and_kept_in_free_mode(exported: Exported) -> None:
    """In locked mode each step starts from the reference's state, so one step differs; in free mode all later ones do."""
    wrong = {}
    for mode in ("locked", "free"):
        report = lockstep(exported("lif", n=6)).run("drifting", Drifting(exported("lif", n=6)), mode, lambda _: None)
        assert (report.divergence.step, report.divergence.tensor) == (7, "next.v")
        wrong[mode] = next(tensor.differing for tensor in report.tensors if tensor.tensor == "next.v")
    assert wrong["locked"] == 2 * 6
    assert wrong["free"] > 5 * 2 * 6


def test_verdict_separates_rounding_from_bugs(exported: Exported) -> None:
    """A spike that differs is rounding if SRM0's noise is very close to the probability, and a bug otherwise."""
    bundle = exported("srm0", n=6)
    for distance, verdict in ((1e-7, "within the rounding of the exponential in s"), (1e-3, "a bug")):
        compared = lockstep(bundle)
        trace, program = compared.trace, compared.program
        p, _ = program.threshold_inputs(to_torch(at(trace.inputs, 7)), to_torch(trace.state_before(7)))["s"]
        noise = trace.inputs["noise"].copy()
        noise[7, 1, 3] = p[1, 3].item() + distance
        changed = Lockstep(record(program, trace.inputs | {"noise": noise}, trace.start), program, Tolerance())
        found = changed.run("planted", Faulty(bundle), "locked", lambda _: None).divergence
        assert (found.step, found.neuron) == (7, (3,))
        assert verdict in found.verdict


def test_fail_fast_stops(exported: Exported) -> None:
    report = lockstep(exported("lif", n=6), fail_fast=True).run("p", Faulty(exported("lif", n=6)), "free", lambda _: None)
    assert report.steps == 8


def test_progress_counts_every_step(exported: Exported) -> None:
    for mode in ("locked", "free", "sequence"):
        counted: list[int] = []
        lockstep(exported("lif", n=6)).run("eager", Eager(exported("lif", n=6)), mode, counted.append)
        assert sum(counted) == 30


def test_report_json_round_trip(exported: Exported, command: Callable, tmp_path: Path) -> None:
    written = tmp_path / "report.json"
    path = exported("diehl-and-cook", n=6).path
    assert command("parity", path, "--steps", 20, "--json", written, "--stimulus", "ramp")[0] == 0
    report = ParityReport.model_validate_json(written.read_text())
    assert report.equal
    (model,) = report.models
    (stimulus,) = model.stimuli
    assert (stimulus.steps, stimulus.batch, stimulus.stimulus, model.reference) == (20, 3, "ramp", "eager torch")
    assert {run.runtime for run in model.runs} >= {"torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"}
    assert {run.mode for run in model.runs} == {"locked", "free", "sequence", "initial state", "golden trace"}
    assert {tensor.tensor for run in model.runs if run.mode != "initial state" for tensor in run.tensors} == {
        "s", "next.v", "next.theta", "next.refrac_count"
    }  # fmt: skip
    assert all(tensor.max_ulp == 0 for run in model.runs for tensor in run.tensors if tensor.dtype == "float32")
