"""The server's log: one event per line, with its details as fields, as text for people or as JSON for programs."""

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any, Literal

LOGGER = logging.getLogger("deploy_snn.server")

LogFormat = Literal["text", "json"]


def log_event(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log an event with its fields: ``log_event("stream imported", model="robot", sequence=7)``."""
    LOGGER.log(level, event, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formats an event as JSON: ``{"time": ..., "level": ..., "event": ..., "model": ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "event": record.getMessage(),
                **_fields(record),
                **({"exception": self.formatException(record.exc_info)} if record.exc_info else {}),
            },
            default=str,
        )


class TextFormatter(logging.Formatter):
    """Formats an event as text: ``2026-11-23T11:36:45 info     stream imported  model="robot" sequence=7``.

    Values are written as JSON: names come from clients and may contain line breaks and terminal control sequences.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        fields = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():7}  {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return False for errors that uvicorn and asyncio log, and that are none.

    Uvicorn: the application denies a WebSocket handshake with a response. asyncio: gRPC has ended, which is logged already.
    """
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):  # a client's bytes
        if record.name == "asyncio":
            return False
        record.exc_info = None  # uvicorn logs a text message that is not UTF-8 with its traceback
    return record.getMessage() != "ASGI callable returned without completing handshake."


def configure_log(log_format: LogFormat, level: str) -> None:
    """Send the server's and uvicorn's events to stderr, in one format."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": {"text": TextFormatter, "json": JsonFormatter}[log_format]}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": [_is_relevant]}},
            "loggers": {
                LOGGER.name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
                "asyncio": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
                "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            },
        }
    )
