"""The calls of ``GRPCInferenceService``. Each method here has the name of a call."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from deploy_snn.server.errors import explain
from deploy_snn.server.large import LARGE, run_sized
from deploy_snn.server.protocol import config, metadata, server_metadata
from deploy_snn.server.repository import VERSION, Repository
from deploy_snn.server.rpc.convert import parse_message, render_message, trace_context
from deploy_snn.server.rpc.messages import message, parse

MAX_AHEAD = 64
"""Requests of one call that are in progress at the same time. A client that reads no responses is not read beyond these."""

ModelInferRequest = message("ModelInferRequest")
ModelStreamInferResponse = message("ModelStreamInferResponse")


class InferenceService:
    """Answers calls with the models of a repository. Set ``closing`` to end the streams that are open."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.closing = asyncio.Event()

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

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> AsyncIterator[Any]:
        """Answer the requests of a call in their order. Those of different streams are stepped together."""
        begun = asyncio.Queue[asyncio.Task[Any] | None]()
        ahead = asyncio.Semaphore(MAX_AHEAD)
        reader = asyncio.create_task(self._read(requests, headers, begun, ahead))
        try:
            while task := await begun.get():
                yield await task
                begun.task_done()
                ahead.release()
        finally:
            reader.cancel()

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        headers: Mapping[str, str],
        begun: "asyncio.Queue[asyncio.Task[Any] | None]",
        ahead: asyncio.Semaphore,
    ) -> None:
        """Begin the requests of a call, until it ends or the server does; then put None."""
        closing = asyncio.create_task(self.closing.wait())
        following: asyncio.Future[Any] | None = None
        try:
            while not closing.done():
                await ahead.acquire()
                following = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((following, closing), return_when=asyncio.FIRST_COMPLETED)
                asked = following.result() if following.done() else None
                if asked is None:
                    break
                begun.put_nowait(asyncio.create_task(self._answer(asked, headers)))
                if len(asked) > LARGE:  # a later request must not overtake it, nor its answer be one of many in memory
                    await begun.join()
        finally:
            closing.cancel()
            if following:
                following.cancel()
            begun.put_nowait(None)

    async def _answer(self, data: bytes, headers: Mapping[str, str]) -> Any:
        asked = ModelInferRequest()
        try:
            asked = parse(data, ModelInferRequest)
            return ModelStreamInferResponse(infer_response=await self.ModelInfer(asked, headers))
        except Exception as error:  # noqa: BLE001  (the call goes on)
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
