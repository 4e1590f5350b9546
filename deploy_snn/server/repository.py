"""The bundles that the server was started with, and the models that are loaded from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes import fastest_runtime
from deploy_snn.server.body import BodyLimits, BytesInFlight
from deploy_snn.server.errors import Forbidden, ModelNotFound
from deploy_snn.server.journal import Journal
from deploy_snn.server.limits import Limits
from deploy_snn.server.live_monitor import LiveMonitor
from deploy_snn.server.log import log_event
from deploy_snn.server.metrics import Metrics, gauge
from deploy_snn.server.model import Model
from deploy_snn.server.protocol import InferRequest
from deploy_snn.server.queue import InferResult
from deploy_snn.server.store import OpenStore

if TYPE_CHECKING:
    from deploy_snn.server.tracing import Tracing

Parse = Callable[[], InferRequest]
Outcome = tuple[InferRequest, InferResult] | Exception
OnAnswer = Callable[[Outcome], None]

VERSION = "1"
"""The only version of every model: another export is another bundle, with a name of its own."""


@dataclass(frozen=True)
class Settings:
    """The settings of a server."""

    bundles: Sequence[Bundle]
    runtime: str | None = None
    """The name of the runtime; None for the fastest of each bundle."""
    limits: Limits = field(default_factory=Limits)
    body: BodyLimits = field(default_factory=BodyLimits)
    token: str | None = None
    """The bearer token that every request must carry, or None."""
    hosts: Sequence[str] = ()
    """Names of this server that requests may use, beside IP addresses, ``localhost`` and the machine's own name."""
    model_control: bool = False
    """Whether clients may load and unload models."""
    certificate: tuple[Path, Path] | None = None
    """The files of a TLS certificate and its key, or None for no TLS."""
    grpc_port: int | None = None
    """The port for gRPC, or None for no gRPC."""
    open_store: OpenStore | None = None
    """Opens a model's store of streams, so that they outlive the server; None to keep them in memory only."""
    weights_every: int = 100
    """The number of steps after which a store keeps learnt weights again; in between, it keeps the inputs."""
    tracing: "Tracing | None" = None
    """Creates a span for each request of a stream, or None for no spans."""


