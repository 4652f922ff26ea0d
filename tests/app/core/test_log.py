"""The log: JSON lines without keys."""

import json
import logging
from collections.abc import Iterator

import pytest

from app.core.ids import new_secret
from app.core.log import configure


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_one_json_object_a_line_and_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    secret = new_secret()
    logger = logging.getLogger("app.test")
    logger.debug("hidden")
    logger.info("key %s\nsecond line", secret, extra={"channel": "books", "header": "Bearer other-key"})
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("failed")
    output = capsys.readouterr().err
    assert secret not in output and "other-key" not in output
    first, second = [json.loads(line) for line in output.splitlines()]
    assert first["message"] == "key [redacted]\nsecond line"
    assert (first["level"], first["logger"], first["channel"]) == ("INFO", "app.test", "books")
    assert first["header"] == "Bearer [redacted]"
    assert "ValueError: [redacted]" in second["traceback"]
