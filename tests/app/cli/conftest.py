"""The command line as users run it: in a process of its own, against the real server of tests/app/api."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.app.api.conftest import (
    OPERATOR,
    Server,
    Shop,
    backbone,
    image_backbone,
    platform,
    server,
    shop,
)

__all__ = ["backbone", "image_backbone", "platform", "server", "shop"]
Transrec = Callable[..., subprocess.CompletedProcess[str]]
AsJson = Callable[..., Any]


@pytest.fixture
def transrec(tmp_path: Path) -> Transrec:
    """Runs `transrec` with arguments, a home of its own and no settings of ours."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRANSREC_")}
    environment["TRANSREC_HOME"] = str(tmp_path)

    def run(*arguments: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            command, env=environment | more, input=stdin, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.fixture
def remote(transrec: Transrec, server: Server, shop: Shop) -> Transrec:
    """The same for the shop, with the platform operator's key."""
    variables = {"TRANSREC_URL": server.url, "TRANSREC_KEY": OPERATOR, "TRANSREC_TENANT": shop.tenant}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return transrec(*arguments, **(variables | more))

    return run


@pytest.fixture
def as_json(remote: Transrec) -> AsJson:
    """What a command prints with --json; it must succeed."""

    def run(*arguments: str, **more: str) -> Any:
        done = remote(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
