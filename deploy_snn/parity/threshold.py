"""The threshold stimulus: drives that bring potentials exactly to the threshold, and one ulp above and below it.

It is built while the reference runs. At each step and for each neuron, a search over all float32 drives finds the drive
that brings the compared value to its target. Layers of a network that no input drives directly are aimed by their state
instead: every few steps the run starts anew from potentials that bring them to their targets. The stimulus exposes a
runtime that computes ``>`` instead of ``>=``, or that treats a refractory counter of exactly 0 as greater than 0.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from deploy_snn.contract import Contract, Kind, Role, TensorSpec
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.parity.exactness import links_of, roundings_of
from deploy_snn.parity.stimulus import Request, Stimulus
from deploy_snn.parity.ulp import from_ordinal, ordinal
from deploy_snn.program import Program
from deploy_snn.tensors import Array, Arrays

BELOW, ON, ABOVE, REST = -1, 0, 1, 9
"""Targets in ulps from the threshold; REST means no target."""

LARGEST = np.float32(2.0**20)
"""The largest drive in the search."""

AWAY = 2**12
"""The distance from the threshold, in ulps, for a layer whose sums may be rounded: last bits would decide an exact hit."""

PROBABILITY_MARGIN = np.float32(2.0**-16)
"""The distance of noise from a spike probability, because the last bits of exponentials differ between runtimes."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


RESTART_EVERY = 4
"""The number of steps between two states that are aimed at targets."""


def threshold(request: Request) -> Stimulus:
    """Build the stimulus. Its remarks count the hits of each target. Raises InvalidInput if none was ever hit."""
    rng, program = request.rng(), request.program
    start = state = _edge_of_refractoriness(program, request.batch, rng)
    quiet = {spec.name: np.zeros(spec.shape(batch=request.batch), np.float32) for spec in request.contract.inputs}
    compared = program.threshold_inputs(to_torch(quiet), to_torch(start))
    drives = {_spikes_of(request.contract, spec): spec for spec in request.contract.inputs if spec.role is Role.DRIVE}
    searches = [_DriveSearch(program, spec, quiet, start) for spikes, spec in drives.items() if spikes in compared]
    aims = [_StateSearch(program, spec) for spec in _potentials(request.contract, compared.keys() - drives.keys())]
    aimed = 0
    series: dict[str, list[Array]] = {spec.name: [] for spec in request.contract.inputs}
    restarts: dict[int, Arrays] = {}
    hits = {"below": 0, "on": 0, "above": 0}

    def count(hit_targets: Ints) -> None:
        nonlocal aimed
        aimed += int((hit_targets != REST).sum())
        for name, target in (("below", BELOW), ("on", ON), ("above", ABOVE)):
            hits[name] += int((hit_targets == target).sum())

    for step in range(request.steps):
        # Noise with many ties, to test which of several equal candidates a winner-take-all picks.
        inputs = {name: (rng.integers(0, 8, zeros.shape) / 8).astype(np.float32) for name, zeros in quiet.items()}
        if aims and step % RESTART_EVERY == 0:
            state = {name: array.copy() for name, array in state.items()}
            for aim in aims:
                count(aim.aim(inputs, state, rng))
            restarts[step] = state
        for search in searches:
            count(search.aim(inputs, state, rng))
        for name, array in inputs.items():
            series[name].append(array)
        state = _step(program, inputs, state)
    if not aimed:
        raise InvalidInput("stimulus 'threshold': no drive brings a potential to its threshold; use another stimulus")
    return Stimulus("threshold", {name: np.stack(arrays) for name, arrays in series.items()}, start, hits, restarts)


def _keep_away(targets: Ints) -> Ints:
    """The targets of a layer whose compared values may be rounded."""
    return np.select([targets == BELOW, targets == ABOVE], [-AWAY, AWAY], REST)


