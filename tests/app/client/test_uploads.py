"""Imports by the client: every kind of source, progress, and what a file with bad lines says."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import anyio
import pandas
import polars
import pytest

from app.api.schemas.imports import ImportReportOut
from app.client import ApiError, AsyncClient, Client
from app.client.upload import CHUNK, upload_of
from tests.app.api.conftest import OPERATOR, Server
from tests.app.client.flaky import Flaky
from tests.pictures import encoded, flag

CSV = b"item_id,title,price\nn1,one,1\nn2,two,2\n"
ROWS = {"item_id": ["n1", "n2"], "title": ["one", "two"], "price": [1, 2]}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["path", "text", "gzip", "bytes", "file", "buffer", "pandas", "polars"])
def test_items_come_from_any_source(client: Client, tmp_path: Path, kind: str) -> None:
    sources: dict[str, Any] = {
        "path": written(tmp_path / "items.csv", CSV),
        "text": str(written(tmp_path / "text.csv", CSV)),
        "gzip": written(tmp_path / "items.csv.gz", gzip.compress(CSV)),
        "bytes": CSV,
        "file": (tmp_path / "items.csv").open("rb"),
        "buffer": io.BytesIO(CSV),
        "pandas": pandas.DataFrame(ROWS),
        "polars": polars.DataFrame(ROWS),
    }
    with sources["file"]:
        report = client.import_items(
            "books", sources[kind], format="csv" if kind in ("bytes", "buffer") else None
        )
        assert not sources["file"].closed  # whoever opened it closes it
    assert (report.inserted, report.status) == (2, "ACCEPTED")
    assert client.item("books", "n2").text == "two"
    again = client.import_items("books", ROWS_AS_JSON, format="jsonl")
    assert (again.inserted, again.updated + again.unchanged) == (0, 2)


ROWS_AS_JSON = (
    b'{"item_id": "n1", "title": "one", "price": 1}\n{"item_id": "n2", "title": "two", "price": 2}\n'
)


def test_a_pandas_frame_is_a_csv_where_nothing_writes_parquet(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_pyarrow(*_: object, **__: object) -> None:
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pandas.DataFrame, "to_parquet", without_pyarrow)
    report = client.import_items("books", pandas.DataFrame(ROWS))
    assert (report.format, report.inserted) == ("csv", 2)


def test_interactions_and_past_imports(client: Client) -> None:
    frame = polars.DataFrame({"user_id": ["u9"], "item_id": ["i1"], "timestamp": [1_700_000_000]})
    report = client.import_interactions("books", frame)
    assert report.inserted == 1
    assert client.imports("books")[0].import_id == report.import_id
    assert client.import_report("books", report.import_id).sha256 == report.sha256


def test_bad_lines_are_in_the_error(client: Client) -> None:
    with pytest.raises(ApiError, match="422 Import rejected") as caught:
        client.import_items("books", b"item_id,text\n,nothing\nok,thing\n", format="csv")
    report = ImportReportOut.model_validate(caught.value.extra["report"])
    assert (report.error_count, report.errors[0].line) == (1, 2)


def test_progress_is_told_to_the_last_byte(client: Client, tmp_path: Path) -> None:
    data = b"item_id,text\n" + b"".join(b"p%d,%s\n" % (n, b"x" * 900) for n in range(100))
    told: list[tuple[int, int]] = []
    client.import_items("books", written(tmp_path / "i.csv", data), on_progress=lambda *at: told.append(at))
    assert told[-1] == (len(data), len(data))
    chunks = [len(chunk) for chunk in upload_of(b"x" * (2 * CHUNK + 1))]
    assert chunks == [CHUNK, CHUNK, 1]  # streamed, not read whole


def test_a_file_above_the_limit_is_refused_with_its_words(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.import_items("books", b"item_id,text\n" + b"x" * 3_000_000, format="csv")
    assert caught.value.status == 413
    assert "100000 bytes" in caught.value.detail


def test_an_asynchronous_upload_that_is_refused_closes_its_file(
    server: Server, client: Client, tmp_path: Path
) -> None:
    file = written(tmp_path / "items.csv", b"item_id,text\n" + b"x" * 3_000_000)

    async def run() -> None:
        async with AsyncClient(server.url, OPERATOR, client.tenant_name) as other:
            with pytest.raises(ApiError) as caught:
                await other.import_items("books", file)
            assert caught.value.status == 413

    anyio.run(run)


def test_an_upload_is_sent_again_from_its_start(flaky: Flaky, client: Client) -> None:
    flaky.plan.extend(["cut", "503 0", "lost"])
    file = io.BytesIO(b"what was read before" + CSV)
    file.seek(len(b"what was read before"))
    with Client(flaky.url, OPERATOR, client.tenant_name) as through:
        report = through.import_items("books", file, format="csv")
    assert (report.rows, report.unchanged) == (2, 2)  # the one whose answer was lost was stored
    assert flaky.bodies == [CSV] * 4


def test_images_alone_and_in_an_archive(client: Client) -> None:
    client.create_channel("films", modality="image")
    client.put_items("films", [{"item_id": "f1", "text": "one"}, {"item_id": "f2", "text": "two"}])
    picture = encoded(flag())
    assert client.put_image("films", "f1", picture).format == "jpeg"
    assert client.image("films", "f1") == picture
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("f2.jpg", picture)
    archive.seek(0)
    assert client.import_images("films", archive, format="zip").inserted == 1
    client.delete_image("films", "f1")
    assert client.channel("films").images == 1


def test_what_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path or its bytes"):
        upload_of(Pipe())
    with pytest.raises(FileNotFoundError):
        upload_of(tmp_path / "nope.csv")


class Pipe(io.BytesIO):
    """A file that goes forward only."""

    def seekable(self) -> bool:
        return False
