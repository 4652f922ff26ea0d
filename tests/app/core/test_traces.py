"""Traces that cannot be made are an error at the start."""

import subprocess
import sys

import pytest

from app.core.errors import Misconfigured
from app.core.traces import tracer_provider

WITHOUT = """
import sys
sys.modules["opentelemetry.sdk"] = None
from app.core.errors import Misconfigured
from app.core.traces import check_endpoint
try:
    check_endpoint("http://127.0.0.1:4318")
except Misconfigured as error:
    print(error.message)
"""
# The Redis client looks at the SDK's metrics by itself, where the SDK is installed.
IMPORTED = """
import sys, app.main
print([m for m in sys.modules if m.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_the_missing_extra_is_named() -> None:
    assert "pip install 'transrec-serve[otel]'" in run(WITHOUT)


def test_no_url_is_refused() -> None:
    with pytest.raises(Misconfigured, match="http://host:4318"):
        tracer_provider("host:4318")


def test_without_an_endpoint_nothing_is_imported() -> None:
    assert tracer_provider("") is None
    assert run(IMPORTED).strip() == "[]"
