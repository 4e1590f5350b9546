"""One case of the benchmark: a neuron class, a size, a batch, and all contenders, with the same drive."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from bindsnet_peer import Peer

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.contract import Role
from deploy_snn.neurons import NEURONS
from deploy_snn.parity import Request, make_stimulus
from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Array, Arrays

RUNTIMES = ("eager", "torchscript", "pt2", "onnxruntime-cpu")
STEPS = 100
"""Steps in a chunk: the drive is so long, and every chunk starts from the initial state, so all do the same work."""
FEWEST, DRIVE_BYTES, CHUNK_SECONDS = 12, 96 * 2**20, 0.4
"""Chunks are shorter, down to the fewest steps, where the drive would take more memory or a contender more time."""
SEED = 0


class Contender(Protocol):
    """What can be timed. Only ``step`` is: a new input in host memory in, spikes in host memory out, the state kept."""

    name: str
    lead: int

    def begin(self) -> None: ...
    def step(self, k: int) -> Array | torch.Tensor: ...


class Ours:
    """One of deploy_snn's runtimes. Noise is drawn within the step, since BindsNET's classes draw within theirs."""

    lead = 0

    def __init__(self, name: str, bundle: Bundle, inputs: list[Arrays], batch: int) -> None:
        self.name = name
        self.runtime = find_runtime(name)(bundle)
        self._inputs = inputs
        self._start = bundle.initial_state(batch)
        noise = [spec.name for spec in bundle.contract.inputs if spec.role is Role.NOISE]
        self._noise = noise[0] if noise else None

    def begin(self) -> None:
        self.runtime.start(self._start)
        self._rng = np.random.default_rng(SEED)

    def step(self, k: int) -> Array:
        given = self._inputs[k]
        if self._noise is not None:
            self._rng.random(dtype=np.float32, out=given[self._noise])
        return self.runtime.step(given)["s"]


@dataclass(frozen=True)
class Model:
    """A neuron class of one size, exported."""

    neuron: str
    n: int
    bundle: Bundle
    program: Program
    drive: Array  # [T, 1, ...]


def export(neuron: str, n: int, folder: Path) -> Model:
    """Export a class with its defaults, and find the Poisson drive at which it fires."""
    bundle = export_model(neuron, {"n": n}, folder / f"{neuron}-{n}", golden_steps=2, seed=SEED)
    program = reference_program(bundle)
    drive = make_stimulus("poisson", Request(program, STEPS, 1, SEED)).inputs["x"]
    return Model(neuron, n, bundle, program, drive)


def contenders(model: Model, batch: int) -> tuple[list[Contender], int]:
    """Everything that steps this model, and how many steps their drive has.

    Each row of a batch is given the same drive, begun at another step of it.
    """
    steps = int(min(STEPS, max(FEWEST, DRIVE_BYTES // (model.drive[0].nbytes * batch))))
    begins = np.arange(batch) * 7
    contract = model.bundle.contract
    inputs: list[Arrays] = []
    for step in range(steps):
        now = {"x": np.ascontiguousarray(model.drive[(begins + step) % STEPS, 0])}
        for spec in contract.inputs:
            if spec.role is Role.NOISE:
                now[spec.name] = np.empty(spec.shape(batch=batch), np.float32)
        inputs.append(now)
    drives = [torch.from_numpy(now["x"]) for now in inputs]
    parameters = {name.removeprefix("neuron."): value for name, value in model.program.state_dict().items()}
    peer = Peer(NEURONS[model.neuron].__name__, model.n, batch, drives, parameters)
    all_of_them: list[Contender] = [peer, *(Ours(name, model.bundle, inputs, batch) for name in RUNTIMES)]
    slowest = max(min(_chunk(one, FEWEST) for _ in range(3)) for one in all_of_them) / FEWEST  # the first compile
    return all_of_them, min(steps, max(FEWEST, int(CHUNK_SECONDS / slowest)))


def firing_rates(all_of_them: Sequence[Contender], steps: int) -> dict[str, float]:
    """The fraction of neurons that fire per step, over one chunk. It must agree, so that all do the same work."""
    rates = {}
    for one in all_of_them:
        one.begin()
        spikes = [np.asarray(one.step(k)).astype(bool).mean() for k in range(steps)]
        rates[one.name] = float(sum(spikes[: steps - one.lead]) / steps)
    reference = rates["eager"]
    # Exactly alike but where draws differ (SRM0).
    if any(abs(rate - reference) > 0.2 * reference for rate in rates.values()):
        raise SystemExit(f"the contenders do not fire alike, so their times cannot be compared: {rates}")
    return rates


def time_rounds(all_of_them: Sequence[Contender], steps: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds per step for each contender and round. Contenders alternate in each round, to share the noise."""
    repeats = {one.name: max(1, round(seconds / max(_chunk(one, steps), 1e-6))) for one in all_of_them}
    times: dict[str, list[float]] = {one.name: [] for one in all_of_them}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for one in all_of_them:
                spent = sum(_chunk(one, steps) for _ in range(repeats[one.name]))
                times[one.name].append(spent / (repeats[one.name] * steps) * 1e6)
    finally:
        gc.enable()
    return times


def _chunk(one: Contender, steps: int) -> float:
    one.begin()
    step = one.step
    begun = time.perf_counter()
    for k in range(steps):
        step(k)
    return time.perf_counter() - begun
