"""Logging: one JSON object a line on stderr, never with a key in it."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from app.core import request

_SECRETS = re.compile(r"\btrs?_[A-Za-z0-9_-]{16,}|(?<=Bearer )[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
# What every record has anyway; the rest came by `extra=` and is logged.
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def redact(text: str) -> str:
    """Return `text` with every API key and session token replaced by `[redacted]`."""
    return _SECRETS.sub("[redacted]", text)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, what is known of the request that
    it belongs to, and what `extra=` gave.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted whole so that no traceback or extra leaks a key."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= request.facts()
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


def configure(level: str = "INFO") -> None:
    """Send all logs of the process to stderr as JSON lines, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
