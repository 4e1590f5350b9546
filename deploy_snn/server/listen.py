"""The server as a process: where it listens, and how it ends."""

import gc
import math
import signal
import sys
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from deploy_snn.errors import InvalidInput
from deploy_snn.server.app import create_app
from deploy_snn.server.connection import Connection
from deploy_snn.server.express import Express
from deploy_snn.server.gate import Gate
from deploy_snn.server.repository import Repository, Settings
from deploy_snn.server.watch import Watch

PATIENCE = 30
"""Seconds that requests under way get when a server is told to end."""


class Server(uvicorn.Server):
    """Lets those go who only watch: they would hold it up for as long as they like."""

    def __init__(self, config: uvicorn.Config, watch: Watch) -> None:
        super().__init__(config)
        self.watch = watch

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.watch.closing = True
        super().handle_exit(sig, frame)


def listen(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal ends it. Raises InvalidInput for what cannot be served, or a place that is taken."""
    repository = Repository(settings)
    repository.prepare()
    express = Express(repository, Gate(settings.token))
    config = uvicorn.Config(
        create_app(repository),
        host,
        port,
        http=cast("type[Connection]", partial(Connection, express=express)),
        timeout_keep_alive=math.ceil(settings.body.seconds),
        ws="websockets-sansio",
        ws_max_size=settings.body.size,
        ws_per_message_deflate=False,  # packing a step would take longer than sending it
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=PATIENCE,
        proxy_headers=False,
    )
    server = Server(config, repository.watch)
    for asked in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once all is answered and closed
        signal.signal(asked, lambda *_: sys.exit(0))
    gc.set_threshold(50_000, 50, 50)  # requests make few cycles, and many objects for the collector to look through
    gc.freeze()  # what is here now stays: else the collector looks through all of it, now and then, for 200 ms
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
        raise InvalidInput(f"cannot listen on {host}, port {port}: is something else listening there?") from None