class Repository(Collector):
    """The models by name, which is the name of the bundle's folder. No other bundles can be loaded.

    Raises InvalidInput for two bundles of the same name.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bundles = {bundle.path.resolve().name: bundle for bundle in settings.bundles}
        if len(self.bundles) < len(settings.bundles):
            raise InvalidInput("two bundles have the same folder name, which is the name of the model: rename one of them")
        self.models: dict[str, Model] = {}
        self.metrics = Metrics()
        self.metrics.register(self)
        self.monitor = LiveMonitor()
        self.in_flight = BytesInFlight(settings.body.in_flight)
        self.rpc_problem: str | None = None
        """Why gRPC does not answer although it is asked for, or None."""

    def collect(self) -> Iterator[Metric]:
        """The gauges, for Prometheus."""
        models = self.models.items()
        yield gauge("streams", "Number of streams.", {name: len(model.streams) for name, model in models})
        yield gauge("state_bytes", "Memory of all streams' states.", {name: model.state_bytes for name, model in models})
        yield gauge("queue", "Number of requests in the queue.", {name: model.queued for name, model in models})

    def find(self, name: str, version: str) -> Model:
        """A loaded model. Raises ModelNotFound, with the names of those that are loaded."""
        if name not in self.models or version != VERSION:
            loaded = ", ".join(self.models) or "none"
            raise ModelNotFound(f"unknown model '{name}', version {version}; loaded, in version {VERSION}: {loaded}")
        return self.models[name]

    @contextmanager
    def request(self, model: str, protocol: str, headers: Mapping[str, str]) -> Iterator[Callable[[int], None]]:
        """Count the enclosed code as one infer request, in a span of its own; gives a function that counts its bytes."""
        with (
            self.metrics.request(model),
            self.in_flight.request() as take,
            self.span("infer", model, protocol, headers),
        ):
            yield take

    def span(self, operation: str, model: str, protocol: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """A span around the enclosed code, if the server sends spans."""
        tracing = self.settings.tracing
        return tracing.request(operation, model, protocol, headers) if tracing else nullcontext()

    def submit(self, name: str, version: str, size: int, parse: Parse, on_answer: OnAnswer) -> None:
        """Parse and step a small request of ``size`` bytes, and count it as one infer request, as ``request`` does.

        ``on_answer`` is called once, at once or when the request's batch ends, with the request and its result, or with
        an error. Use it only without tracing: a span needs a task.
        """
        begun, taken = perf_counter(), 0

        def end(outcome: Outcome) -> None:
            self.in_flight.give_back(taken)
            self.metrics.count(name, outcome if isinstance(outcome, Exception) else None, perf_counter() - begun)
            on_answer(outcome)

        try:
            model = self.find(name, version)
        except ModelNotFound as error:  # not counted: any client could add names to the metrics
            on_answer(error)
            return
        try:
            self.in_flight.take(size)
            taken = size
            request = parse()
            model.submit(request, lambda result: end(result if isinstance(result, Exception) else (request, result)))
        except Exception as error:  # noqa: BLE001  (whatever it is, it has a response)
            end(error)

    def problems(self) -> list[str]:
        """Why the server is not ready, in a sentence for each model that cannot answer requests, and for gRPC."""
        found = [problem for model in self.models.values() if (problem := model.problem())]
        return [*found, self.rpc_problem] if self.rpc_problem else found

    def prepare(self) -> None:
        """Load all bundles, before the server starts. Raises InvalidInput for one that cannot be served."""
        for name in self.bundles:
            self.models[name] = self._load_model(name)

    def open(self) -> None:
        """Start serving the loaded models, in the running event loop."""
        for model in self.models.values():
            model.open()

    def check_control(self) -> None:
        """Raise Forbidden unless clients may load and unload models."""
        if not self.settings.model_control:
            raise Forbidden("loading and unloading is not allowed: start the server with --model-control")

    def load(self, name: str) -> None:
        """Load a bundle, unless it is loaded. Raises ModelNotFound if the server was not started with it."""
        self._check_name(name)
        if name not in self.models:
            model = self._load_model(name)
            model.open()
            self.models[name] = model

    def _load_model(self, name: str) -> Model:
        bundle, settings = self.bundles[name], self.settings
        runtime = settings.runtime or fastest_runtime(bundle)
        journal = Journal(bundle, runtime, settings.weights_every)
        store = settings.open_store(name, bundle, journal) if settings.open_store else None
        model = Model(bundle, runtime, settings.limits, store, (self.metrics, self.monitor))
        log_event("model loaded", model=name, runtime=runtime, streams=len(model.streams))
        return model

    async def unload(self, name: str) -> None:
        """Unload a model after its pending requests are answered; its streams are lost, except those in a store."""
        self._check_name(name)
        model = self.models.pop(name, None)
        if model:
            await model.close()
            log_event("model unloaded", model=name)

    def statistics(self, name: str, version: str) -> dict[str, Any]:
        """The statistics of a loaded model, or without a name of all."""
        names = [self.find(name, version).name] if name else list(self.models)
        return {"model_stats": [self.metrics.statistics[model].describe(model, VERSION) for model in names]}

    def index(self) -> list[dict[str, str]]:
        """Every bundle, and whether it is loaded."""
        return [
            {"name": name, "version": VERSION, "state": "READY" if name in self.models else "UNAVAILABLE", "reason": ""}
            for name in self.bundles
        ]

    async def close(self) -> None:
        """Unload all models."""
        for name in list(self.models):
            await self.unload(name)

    def _check_name(self, name: str) -> None:
        if name not in self.bundles:
            raise ModelNotFound(f"unknown bundle '{name}'; this server was started with {', '.join(self.bundles)}")
