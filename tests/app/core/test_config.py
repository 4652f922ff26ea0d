"""The settings."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config import Settings, get_settings
from app.core.errors import Misconfigured


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.upper().startswith("TRANSREC_"):
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_defaults_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = get_settings()
    assert settings.port == 8000 and settings.home == Path("var")
    assert settings.resolved_database_url == "sqlite:///var/transrec.db"
    monkeypatch.setenv("TRANSREC_PORT", "9000")
    assert get_settings() is settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        get_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgres_url(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("TRANSREC_DATABASE_URL", f"{scheme}://u:p@h/d")
    assert get_settings().resolved_database_url == "postgresql+psycopg://u:p@h/d"


def test_every_wrong_variable_is_named_and_no_value_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSREC_PORT", "many")
    monkeypatch.setenv("TRANSREC_OPERATOR_KEY", "hunter2")
    monkeypatch.setenv("TRANSREC_PROT", "80")
    with pytest.raises(Misconfigured) as caught:
        get_settings()
    message = caught.value.message
    for name in ("TRANSREC_PORT:", "TRANSREC_OPERATOR_KEY:", "TRANSREC_PROT: there is no such setting"):
        assert name in message
    assert "hunter2" not in message


def test_operator_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSREC_OPERATOR_KEY", "a-long-bootstrap-key")
    assert "a-long" not in repr(get_settings())


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
