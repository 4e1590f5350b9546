"""Stimuli: the drives and the noise that a comparison gives to every runtime."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from deploy_snn.contract import Contract, Role, TensorSpec, check_tensors
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.program import Program
from deploy_snn.registry import STIMULI
from deploy_snn.tensors import Array, Arrays, check_finite, read_tensors

RATE = 0.1
"""The fraction of neurons that a stimulus should make fire each step."""


@dataclass(frozen=True)
class Stimulus:
    """Inputs ``[T, B, ...]`` by name, the state to start from, and remarks for the report."""

    name: str
    inputs: Arrays
    start: Arrays
    remarks: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a stimulus is made for."""

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
"""Steps over which an amplitude is tried."""

Pattern = Callable[[Generator, tuple[int, ...]], Array]
"""Draws the shape of a drive over time, ``[T, B, *shape]``, between 0 and 1. Its amplitude is found afterwards."""


def poisson(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Independent spikes, each neuron at a rate of its own, up to one step in two."""
    rates = rng.uniform(0.02, 0.5, shape[1:])
    return (rng.random(shape) < rates).astype(np.float32)


def constant(rng: Generator, shape: tuple[int, ...]) -> Array:
    """A level for each neuron, the same at every step."""
    return np.broadcast_to(rng.random(shape[1:], np.float32), shape)


def ramp(rng: Generator, shape: tuple[int, ...]) -> Array:
    """A rise from nothing to a level for each neuron."""
    rise = np.linspace(0, 1, shape[0], dtype=np.float32).reshape(-1, *(1 for _ in shape[1:]))
    return rise * rng.random(shape[1:], np.float32)


def from_pattern(name: str, request: Request) -> Stimulus:
    """A pattern on every drive, as strong as it takes for the program to fire at about ``RATE``, and uniform noise."""
    rng, drives, noise = request.rng(), {}, {}
    for spec in request.contract.inputs:
        shape = (request.steps, *spec.shape(batch=request.batch))
        if spec.role is Role.NOISE:
            noise[spec.name] = rng.random(shape, np.float32)
        else:
            drives[spec.name] = _windowed(STIMULI[name], rng, spec, shape)
    start = to_numpy(request.program.initial_state(request.batch))
    gain = _gain(request.program, drives, noise, start)
    return Stimulus(name, {name: gain * pattern for name, pattern in drives.items()} | noise, start)


def from_file(path: Path, request: Request) -> Stimulus:
    """The inputs in a tensor file, ``[T, B, ...]`` by name. Raises InvalidInput for what does not fit the contract."""
    inputs = read_tensors(path)
    sizes = check_tensors((spec.in_time() for spec in request.contract.inputs), inputs, "input")
    check_finite(inputs, "input")
    return Stimulus(str(path), inputs, to_numpy(request.program.initial_state(sizes["batch"])))


def _windowed(pattern: Pattern, rng: Generator, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """The pattern as the drive takes it: step by step or, where it has a window axis, as the last steps at each step."""
    if spec.window_axis is None:
        return pattern(rng, shape)
    place = spec.window_axis + 1  # a time axis leads
    window = shape[place]
    series = pattern(rng, (shape[0], *shape[1:place], *shape[place + 1 :]))
    padded = np.concatenate([np.zeros_like(series[:1]).repeat(window - 1, axis=0), series])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    return np.ascontiguousarray(np.moveaxis(windows, -1, place))


def _gain(program: Program, drives: Arrays, noise: Arrays, start: Arrays) -> np.float32:
    """The amplitude at which the program fires at ``RATE``, or at half the most that it fires at all (winner-take-all).

    1 for a program that has nothing that fires.
    """
    if not any(spec.role is Role.SPIKES for spec in program.contract.outputs):
        return np.float32(1)
    gains = np.exp2(np.arange(-4, 13, 0.5)).astype(np.float32)
    fixed = to_torch({name: series[:PROBE_STEPS] for name, series in noise.items()})
    moving = to_torch({name: series[:PROBE_STEPS] for name, series in drives.items()})
    spikes = [spec.name for spec in program.contract.outputs if spec.role is Role.SPIKES]
    rates: list[float] = []
    for gain in gains:
        with torch.no_grad():
            scaled = {name: float(gain) * drive for name, drive in moving.items()}
            outputs, _ = program.rollout(scaled | fixed, to_torch(start))
        rates.append(float(np.mean([outputs[name].float().mean().item() for name in spikes])))
        if rates[-1] >= 2 * RATE:  # stronger drives than this change nothing about the choice
            break
    enough = min(RATE, max(rates) / 2)
    return np.float32(gains[next(i for i, rate in enumerate(rates) if rate >= enough)])


def check_request(steps: int, batch: int) -> None:
    """Raise InvalidInput for a run of no steps or no rows."""
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise InvalidInput(f"{name}={value}: expected at least 1")
