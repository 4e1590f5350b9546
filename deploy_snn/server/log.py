"""What a server tells its log: one line an event, with its details as fields, for people or for machines."""

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any, Literal

LOGGER = logging.getLogger("deploy_snn.server")

Format = Literal["text", "json"]


def tell(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log an event, such as ``tell("stream moved in", model="robot", sequence=7)``."""
    LOGGER.log(level, event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """``{"time": ..., "level": ..., "event": ..., "model": ...}``, for what collects logs."""

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


class Text(logging.Formatter):
    """``2026-11-23T11:36:45 info  stream moved in  model="robot" sequence=7``, for a terminal.

    Values are written as JSON writes them: names come from clients, and may hold line breaks and what steers a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        fields = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():7}  {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _is_news(record: logging.LogRecord) -> bool:
    """Uvicorn takes a WebSocket that was refused with a proper response for one that was forgotten."""
    return record.getMessage() != "ASGI callable returned without completing handshake."


def configure_log(form: Format, level: str) -> None:
    """Send our events and uvicorn's own to stderr, in one form."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": {"text": Text, "json": JsonLines}[form]}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": [_is_news]}},
            "loggers": {
                LOGGER.name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
                "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            },
        }
    )
