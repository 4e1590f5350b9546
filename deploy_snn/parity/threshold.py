"""The threshold stimulus: drives that land the potential exactly on its threshold, and one ulp to either side of it.

It is built from the reference while that runs: at each step, for each neuron, a search over all float32 drives finds the
one that brings the number which the spike's comparison sees to its target. A runtime that computes ``>`` for ``>=``, or
that takes a refractory count of exactly 0 for more than 0, cannot agree on this stimulus.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from deploy_snn.contract import Contract, Kind, Role, TensorSpec
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.stimulus import Request, Stimulus
from deploy_snn.parity.ulp import from_ordinal, ordinal
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays

BELOW, ON, ABOVE, REST = -1, 0, 1, 9
"""Targets: ulps from the threshold, and no target at all."""

LARGEST = np.float32(2.0**20)
"""The search tries drives up to this."""

PROBABILITY_MARGIN = np.float32(2.0**-16)
"""How far noise keeps from a spike probability, which comes from exponentials that no two runtimes share to the bit."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def threshold(request: Request) -> Stimulus:
    """Build the stimulus, and count in its remarks how often each target was hit. Raises InvalidInput if "on" never was."""
    rng, program = request.rng(), request.program
    start = state = _edge_of_refractoriness(program, request.batch, rng)
    quiet = {spec.name: np.zeros(spec.shape(batch=request.batch), np.float32) for spec in request.contract.inputs}
    compared = program.threshold_inputs(to_torch(quiet), to_torch(start))
    drives = [
        spec
        for spec in request.contract.inputs
        if spec.role is Role.DRIVE and _spikes_of(request.contract, spec) in compared
    ]
    probes = [_Probe(program, spec, quiet, start) for spec in drives]
    series: dict[str, list[Array]] = {spec.name: [] for spec in request.contract.inputs}
    hits = {"below": 0, "on": 0, "above": 0}
    for _ in range(request.steps):
        # Noise with many ties, so that a draw among equals shows how it picks.
        inputs = {name: (rng.integers(0, 8, zeros.shape) / 8).astype(np.float32) for name, zeros in quiet.items()}
        for probe in probes:
            landed = probe.aim(inputs, state, rng)
            for name, target in (("below", BELOW), ("on", ON), ("above", ABOVE)):
                hits[name] += int((landed == target).sum())
        for name, array in inputs.items():
            series[name].append(array)
        state = _step(program, inputs, state)
    if not hits["on"]:
        raise InvalidInput("no drive brings a potential of this program exactly to its threshold: use another stimulus")
    return Stimulus("threshold", {name: np.stack(arrays) for name, arrays in series.items()}, start, hits)


def _spikes_of(contract: Contract, drive: TensorSpec) -> str | None:
    """The name of the spikes of the layer that a drive enters; None for a layer that sends none."""
    return next((spec.name for spec in contract.related(drive, role=Role.SPIKES)), None)


def _edge_of_refractoriness(program: Program, batch: int, rng: Generator) -> Arrays:
    """The initial state, but with counters at 0 or at dt, so that some are exactly 0 when they are tested."""
    state = to_numpy(program.initial_state(batch))
    for spec in program.contract.states:
        if spec.kind is Kind.COUNTER:
            state[spec.name] = np.float32(program.contract.dt) * rng.integers(0, 2, state[spec.name].shape).astype(
                np.float32
            )
    return state


def _step(program: Program, inputs: Arrays, state: Arrays) -> Arrays:
    with torch.no_grad():
        return to_numpy(program(to_torch(inputs), to_torch(state))[1])


@dataclass
class _Seen:
    """What a comparison sees: the value and its threshold."""

    value: Floats
    threshold: Floats

    @property
    def distance(self) -> Ints:
        return ordinal(self.value) - ordinal(self.threshold)


