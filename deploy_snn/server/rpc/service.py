"""The calls of ``GRPCInferenceService``. Each method here has the name of a call."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import explain
from deploy_snn.server.large import LARGE, run_sized
from deploy_snn.server.protocol import config, metadata, server_metadata
from deploy_snn.server.repository import VERSION, Outcome, Repository
from deploy_snn.server.rpc.convert import fill_message, parse_message, render_message, trace_context
from deploy_snn.server.rpc.messages import message, parse

MAX_AHEAD = 64
"""Requests of one call that are in progress at the same time. A client that reads no responses is not read beyond these."""

Put = Callable[[bytes], None]

ModelInferRequest = message("ModelInferRequest")
ModelStreamInferResponse = message("ModelStreamInferResponse")


class InferenceService:
    """Answers calls with the models of a repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.closing = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()

    async def ServerLive(self, _: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802  (the protocol's name, as below)
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, _: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        return message("ServerReadyResponse")(ready=not self.repository.problems())

    async def ModelReady(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        model = self.repository.models.get(asked.name) if asked.version in ("", VERSION) else None
        return message("ModelReadyResponse")(ready=model is not None and model.problem() is None)

    async def ServerMetadata(self, _: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        return message("ServerMetadataResponse")(**server_metadata())

    async def ModelMetadata(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        model = self.repository.find(asked.name, asked.version or VERSION)
        found = metadata(asked.name, model.platform, model.contract)
        return ParseDict(found, message("ModelMetadataResponse")(), ignore_unknown_fields=True)

    async def ModelConfig(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        model = self.repository.find(asked.name, asked.version or VERSION)
        found = {"config": config(asked.name, model.platform, model.contract)}
        return ParseDict(found, message("ModelConfigResponse")())

    async def ModelStatistics(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        found = self.repository.statistics(asked.name, asked.version or VERSION)
        return ParseDict(found, message("ModelStatisticsResponse")())

    async def RepositoryIndex(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        models = [model for model in self.repository.index() if not asked.ready or model["state"] == "READY"]
        return message("RepositoryIndexResponse")(models=models)

    async def RepositoryModelLoad(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        self.repository.check_control()
        self.repository.load(asked.model_name)
        return message("RepositoryModelLoadResponse")()

    async def RepositoryModelUnload(self, asked: Any, _headers: Mapping[str, str]) -> Any:  # noqa: N802
        self.repository.check_control()
        await self.repository.unload(asked.model_name)
        return message("RepositoryModelUnloadResponse")()

    async def ModelInfer(self, asked: Any, headers: Mapping[str, str]) -> Any:  # noqa: N802
        model, name, size = (
            self.repository.find(asked.model_name, asked.model_version or VERSION),
            asked.model_name,
            asked.ByteSize(),
        )
        with self.repository.request(name, "grpc", trace_context(asked) or headers) as take:
            take(size)
            request = await run_sized(size, parse_message, asked)
            result = await model.infer(request)
            return render_message(name, request, result)

    async def ModelStreamInfer(self, context: Any, headers: Mapping[str, str]) -> None:  # noqa: N802
        """Answer the requests of a call in their order. Those of different streams are stepped together."""
        call = _StreamCall()
        reader = asyncio.create_task(self._read(context, headers, call))
        reader.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # of a client that has gone
        self._readers.add(reader)
        try:
            while await call.ready():
                for answer in call.take():
                    await context.write(answer)
        finally:
            reader.cancel()
            self._readers.discard(reader)

    async def _read(self, context: Any, headers: Mapping[str, str], call: "_StreamCall") -> None:
        """Begin the requests of a call, until it ends or the server does."""
        try:
            while not self.closing.is_set():
                await call.room(MAX_AHEAD)
                data = await context.read()
                if data is grpc.aio.EOF:
                    break
                if len(data) <= LARGE and self.repository.settings.tracing is None:
                    self._begin(data, call.begin())
                    continue
                task = asyncio.create_task(self._answer(data, headers))
                task.add_done_callback(partial(_put_result, call.begin()))
                if len(data) > LARGE:  # a later request must not overtake it, nor its answer be one of many in memory
                    await call.room(1)
        finally:
            call.end()

    def close(self) -> None:
        """End the streams that are open, once the requests that they have sent are answered."""
        self.closing.set()
        for reader in self._readers:
            reader.cancel()

    def _begin(self, data: bytes, put: Put) -> None:
        """Step a small request of a stream; ``put`` is called with its answer, now or when its batch ends."""
        asked = ModelInferRequest()

        def answer(outcome: Outcome) -> None:
            message = ModelStreamInferResponse()
            if isinstance(outcome, Exception):
                message = _refusal(asked, outcome)
            else:
                try:
                    fill_message(message.infer_response, asked.model_name, *outcome)
                except Exception as error:  # noqa: BLE001  (the call goes on)
                    message = _refusal(asked, error)
            put(message.SerializeToString())

        try:
            asked = parse(data, ModelInferRequest)
        except InvalidInput as error:
            answer(error)
            return
        version = asked.model_version or VERSION
        self.repository.submit(asked.model_name, version, len(data), partial(parse_message, asked), answer)

    async def _answer(self, data: bytes, headers: Mapping[str, str]) -> Any:
        asked = ModelInferRequest()
        try:
            asked = parse(data, ModelInferRequest)
            return ModelStreamInferResponse(infer_response=await self.ModelInfer(asked, headers))
        except Exception as error:  # noqa: BLE001  (the call goes on)
            return _refusal(asked, error)


class _StreamCall:
    """The answers of a call, in the order of its requests."""

    def __init__(self) -> None:
        self._slots = deque[list[bytes]]()
        """One list for each request whose answer is not written yet: empty, or with the answer."""
        self._changed: asyncio.Future[None] | None = None
        self._freed: asyncio.Future[None] | None = None
        self._ended = False

    def begin(self) -> Put:
        """A place for the answer of the next request."""
        slot: list[bytes] = []
        self._slots.append(slot)

        def put(answer: bytes) -> None:
            slot.append(answer)
            self._wake()

        return put

    def end(self) -> None:
        """No more requests come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._changed and not self._changed.done():
            self._changed.set_result(None)

    async def ready(self) -> bool:
        """Wait until the next answer is there; False if there will be none."""
        while not (self._slots and self._slots[0]):
            if self._ended and not self._slots:
                return False
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        return True

    def take(self) -> Iterator[bytes]:
        """Yield the available answers in order. An answer counts as written when the next one is requested."""
        while self._slots and self._slots[0]:
            yield self._slots[0][0]
            self._slots.popleft()
            if self._freed and not self._freed.done():
                self._freed.set_result(None)

    async def room(self, most: int) -> None:
        """Wait until fewer requests than ``most`` are without a written answer."""
        while len(self._slots) >= most:
            self._freed = asyncio.get_running_loop().create_future()
            await self._freed


def _put_result(put: Put, task: asyncio.Task[Any]) -> None:
    put(b"" if task.cancelled() else task.result().SerializeToString())


def _refusal(asked: Any, error: Exception) -> Any:
    """The answer to a request of a stream that failed."""
    explained = explain(error, call="ModelStreamInfer", model=asked.model_name[:80])
    answer = ModelStreamInferResponse(error_message=explained.message)
    answer.infer_response.id = asked.id
    return answer


STATUS_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
    500: grpc.StatusCode.INTERNAL,
}
"""The gRPC status of an error, for the HTTP status that it has."""
