"""The bundles a server was started with, and those of them that are loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.registry import Collector

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.body import Bounds
from deploy_snn.server.checkpoint import Checkpoint
from deploy_snn.server.log import tell
from deploy_snn.server.metrics import Metrics, gauge
from deploy_snn.server.model import Limits, Model
from deploy_snn.server.refusals import NotFound
from deploy_snn.server.watch import Watch

VERSION = "1"
"""Every model has this one version: another export is another bundle, with a name of its own."""


@dataclass(frozen=True)
class Settings:
    """What a server serves, and how."""

    bundles: Sequence[Bundle]
    runtime: str = "onnxruntime-cpu"
    limits: Limits = field(default_factory=Limits)
    body: Bounds = field(default_factory=Bounds)
    token: str | None = None
    """A bearer token that every request must carry, or None."""
    checkpoint: Path | None = None
    """Where streams are kept, so that they outlive the server; None to keep them in memory alone."""


class Repository(Collector):
    """Models by name. Nothing else can be loaded than the bundles it was made with. Raises InvalidInput for equal names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bundles = {bundle.path.resolve().name: bundle for bundle in settings.bundles}
        if len(self.bundles) < len(settings.bundles):
            raise InvalidInput("two bundles have folders of one name, which is what clients ask for: rename one of them")
        self.models: dict[str, Model] = {}
        self.metrics = Metrics()
        self.metrics.watch(self)
        self.watch = Watch()

    def collect(self) -> Iterator[Metric]:
        """What there is now, for Prometheus."""
        models = self.models.items()
        yield gauge("streams", "Streams that are kept.", {name: len(model.streams) for name, model in models})
        yield gauge("state_bytes", "What their states take.", {name: model.state_bytes for name, model in models})
        yield gauge("queue", "Requests that wait.", {name: model.queued for name, model in models})

    def find(self, name: str, version: str) -> Model:
        """A loaded model. Raises NotFound, with those there are."""
        if name not in self.models or version != VERSION:
            known = ", ".join(self.models) or "none"
            raise NotFound(f"there is no model '{name}', version {version}; loaded, in version {VERSION}: {known}")
        return self.models[name]

    def prepare(self) -> None:
        """Read every bundle, before there is a server. Raises InvalidInput for what cannot be served."""
        for name in self.bundles:
            self.models[name] = self._model(name)

    def open(self) -> None:
        """Begin to serve what has been prepared, in the running event loop."""
        for model in self.models.values():
            model.open()

    def load(self, name: str) -> None:
        """Load a bundle, if it is not. Raises NotFound for a name that the server was not started with."""
        self._known(name)
        if name not in self.models:
            model = self._model(name)
            model.open()
            self.models[name] = model

    def _model(self, name: str) -> Model:
        bundle, settings = self.bundles[name], self.settings
        kept = Checkpoint(settings.checkpoint, name, bundle) if settings.checkpoint else None
        model = Model(bundle, settings.runtime, settings.limits, kept, (self.metrics, self.watch))
        tell("model loaded", model=name, runtime=settings.runtime, streams=len(model.streams))
        return model

    async def unload(self, name: str) -> None:
        """Answer what a model has been asked, and forget it and its streams."""
        self._known(name)
        model = self.models.pop(name, None)
        if model:
            await model.close()
            tell("model unloaded", model=name)

    def index(self) -> list[dict[str, str]]:
        """Every bundle, and whether it is loaded."""
        return [
            {"name": name, "version": VERSION, "state": "READY" if name in self.models else "UNAVAILABLE", "reason": ""}
            for name in self.bundles
        ]

    async def close(self) -> None:
        """Answer everything, and stop."""
        for name in list(self.models):
            await self.unload(name)

    def _known(self, name: str) -> None:
        if name not in self.bundles:
            raise NotFound(f"there is no bundle '{name}'; this server was started with {', '.join(self.bundles)}")