class _Probe:
    """Finds drives for one input of a program: ``x`` with spikes ``s``, or in a network ``exc.x`` with ``exc.s``."""

    def __init__(self, program: Program, spec: TensorSpec, quiet: Arrays, start: Arrays) -> None:
        self.program = program
        self.drive = spec.name
        self.noise = next((other.name for other in program.contract.related(spec, role=Role.NOISE)), "")
        self.spikes = _spikes_of(program.contract, spec) or ""
        self.window_axis = spec.window_axis
        self.memories = [other.name for other in program.contract.related(spec, kind=Kind.WINDOW)]
        self.late, self.slot = False, 0
        self.slot = self._strongest_slot(quiet, start)
        at_rest, pushed = self._see(quiet, start, np.float32(0)), self._see(quiet, start, np.float32(1))
        # Where no drive moves what this step compares, spikes are reported a step late: look at the next comparison.
        self.late = bool((at_rest.value == pushed.value).all())
        noisy = {**quiet, self.noise: np.full_like(quiet[self.noise], 0.5)} if self.noise in quiet else quiet
        self.noise_decides = bool((self._see(noisy, start, np.float32(0)).threshold != at_rest.threshold).any())

    def aim(self, inputs: Arrays, state: Arrays, rng: Generator) -> Ints:
        """Put drives (and noise, where that decides) into the inputs. Gives the target that each neuron landed on."""
        shape = self._see(inputs, state, np.float32(0)).value.shape
        targets = rng.choice([BELOW, ON, ABOVE, REST], size=shape, p=[0.2, 0.35, 0.2, 0.25])
        targets[self._remembering(state, shape)] = REST
        if self.noise_decides:
            drive, landed = self._aim_at_noise(inputs, state, targets, rng)
        else:
            drive, landed = self._aim_at_threshold(inputs, state, targets)
        inputs[self.drive] = self._placed(inputs, drive)
        return landed

    def _aim_at_threshold(self, inputs: Arrays, state: Arrays, targets: Ints) -> tuple[Floats, Ints]:
        drive = self._smallest(lambda d: self._see(inputs, state, d).distance >= targets, targets.shape)
        resting = self._see(inputs, state, np.float32(0))
        drive = np.where(resting.distance == targets, np.float32(0), drive)
        hit = (self._see(inputs, state, drive).distance == targets) & (targets != REST)
        # A neuron that cannot be reached is refractory: push it as hard as would make it fire if it were not.
        push = np.abs(resting.threshold - resting.value) + 1 if not self.late else np.zeros_like(drive)
        return np.where(hit, drive, np.where(targets == REST, 0, push)).astype(np.float32), np.where(hit, targets, REST)

    def _aim_at_noise(self, inputs: Arrays, state: Arrays, targets: Ints, rng: Generator) -> tuple[Floats, Ints]:
        """On: no probability at all against noise 0. Below and above: noise beside a probability well inside (0, 1)."""
        wanted = rng.uniform(0.2, 0.8, targets.shape).astype(np.float32)
        certain = 2 * self._smallest(lambda d: self._see(inputs, state, d).value > 0, targets.shape)
        likely = self._smallest(lambda d: self._see(inputs, state, d).value >= wanted, targets.shape)
        drive = np.where(targets == ON, certain, np.where(targets == REST, 0, np.minimum(likely, 1000))).astype(np.float32)
        p = self._see(inputs, state, drive).value
        beside = p - np.sign(targets) * PROBABILITY_MARGIN  # noise below p: the value is above its threshold, and it fires
        noise = np.where(targets == ON, 0, np.where(targets == REST, inputs[self.noise], beside)).astype(np.float32)
        hit = (noise >= 0) & (noise < 1) & ((targets != ON) | (p == 0)) & (targets != REST)
        inputs[self.noise] = np.where(hit, noise, inputs[self.noise])
        return np.where(hit, drive, 0).astype(np.float32), np.where(hit, targets, REST)

    def _smallest(self, enough: Callable[[Floats], NDArray[np.bool_]], shape: tuple[int, ...]) -> Floats:
        """The smallest drive that is enough, between 0 and the largest, or down from 0 where 0 is enough already."""
        already = enough(np.zeros(shape, np.float32))
        low = np.where(already, ordinal(np.array(-LARGEST)), 0)
        high = np.where(already, 0, ordinal(np.array(LARGEST)))
        while (high - low > 1).any():
            middle = (low + high) // 2
            yes = enough(from_ordinal(middle))
            low, high = np.where(yes, low, middle), np.where(yes, middle, high)
        return from_ordinal(high)

    def _see(self, inputs: Arrays, state: Arrays, drive: Floats | np.float32) -> _Seen:
        given, now = {**inputs, self.drive: self._placed(inputs, drive)}, state
        if self.late:
            given, now = inputs, _step(self.program, given, state)
        with torch.no_grad():
            value, bar = self.program.threshold_inputs(to_torch(given), to_torch(now))[self.spikes]
        return _Seen(value.numpy(), bar.expand(value.shape).numpy())

    def _placed(self, inputs: Arrays, drive: Floats | np.float32) -> Floats:
        """The drive as the input takes it: whole, or in the window slot where it has the most effect."""
        placed = np.zeros_like(inputs[self.drive])
        if self.window_axis is None:
            placed[...] = drive
        else:
            placed[(slice(None),) * self.window_axis + (self.slot,)] = drive
        return placed

    def _strongest_slot(self, quiet: Arrays, start: Arrays) -> int:
        if self.window_axis is None:
            return 0
        effects = []
        for slot in range(quiet[self.drive].shape[self.window_axis]):
            self.slot = slot
            effects.append(float(self._see(quiet, start, np.float32(8)).value.mean()))
        return int(np.argmax(effects))

    def _remembering(self, state: Arrays, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Neurons with a spike in a window of theirs: two of them would make a sum whose bits are the runtime's own."""
        busy = np.zeros(shape, bool)
        for name in self.memories:
            busy |= (state[name] != 0).any(axis=1)
        return busy
