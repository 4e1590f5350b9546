"""What somebody sees who watches a server: its streams, their rates, and the spikes of one of them as they come.

While nobody watches, nothing is counted here. Who watches and does not keep up loses spikes, and holds up nobody.
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
from deploy_snn.server.observer import Step
from deploy_snn.server.protocol import Sequence

INTERVAL = 0.1
"""Seconds between frames."""
WINDOW = 1.0
"""Seconds over which rates are taken, at least; at most twice as many."""
MOST_STREAMS = 50
MOST_SPIKES = 20_000
"""Spikes of one frame; what comes on top is left out, and counted."""

Key = tuple[str, Sequence]


@dataclass
class Tally:
    """What was taken within a window: steps of a model or a stream, and spikes of them, summed over rows."""

    steps: Counter[Key | str] = field(default_factory=Counter)
    spikes: Counter[Key | str] = field(default_factory=Counter)
    begun: float = field(default_factory=monotonic)


class Viewer:
    """One who watches: rates of all streams, and the spikes of the one that is ``selected``."""

    def __init__(self, selected: Key | None) -> None:
        self.selected = selected
        self._now, self._before = Tally(), Tally()
        self._raster: list[tuple[int, int]] = []
        self._left_out = 0

    def note(self, model: str, contract: Contract, steps: Iterable[Step]) -> None:
        """Count what has been stepped together."""
        for step in steps:
            taken = step.batch * (step.steps or 1)
            spikes = sum(int(np.count_nonzero(step.outputs[name])) for name, _, _ in layers(contract))
            keys: list[Key | str] = [model]
            if step.sequence is not None:
                keys.append((model, step.sequence))
            for key in keys:
                self._now.steps[key] += taken
                self._now.spikes[key] += spikes
            if (model, step.sequence) == self.selected:
                self._draw(contract, step)

    def _draw(self, contract: Contract, step: Step) -> None:
        """The spikes of the stream's first row, as (step, neuron); neurons are counted on from layer to layer."""
        for name, first, _ in layers(contract):
            array = step.outputs[name]
            rows = array[:, 0].reshape(len(array), -1) if step.steps else array[0].reshape(1, -1)
            times, neurons = np.nonzero(rows)
            begun = step.taken - len(rows)
            found = list(zip((times + begun).tolist(), (neurons + first).tolist(), strict=True))
            room = MOST_SPIKES - len(self._raster)
            self._raster += found[:room]
            self._left_out += max(0, len(found) - room)

    def frame(self, models: Mapping[str, Model]) -> dict[str, Any]:
        """What has happened since the last frame, and how things stand."""
        if monotonic() - self._now.begun > WINDOW:
            self._before, self._now = self._now, Tally()
        spikes, self._raster = self._raster, []
        left_out, self._left_out = self._left_out, 0
        chosen = models.get(self.selected[0]) if self.selected else None
        return {
            "models": [self._model(model) for model in models.values()],
            "streams": [self._stream(model, name) for model in models.values() for name in _latest(model)],
            "raster": chosen and self.selected and self._raster_of(chosen, self.selected[1], spikes, left_out),
        }

    def _model(self, model: Model) -> dict[str, Any]:
        seconds = max(monotonic() - self._before.begun, WINDOW)
        return {
            "name": model.name,
            "streams": len(model.streams),
            "queue": model.queued,
            "steps_per_second": (self._before.steps[model.name] + self._now.steps[model.name]) / seconds,
            "spikes_per_second": (self._before.spikes[model.name] + self._now.spikes[model.name]) / seconds,
        }

    def _stream(self, model: Model, name: Sequence) -> dict[str, Any]:
        key = (model.name, name)
        steps = self._before.steps[key] + self._now.steps[key]
        spikes = self._before.spikes[key] + self._now.spikes[key]
        seconds = steps * model.contract.dt * 1e-3 * layers(model.contract)[-1][2]
        return {
            "model": model.name,
            "sequence": name,
            "step": model.streams[name].steps,
            "rate_hz": spikes / seconds if seconds else None,
        }

    @staticmethod
    def _raster_of(model: Model, name: Sequence, spikes: list[tuple[int, int]], left_out: int) -> dict[str, Any]:
        stream = model.streams.get(name)
        return {
            "model": model.name,
            "sequence": name,
            "step": stream.steps if stream else None,
            "dt_ms": model.contract.dt,
            "layers": [{"name": name, "neurons": end - begin} for name, begin, end in layers(model.contract)],
            "spikes": spikes,
            "left_out": left_out,
        }


class Watch:
    """Everybody who watches a server."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.closing = False
        """Whether the server ends: nobody is shown anything more."""

    def stepped(self, model: str, contract: Contract, steps: list[Step]) -> None:
        """Tell everybody."""
        for viewer in self.viewers:
            viewer.note(model, contract, steps)

    async def frames(self, models: Mapping[str, Model], selected: Key | None) -> AsyncIterator[str]:
        """Frames as they come, as server-sent events, for one more who watches."""
        with self._viewer(selected) as viewer:
            while not self.closing:
                yield f"data: {json.dumps(viewer.frame(models))}\n\n"
                await asyncio.sleep(INTERVAL)

    @contextmanager
    def _viewer(self, selected: Key | None) -> Iterator[Viewer]:
        viewer = Viewer(selected)
        self.viewers.add(viewer)
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)


def layers(contract: Contract) -> list[tuple[str, int, int]]:
    """The outputs that hold spikes, and where among all neurons those of each begin and end."""
    specs = [spec for spec in contract.outputs if spec.role is Role.SPIKES]
    bounds = pairwise(accumulate((math.prod(spec.shape(batch=1)) for spec in specs), initial=0))
    return [(spec.name, begin, end) for spec, (begin, end) in zip(specs, bounds, strict=True)]


def _latest(model: Model) -> list[Sequence]:
    """The streams that were stepped last, the latest first."""
    return list(islice(reversed(model.streams), MOST_STREAMS))
