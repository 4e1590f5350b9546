"""The live monitor: streams, their rates, and the spikes of a selected stream, for viewers of the live page.

Nothing is counted while there are no viewers. A viewer that is too slow loses spikes; it delays nobody.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from time import monotonic
from typing import Any

import numpy as np

from deploy_snn.contract import Contract, Role
from deploy_snn.server.model import Model
from deploy_snn.server.names import SequenceId
from deploy_snn.server.observer import CompletedRequest

INTERVAL = 0.1
"""Seconds between snapshots."""
WINDOW = 1.0
"""The shortest time in seconds over which rates are averaged. The longest is twice that."""
MAX_STREAMS = 50
"""Only the streams that were stepped last are listed."""
MAX_SPIKES = 20_000
"""The largest number of spikes in a snapshot. Further ones are only counted."""

STEPS_AT_ONCE = 1000
"""Steps of a long chunk that are searched for spikes at once."""

StreamKey = tuple[str, SequenceId]
"""The model and the sequence of a stream."""


@dataclass
class RateWindow:
    """Steps and spikes within a time window, for each model and each stream, summed over rows."""

    steps: Counter[StreamKey | str] = field(default_factory=Counter)
    spikes: Counter[StreamKey | str] = field(default_factory=Counter)
    started: float = field(default_factory=monotonic)


class Viewer:
    """What one viewer sees: the rates of all streams, and the spikes of the ``selected`` one."""

    def __init__(self, selected: StreamKey | None) -> None:
        self.selected = selected
        self._current, self._previous = RateWindow(), RateWindow()
        self._raster: list[tuple[int, int]] = []
        self._omitted = 0

    def record(self, model: str, contract: Contract, requests: Iterable[CompletedRequest]) -> None:
        """Count a batch."""
        for request in requests:
            steps = request.batch * (request.steps or 1)
            spikes = sum(int(np.count_nonzero(request.outputs[name])) for name, _, _ in spiking_layers(contract))
            keys: list[StreamKey | str] = [model]
            if request.sequence is not None:
                keys.append((model, request.sequence))
            for key in keys:
                self._current.steps[key] += steps
                self._current.spikes[key] += spikes
            if (model, request.sequence) == self.selected:
                self._add_to_raster(contract, request)

    def _add_to_raster(self, contract: Contract, request: CompletedRequest) -> None:
        """Add the spikes of the stream's first row, as (step, neuron). Neurons are numbered across all layers."""
        for name, first, _ in spiking_layers(contract):
            array = request.outputs[name]
            rows = array[:, 0].reshape(len(array), -1) if request.steps else array[0].reshape(1, -1)
            first_step, found = request.total_steps - len(rows), 0
            for begin in range(0, len(rows), STEPS_AT_ONCE):
                room = MAX_SPIKES - len(self._raster)
                if not room:
                    break
                times, neurons = np.nonzero(rows[begin : begin + STEPS_AT_ONCE])
                times, neurons = times[:room] + (first_step + begin), neurons[:room] + first
                self._raster += zip(times.tolist(), neurons.tolist(), strict=True)
                found += len(times)
            self._omitted += int(np.count_nonzero(rows)) - found

    def snapshot(self, models: Mapping[str, Model]) -> dict[str, Any]:
        """The current streams and rates, and the spikes since the last snapshot."""
        if monotonic() - self._current.started > WINDOW:
            self._previous, self._current = self._current, RateWindow()
        spikes, self._raster = self._raster, []
        omitted, self._omitted = self._omitted, 0
        selected = models.get(self.selected[0]) if self.selected else None
        return {
            "models": [self._describe_model(model) for model in models.values()],
            "streams": [self._describe_stream(model, name) for model in models.values() for name in _latest(model)],
            "raster": selected and self.selected and _describe_raster(selected, self.selected[1], spikes, omitted),
        }

    def _describe_model(self, model: Model) -> dict[str, Any]:
        seconds = max(monotonic() - self._previous.started, WINDOW)
        return {
            "name": model.name,
            "streams": len(model.streams),
            "queue": model.queued,
            "steps_per_second": (self._previous.steps[model.name] + self._current.steps[model.name]) / seconds,
            "spikes_per_second": (self._previous.spikes[model.name] + self._current.spikes[model.name]) / seconds,
        }

    def _describe_stream(self, model: Model, sequence: SequenceId) -> dict[str, Any]:
        key = (model.name, sequence)
        steps = self._previous.steps[key] + self._current.steps[key]
        spikes = self._previous.spikes[key] + self._current.spikes[key]
        neurons = spiking_layers(model.contract)[-1][2]
        neuron_seconds = steps * model.contract.dt * 1e-3 * neurons
        return {
            "model": model.name,
            "sequence": sequence,
            "step": model.streams[sequence].steps,
            "rate_hz": spikes / neuron_seconds if neuron_seconds else None,
        }


def _describe_raster(model: Model, sequence: SequenceId, spikes: list[tuple[int, int]], omitted: int) -> dict[str, Any]:
    stream = model.streams.get(sequence)
    return {
        "model": model.name,
        "sequence": sequence,
        "step": stream.steps if stream else None,
        "dt_ms": model.contract.dt,
        "layers": [{"name": name, "neurons": end - begin} for name, begin, end in spiking_layers(model.contract)],
        "spikes": spikes,
        "left_out": omitted,
    }


class LiveMonitor:
    """The viewers of a server. An observer of its models."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.closing = False
        """Set at shutdown: ends the snapshots of all viewers."""

    def on_batch(self, model: str, contract: Contract, requests: list[CompletedRequest]) -> None:
        """Count a batch for all viewers."""
        for viewer in self.viewers:
            viewer.record(model, contract, requests)

    async def snapshots(self, models: Mapping[str, Model], selected: StreamKey | None) -> AsyncIterator[str]:
        """Snapshots for a new viewer, as server-sent events."""
        with self._viewer(selected) as viewer:
            while not self.closing:
                yield f"data: {json.dumps(viewer.snapshot(models))}\n\n"
                await asyncio.sleep(INTERVAL)

    @contextmanager
    def _viewer(self, selected: StreamKey | None) -> Iterator[Viewer]:
        viewer = Viewer(selected)
        self.viewers.add(viewer)
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)


def spiking_layers(contract: Contract) -> list[tuple[str, int, int]]:
    """The spike outputs, each with its first neuron and its end in the numbering across all layers."""
    specs = [spec for spec in contract.outputs if spec.role is Role.SPIKES]
    bounds = pairwise(accumulate((math.prod(spec.shape(batch=1)) for spec in specs), initial=0))
    return [(spec.name, begin, end) for spec, (begin, end) in zip(specs, bounds, strict=True)]


def _latest(model: Model) -> list[SequenceId]:
    """The streams that were stepped last, the latest first."""
    return list(islice(reversed(model.streams), MAX_STREAMS))
