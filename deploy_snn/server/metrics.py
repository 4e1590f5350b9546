"""What a server counts, for Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy_snn.contract import Contract, Role
from deploy_snn.errors import InvalidInput
from deploy_snn.server.observer import Step
from deploy_snn.server.refusals import Busy, Elsewhere, TooLarge, TooSlow

T = TypeVar("T", Counter, Histogram)

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one server, by model."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"deploy_snn_{name}", about, ["model", *labels], registry=self.registry)

        def histogram(name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"deploy_snn_{name}", about, ["model"], buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Infer requests, by what became of them.", "outcome")
        self.seconds = histogram("request_seconds", "From a request's body to its answer.", SECONDS)
        self.rows = histogram("batch_rows", "Rows that were stepped together.", ROWS)
        self.steps = counter("steps", "Steps that were taken, summed over rows.")
        self.spikes = counter("spikes", "Spikes that came out, summed over rows and layers.", "output")

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Count what happens within as a request, and how long it takes."""
        begun, outcome = perf_counter(), "failed"
        try:
            yield
            outcome = "answered"
        except Busy:
            outcome = "busy"
            raise
        except (InvalidInput, Elsewhere, TooLarge, TooSlow):
            outcome = "refused"
            raise
        finally:
            _child(self.requests, model, outcome).inc()
            _child(self.seconds, model).observe(perf_counter() - begun)

    def stepped(self, model: str, contract: Contract, steps: list[Step]) -> None:
        """Count a batch."""
        _child(self.rows, model).observe(sum(step.batch for step in steps))
        _child(self.steps, model).inc(sum(step.batch * (step.steps or 1) for step in steps))
        for spec in contract.outputs:
            if spec.role is Role.SPIKES:
                spikes = sum(np.count_nonzero(step.outputs[spec.name]) for step in steps)
                _child(self.spikes, model, spec.name).inc(spikes)

    def watch(self, gauges: Collector) -> None:
        """Ask this, too, whenever somebody looks."""
        self.registry.register(gauges)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


@cache
def _child(metric: T, *labels: str) -> T:
    """A metric of one model: to look it up takes longer than to count."""
    return metric.labels(*labels)


def gauge(name: str, about: str, values: dict[str, float]) -> GaugeMetricFamily:
    """A value of each model, as it is now."""
    family = GaugeMetricFamily(f"deploy_snn_{name}", about, labels=["model"])
    for model, value in values.items():
        family.add_metric([model], value)
    return family
