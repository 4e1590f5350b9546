"""Stimuli: the drives and the noise that every runtime of a comparison receives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from deploy_snn.contract import Contract, Role, TensorSpec, check_tensors
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.program import Program
from deploy_snn.registry import STIMULI
from deploy_snn.tensors import Array, Arrays, check_finite, read_tensors

RATE = 0.1
"""The fraction of neurons that a stimulus should make fire each step."""


@dataclass(frozen=True)
class Stimulus:
    """Inputs ``[T, B, ...]`` by name, the initial state, and remarks for the report.

    ``restarts`` are states from which the run starts anew at some steps.
    """

    name: str
    inputs: Arrays
    start: Arrays
    remarks: dict[str, int] = field(default_factory=dict)
    restarts: Mapping[int, Arrays] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Request:
    """The program, the size and the seed of a stimulus."""

    program: Program
    steps: int
    batch: int
    seed: int

    @property
    def contract(self) -> Contract:
        return self.program.contract

    def rng(self) -> Generator:
        return np.random.default_rng(self.seed)


PROBE_STEPS = 50
"""The number of steps to test an amplitude with."""

Pattern = Callable[[Generator, tuple[int, ...]], Array]
"""Draws a drive over time, ``[T, B, *shape]``, of about 1 at most. ``_gain`` finds its amplitude."""

INHIBITORY = 0.25
"""The fraction of negative drives in the pattern "poisson"."""
LAST_STEPS = 0.1
"""The fraction of steps at the end of the pattern "poisson" with strong inhibition, which reaches lower bounds."""
STRONG = np.float32(16)
"""The factor on the drives of these last steps."""


def poisson(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Independent random drives of random size and sign, with a different rate for each neuron.

    A neuron is driven in half of the steps at most. In the last steps all drives are negative and strong.
    """
    rates = rng.uniform(0.02, 0.5, shape[1:])
    sizes = rng.uniform(0.25, 1, shape) * np.where(rng.random(shape) < INHIBITORY, -1, 1)
    drives = np.where(rng.random(shape) < rates, sizes, 0).astype(np.float32)
    last = shape[0] - int(LAST_STEPS * shape[0])
    drives[last:] = -STRONG * np.abs(drives[last:]) + np.float32(0)  # without the zeros of the other sign
    return drives


def constant(rng: Generator, shape: tuple[int, ...]) -> Array:
    """A constant level for each neuron."""
    return np.broadcast_to(rng.random(shape[1:], np.float32), shape)


def ramp(rng: Generator, shape: tuple[int, ...]) -> Array:
    """A linear rise from 0 to a level for each neuron."""
    rise = np.linspace(0, 1, shape[0], dtype=np.float32).reshape(-1, *(1 for _ in shape[1:]))
    return rise * rng.random(shape[1:], np.float32)


def from_pattern(name: str, request: Request) -> Stimulus:
    """A pattern for every drive, scaled so that the program fires at about ``RATE``, and uniform noise."""
    rng, drives, noise = request.rng(), {}, {}
    for spec in request.contract.inputs:
        shape = (request.steps, *spec.shape(batch=request.batch))
        if spec.role is Role.NOISE:
            noise[spec.name] = rng.random(shape, np.float32)
        elif spec.role is Role.REWARD:  # of both signs, and as fixed as the noise
            noise[spec.name] = rng.uniform(-1, 1, shape).astype(np.float32)
        else:
            drives[spec.name] = _windowed(STIMULI[name], rng, spec, shape)
    start = to_numpy(request.program.initial_state(request.batch))
    gain = _gain(request.program, drives, noise, start)
    return Stimulus(name, {name: gain * pattern for name, pattern in drives.items()} | noise, start)


def from_file(path: Path, request: Request) -> Stimulus:
    """Read the inputs ``[T, B, ...]`` from a .safetensors file. Raises InvalidInput if they do not fit the contract."""
    inputs = read_tensors(path)
    sizes = check_tensors((spec.in_time() for spec in request.contract.inputs), inputs, "input")
    check_finite(inputs, "input")
    return Stimulus(str(path), inputs, to_numpy(request.program.initial_state(sizes["batch"])))


def _windowed(pattern: Pattern, rng: Generator, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Draw a pattern for a drive. If the drive has a window axis, each step holds the last steps of the pattern."""
    if spec.window_axis is None:
        return pattern(rng, shape)
    axis = spec.window_axis + 1  # after the time axis
    window = shape[axis]
    series = pattern(rng, (shape[0], *shape[1:axis], *shape[axis + 1 :]))
    padded = np.concatenate([np.zeros_like(series[:1]).repeat(window - 1, axis=0), series])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    return np.ascontiguousarray(np.moveaxis(windows, -1, axis))


def _gain(program: Program, drives: Arrays, noise: Arrays, start: Arrays) -> np.float32:
    """Find the amplitude at which the program fires at ``RATE``.

    If it never reaches that rate (as with winner-take-all), half of its highest rate is enough. 1 for a program without
    spikes.
    """
    if not any(spec.role is Role.SPIKES for spec in program.contract.outputs):
        return np.float32(1)
    fixed = to_torch({name: series[:PROBE_STEPS] for name, series in noise.items()})
    moving = to_torch({name: series[:PROBE_STEPS] for name, series in drives.items()})
    spikes = [spec.name for spec in program.contract.outputs if spec.role is Role.SPIKES]

    def rate(exponent: float) -> float:
        scaled = {name: 2.0**exponent * drive for name, drive in moving.items()}
        with torch.no_grad():
            outputs, _ = program.rollout(scaled | fixed, to_torch(start))
        return float(np.mean([outputs[name].float().mean().item() for name in spikes]))

    coarse = _rates(rate, COARSE)
    enough = min(RATE, max(coarse.values()) / 2)
    upper = next(exponent for exponent, found in coarse.items() if found >= enough)
    fine = _rates(rate, np.arange(upper - COARSE_STEP, upper, 0.5).tolist()) | {upper: coarse[upper]}
    enough = min(RATE, max(fine.values()) / 2)
    return np.float32(2.0 ** next(exponent for exponent, found in fine.items() if found >= enough))


COARSE_STEP = 4
COARSE = list(range(-32, 21, COARSE_STEP))
"""The exponents of the amplitudes that are tried first: a model may be in volts, or count in thousands."""


def _rates(rate: Callable[[float], float], exponents: Sequence[float]) -> dict[float, float]:
    """The firing rate at each amplitude; stronger drives than one with twice ``RATE`` would not change the choice."""
    found: dict[float, float] = {}
    for exponent in exponents:
        found[exponent] = rate(exponent)
        if found[exponent] >= 2 * RATE:
            break
    return found
