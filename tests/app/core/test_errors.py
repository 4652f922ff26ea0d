"""The error tree."""

from app.core import errors
from app.core.errors import ImportRejected, LeaseLost, TransRecError, Unavailable


def _tree(cls: type[TransRecError]) -> list[type[TransRecError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


def test_the_docstring_shows_every_error_with_its_status() -> None:
    for cls in _tree(TransRecError):
        lines = [line for line in (errors.__doc__ or "").splitlines() if f"{cls.__name__} " in line]
        assert len(lines) == 1 and f" {cls.status}" in lines[0], cls


def test_what_errors_carry() -> None:
    error = TransRecError("Do this.", field="name")
    assert (str(error), error.message, error.extra) == ("Do this.", "Do this.", {"field": "name"})
    assert ImportRejected("No.", {"rows": 1}).extra == {"report": {"rows": 1}}
    assert Unavailable("Wait.", retry_after=7).retry_after == 7
    assert LeaseLost("Stop.").status == 409
