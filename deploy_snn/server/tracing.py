"""OpenTelemetry spans: one for each request to step a stream, or to read or write its state.

The parent of a span is the one that the client names in W3C trace context: in the headers of a request, in the metadata of
a gRPC call, or in the parameters of a message, as a call of ``ModelStreamInfer`` has many.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deploy_snn import __version__
from deploy_snn.server.errors import status_of

PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Creates the spans of a server.

    Args:
        provider: where spans are sent.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("deploy_snn.server", __version__)

    @contextmanager
    def request(self, operation: str, model: str, protocol: str, headers: Mapping[str, str]) -> Iterator[None]:
        """A span around the enclosed code, as a child of the one in the request's headers, whose names are in lower case.

        Only an error of the server makes it a span that failed; one of the client is an attribute.
        """
        attributes = {"deploy_snn.model": model, "network.protocol.name": protocol}
        with self._tracer.start_as_current_span(
            f"{operation} {model}",
            PROPAGATOR.extract(headers),
            SpanKind.SERVER,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                status = status_of(error)
                span.set_attributes({"error.type": type(error).__name__, "http.response.status_code": int(status)})
                if status >= 500:
                    span.set_status(StatusCode.ERROR, str(error)[:200])
                raise


def export_by_environment() -> Tracing:
    """Send spans by OTLP over HTTP, as the variables ``OTEL_*`` say; by default to a collector on this machine.

    Raises ImportError if a package of the extra ``otel`` is missing.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({SERVICE_NAME: "deploy_snn"}).merge(Resource.create())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
