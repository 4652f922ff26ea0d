"""Imports."""

from datetime import datetime

from pydantic import AliasChoices, Field

from app.api.schemas.base import Answer


class BadLine(Answer):
    """A line that was not accepted."""

    line: int = Field(description="In an archive: which of its members, from 1.")
    reason: str


class ImportReportOut(Answer):
    """What became of the file that was sent."""

    import_id: str
    kind: str
    format: str
    sha256: str
    status: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    error_count: int
    errors: list[BadLine]


class ImportOut(ImportReportOut):
    """What became of a file, and who sent it when."""

    import_id: str = Field(validation_alias=AliasChoices("id", "import_id"))
    created_at: datetime
    created_by: str