def _is_rounded(program: Program, spikes: str) -> bool:
    """Whether the sum of a connection that may be rounded reaches the compared values of some spikes."""
    links = links_of(program) or ()
    (spec,) = [spec for spec in program.contract.outputs if spec.name == spikes]
    connections = {link.name for link in links}
    return any(rounding.tensor in connections for rounding in roundings_of(program.contract, links, spec))


def _clear_of(p: Floats, noise: Floats) -> Floats:
    """Noise, moved away from probabilities that are so close that the last bits of an exponential would decide."""
    close = (np.abs(noise - p) < PROBABILITY_MARGIN) & ((p != 0) | (noise != 0))
    return np.where(close, np.where(p < 0.5, p + 2 * PROBABILITY_MARGIN, p - 2 * PROBABILITY_MARGIN), noise).astype(
        np.float32
    )


def _potentials(contract: Contract, spikes: AbstractSet[str]) -> list[TensorSpec]:
    """The potential of the layer of each spike output, in the order of the outputs."""
    outputs = [spec for spec in contract.outputs if spec.name in spikes]
    return [found[0] for spec in outputs if (found := contract.related(spec, kind=Kind.POTENTIAL))]


def _spikes_of(contract: Contract, drive: TensorSpec) -> str | None:
    """The name of the spikes of the layer that receives a drive; None for a layer without spikes."""
    return next((spec.name for spec in contract.related(drive, role=Role.SPIKES)), None)


def _edge_of_refractoriness(program: Program, batch: int, rng: Generator) -> Arrays:
    """The initial state with random counters of 0 or dt, so that some are exactly 0 when they are compared."""
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
class _Comparison:
    """The operands of a threshold comparison."""

    value: Floats
    threshold: Floats

    @property
    def distance(self) -> Ints:
        return ordinal(self.value) - ordinal(self.threshold)


