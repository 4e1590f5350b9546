"""Metrics for Prometheus."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy_snn.contract import Contract, Role
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import BodyTimeout, BodyTooLarge, ServerBusy, StepConflict, StoreFailed
from deploy_snn.server.observer import CompletedRequest
from deploy_snn.server.statistics import Statistics

T = TypeVar("T", Counter, Histogram)

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BUSY = (ServerBusy, StoreFailed)
REFUSED = (InvalidInput, StepConflict, BodyTooLarge, BodyTimeout)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one server, labelled by model."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.statistics: defaultdict[str, Statistics] = defaultdict(Statistics)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"deploy_snn_{name}", description, ["model", *labels], registry=self.registry)

        def histogram(name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"deploy_snn_{name}", description, ["model"], buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Number of infer requests, by outcome.", "outcome")
        self.seconds = histogram("request_seconds", "Duration of infer requests in seconds.", SECONDS)
        self.rows = histogram("batch_rows", "Number of rows in each batch.", ROWS)
        self.steps = counter("steps", "Number of steps, summed over rows.")
        self.spikes = counter("spikes", "Number of output spikes, summed over rows and neurons.", "output")

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Count the enclosed code as one infer request, with its outcome and its duration."""
        start, failed = perf_counter(), None
        try:
            yield
        except BaseException as error:
            failed = error
            raise
        finally:
            self.count(model, failed, perf_counter() - start)

    def count(self, model: str, error: BaseException | None, seconds: float) -> None:
        """Count an infer request that took so many seconds and ended with an error, or None."""
        outcome = "answered"
        if error is not None:
            outcome = "busy" if isinstance(error, BUSY) else "refused" if isinstance(error, REFUSED) else "failed"
        _labelled(self.requests, model, outcome).inc()
        _labelled(self.seconds, model).observe(seconds)
        self.statistics[model].add_request(seconds, answered=error is None)

    def on_batch(self, model: str, contract: Contract, requests: list[CompletedRequest]) -> None:
        """Count a batch."""
        rows = sum(request.batch for request in requests)
        _labelled(self.rows, model).observe(rows)
        self.statistics[model].add_batch(rows)
        _labelled(self.steps, model).inc(sum(request.batch * (request.steps or 1) for request in requests))
        for spec in contract.outputs:
            if spec.role is Role.SPIKES:
                spikes = sum(np.count_nonzero(request.outputs[spec.name]) for request in requests)
                _labelled(self.spikes, model, spec.name).inc(spikes)

    def register(self, collector: Collector) -> None:
        """Add a collector, which is read whenever the metrics are."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self.registry)


@cache
def _labelled(metric: T, *labels: str) -> T:
    """A metric with its labels. Cached: the lookup takes longer than the counting."""
    return metric.labels(*labels)


def gauge(name: str, description: str, values: dict[str, float]) -> GaugeMetricFamily:
    """A gauge with the current value of each model."""
    family = GaugeMetricFamily(f"deploy_snn_{name}", description, labels=["model"])
    for model, value in values.items():
        family.add_metric([model], value)
    return family