class _DriveSearch:
    """Finds drives for one input of a program: ``x`` for the spikes ``s``, or in a network ``exc.x`` for ``exc.s``."""

    def __init__(self, program: Program, spec: TensorSpec, quiet: Arrays, start: Arrays) -> None:
        self.program = program
        self.drive = spec.name
        self.noise = next((other.name for other in program.contract.related(spec, role=Role.NOISE)), "")
        self.spikes = _spikes_of(program.contract, spec) or ""
        self.rounded = _is_rounded(program, self.spikes)
        self.window_axis = spec.window_axis
        self.spike_windows = [other.name for other in program.contract.related(spec, kind=Kind.WINDOW)]
        self.late, self.slot = False, 0
        self.slot = self._strongest_slot(quiet, start)
        at_rest, driven = self._compare(quiet, start, np.float32(0)), self._compare(quiet, start, np.float32(1))
        # If the drive does not change the compared value of this step, spikes are one step late: use the next comparison.
        self.late = bool((at_rest.value == driven.value).all())
        noisy = {**quiet, self.noise: np.full_like(quiet[self.noise], 0.5)} if self.noise in quiet else quiet
        self.noise_decides = bool((self._compare(noisy, start, np.float32(0)).threshold != at_rest.threshold).any())

    def aim(self, inputs: Arrays, state: Arrays, rng: Generator) -> Ints:
        """Write drives (and noise, if it decides about spikes) into the inputs. Returns the target that each neuron hit."""
        shape = self._compare(inputs, state, np.float32(0)).value.shape
        targets = rng.choice([BELOW, ON, ABOVE, REST], size=shape, p=[0.2, 0.35, 0.2, 0.25])
        targets[self._has_spikes_in_window(state, shape)] = REST
        if self.noise_decides:
            drive, hit_targets = self._aim_at_noise(inputs, state, targets, rng)
        else:
            targets = _keep_away(targets) if self.rounded else targets
            drive, hit_targets = self._aim_at_threshold(inputs, state, targets)
        inputs[self.drive] = self._as_input(inputs, drive)
        return hit_targets

    def _aim_at_threshold(self, inputs: Arrays, state: Arrays, targets: Ints) -> tuple[Floats, Ints]:
        drive = self._smallest(lambda d: self._compare(inputs, state, d).distance >= targets, targets.shape)
        resting = self._compare(inputs, state, np.float32(0))
        drive = np.where(resting.distance == targets, np.float32(0), drive)
        hit = (self._compare(inputs, state, drive).distance == targets) & (targets != REST)
        # A neuron whose target is out of reach is refractory: use a drive that would otherwise make it fire.
        strong = np.abs(resting.threshold - resting.value) + 1 if not self.late else np.zeros_like(drive)
        return np.where(hit, drive, np.where(targets == REST, 0, strong)).astype(np.float32), np.where(hit, targets, REST)

    def _aim_at_noise(self, inputs: Arrays, state: Arrays, targets: Ints, rng: Generator) -> tuple[Floats, Ints]:
        """On: probability 0 and noise 0. Below and above: noise close to a probability well inside (0, 1)."""
        probability = rng.uniform(0.2, 0.8, targets.shape).astype(np.float32)
        certain = 2 * self._smallest(lambda d: self._compare(inputs, state, d).value > 0, targets.shape)
        likely = self._smallest(lambda d: self._compare(inputs, state, d).value >= probability, targets.shape)
        drive = np.where(targets == ON, certain, np.where(targets == REST, 0, np.minimum(likely, 1000))).astype(np.float32)
        p = self._compare(inputs, state, drive).value
        close = p - np.sign(targets) * PROBABILITY_MARGIN  # noise < p means a spike, so "above" needs noise below p
        noise = np.where(targets == ON, 0, np.where(targets == REST, inputs[self.noise], close)).astype(np.float32)
        hit = (noise >= 0) & (noise < 1) & ((targets != ON) | (p == 0)) & (targets != REST)
        drive = np.where(hit, drive, 0).astype(np.float32)
        noise = np.where(hit, noise, inputs[self.noise])
        inputs[self.noise] = _clear_of(self._compare(inputs, state, drive).value, noise)
        return drive, np.where(hit, targets, REST)

    def _smallest(self, enough: Callable[[Floats], NDArray[np.bool_]], shape: tuple[int, ...]) -> Floats:
        """Bisect for the smallest drive that is enough: between 0 and LARGEST, or between -LARGEST and 0 if 0 is enough."""
        zero_is_enough = enough(np.zeros(shape, np.float32))
        low = np.where(zero_is_enough, ordinal(np.array(-LARGEST)), 0)
        high = np.where(zero_is_enough, 0, ordinal(np.array(LARGEST)))
        while (high - low > 1).any():
            middle = (low + high) // 2
            is_enough = enough(from_ordinal(middle))
            low, high = np.where(is_enough, low, middle), np.where(is_enough, middle, high)
        return from_ordinal(high)

    def _compare(self, inputs: Arrays, state: Arrays, drive: Floats | np.float32) -> _Comparison:
        """The operands of the threshold comparison for a drive."""
        inputs_now, state_now = {**inputs, self.drive: self._as_input(inputs, drive)}, state
        if self.late:
            inputs_now, state_now = inputs, _step(self.program, inputs_now, state)
        with torch.no_grad():
            value, bound = self.program.threshold_inputs(to_torch(inputs_now), to_torch(state_now))[self.spikes]
        return _Comparison(value.numpy(), bound.expand(value.shape).numpy())

    def _as_input(self, inputs: Arrays, drive: Floats | np.float32) -> Floats:
        """The input array for a drive. If the input is a window, the drive is in the slot with the strongest effect."""
        array = np.zeros_like(inputs[self.drive])
        if self.window_axis is None:
            array[...] = drive
        else:
            array[(slice(None),) * self.window_axis + (self.slot,)] = drive
        return array

    def _strongest_slot(self, quiet: Arrays, start: Arrays) -> int:
        if self.window_axis is None:
            return 0
        effects = []
        for slot in range(quiet[self.drive].shape[self.window_axis]):
            self.slot = slot
            effects.append(float(self._compare(quiet, start, np.float32(8)).value.mean()))
        return int(np.argmax(effects))

    def _has_spikes_in_window(self, state: Arrays, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Neurons with a spike in their window. A second one would make a sum whose last bits depend on the runtime."""
        found = np.zeros(shape, bool)
        for name in self.spike_windows:
            found |= (state[name] != 0).any(axis=1)
        return found


class _StateSearch:
    """Finds potentials of a layer that no input drives directly, so that its compared values reach their targets."""

    def __init__(self, program: Program, potential: TensorSpec) -> None:
        self.program = program
        self.potential = potential.name
        contract = program.contract
        self.spikes = next(spec.name for spec in contract.related(potential, role=Role.SPIKES))
        self.rounded = _is_rounded(program, self.spikes)
        self.noise = next((spec.name for spec in contract.related(potential, role=Role.NOISE)), "")
        self.counters = [spec.name for spec in contract.related(potential, kind=Kind.COUNTER)]
        self.dt = np.float32(contract.dt)

    def aim(self, inputs: Arrays, state: Arrays, rng: Generator) -> Ints:
        """Write potentials and counters into the state (and noise into the inputs, if it decides about spikes).

        Returns the target that each neuron hit.
        """
        for name in self.counters:
            state[name] = self.dt * rng.integers(-1, 3, state[name].shape).astype(np.float32)
        before = state[self.potential]
        targets = rng.choice([BELOW, ON, ABOVE, REST], size=before.shape, p=[0.2, 0.35, 0.2, 0.25])
        if self._noise_decides(inputs, state):
            return self._aim_noise(inputs, state, targets)
        targets = _keep_away(targets) if self.rounded else targets
        low = np.full(before.shape, ordinal(np.array(-LARGEST)))
        high = np.full(before.shape, ordinal(np.array(LARGEST)))
        while (high - low > 1).any():
            middle = (low + high) // 2
            enough = self._compare(inputs, state, from_ordinal(middle)).distance >= targets
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        found = from_ordinal(high)
        hit = (self._compare(inputs, state, found).distance == targets) & (targets != REST)
        state[self.potential] = np.where(hit, found, before)
        return np.where(hit, targets, REST)

    def _aim_noise(self, inputs: Arrays, state: Arrays, targets: Ints) -> Ints:
        """Noise close to the probability, which stays as the state gives it. On: probability 0 and noise 0."""
        before = state[self.potential]
        state[self.potential] = np.where(targets == ON, -LARGEST, before).astype(np.float32)
        p = self._compare(inputs, state, state[self.potential]).value
        close = p - np.sign(targets) * PROBABILITY_MARGIN
        noise = np.where(targets == ON, 0, close).astype(np.float32)
        hit = (noise >= 0) & (noise < 1) & ((targets != ON) | (p == 0)) & (targets != REST)
        state[self.potential] = np.where(hit, state[self.potential], before)
        noise = np.where(hit, noise, inputs[self.noise])
        inputs[self.noise] = _clear_of(self._compare(inputs, state, state[self.potential]).value, noise)
        return np.where(hit, targets, REST)

    def _noise_decides(self, inputs: Arrays, state: Arrays) -> bool:
        """Whether the noise is the threshold of the comparison, and not only a choice between spikes."""
        if not self.noise:
            return False
        other = {**inputs, self.noise: np.full_like(inputs[self.noise], 0.5)}
        first, second = (self._compare(given, state, state[self.potential]) for given in (inputs, other))
        return bool((first.threshold != second.threshold).any())

    def _compare(self, inputs: Arrays, state: Arrays, potential: Floats) -> _Comparison:
        with torch.no_grad():
            compared = self.program.threshold_inputs(to_torch(inputs), to_torch({**state, self.potential: potential}))
        value, bound = compared[self.spikes]
        return _Comparison(value.numpy(), bound.expand(value.shape).numpy())
