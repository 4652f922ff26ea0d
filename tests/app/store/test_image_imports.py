"""Archives of images: whole or not at all, every bad member named, the same archive twice changes nothing."""

import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.core.errors import ImportRejected, Invalid, NotFound, TooLarge
from app.core.images import image_info
from app.store import catalog, image_imports, images, imports
from app.store.catalog import ItemRow
from app.store.channels import generations
from app.store.db import Database
from app.store.formats import Format
from app.store.image_imports import Archive, item_of
from app.store.images import ImageRow
from app.store.imports import ImportReport, Kind, Limits, list_imports, run_import
from app.store.rows import BadRow
from app.store.tables import Channel
from tests.pictures import encoded, flag, noise, png, tarred

A, B, C = (encoded(noise(seed), "PNG") for seed in (1, 2, 3))
Files = dict[str, bytes]


def zipped(files: Files) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


class Importer:
    """Imports archives into one channel."""

    def __init__(self, database: Database, channel: Channel, path: Path) -> None:
        self.database, self.channel, self.path = database, channel, path
        self.before = self.generation()

    def __call__(
        self,
        content: bytes,
        format: Format = Format.ZIP,  # noqa: A002
        *,
        kind: Kind = Kind.IMAGES,
        gzipped: bool = False,
        limits: Limits | None = None,
    ) -> ImportReport:
        self.path.write_bytes(content)
        return run_import(
            self.database,
            self.channel.id,
            kind,
            self.path,
            format,
            sha256="0",
            actor="me",
            gzipped=gzipped,
            limits=limits or Limits(),
        )

    def errors(self, content: bytes, **options: Limits) -> dict[int, str]:
        """Why each bad member of a rejected archive is bad."""
        with pytest.raises(ImportRejected) as caught:
            self(content, **options)  # type: ignore[arg-type]
        report = caught.value.report
        assert report["error_count"] == len(report["errors"])
        return {error["line"]: error["reason"] for error in report["errors"]}

    def state(self) -> tuple[int, int]:
        """Images, and how often the generation has risen."""
        with self.database.read() as s:
            return images.count_images(s, self.channel.id), self.generation() - self.before

    def generation(self) -> int:
        with self.database.read() as s:
            return generations(s)[self.channel.id]


@pytest.fixture
def importer(database: Database, posters: Channel, tmp_path: Path) -> Importer:
    return Importer(database, posters, tmp_path / "upload")


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.rows, report.inserted, report.updated, report.unchanged


@pytest.mark.parametrize("format", ["zip", "tar", "tar.gz"])
def test_an_archive(importer: Importer, format: str) -> None:  # noqa: A002
    files = {"posters/a.png": A, "b.JPG": encoded(flag()), "posters/d%2F1.webp": encoded(flag(), "WEBP")}
    content = zipped(files) if format == "zip" else tarred(files)
    if format == "tar.gz":
        content = gzip.compress(content)
    kind, gzipped = Format(format[:3]), format == "tar.gz"
    report = importer(content, kind, gzipped=gzipped)
    assert (report.kind, report.format, report.status) == ("images", format[:3], "ACCEPTED")
    assert counts(report) == (3, 3, 0, 0)
    assert importer.state() == (3, 1)
    with importer.database.read() as s:
        stored = images.load_images(s, importer.channel.id, ["a", "b", "c", "d/1"])
        assert stored == dict(zip(("a", "b", "d/1"), files.values(), strict=True))
        assert images.get_image(s, importer.channel.id, "d/1").format == "webp"
    assert counts(importer(content, kind, gzipped=gzipped)) == (3, 0, 0, 3)
    assert importer.state() == (3, 1)


def test_a_changed_image_is_updated(importer: Importer) -> None:
    importer(zipped({"a.png": A, "b.png": B}))
    assert counts(importer(zipped({"a.png": A, "b.png": C, "c.png": C}))) == (3, 1, 1, 1)
    assert importer.state() == (3, 2)


def test_every_bad_member_is_named_and_nothing_is_stored(importer: Importer) -> None:
    content = zipped(
        {
            "a.png": A,
            "zzz.png": A,
            "b.jpg": b"no image",
            "folder/a.webp": B,
            "c.png": C[: len(C) // 2],
            "d%2F1.png": png(20_000, 20_000, pixels=b""),
            "../a.png": A,
            "/a.png": A,
            "notes.txt": b"hello",
            "noname": A,
            ".png": A,
            "%ff.png": A,
            "b\u2028.png": A,
        }
    )
    errors = importer.errors(content)
    assert errors[2] == "zzz: the item is not in the catalogue: upload it first"
    assert errors[3].startswith("b: The file is no JPEG, PNG or WebP image")
    assert errors[4] == "a: the item has an image already, member 1"
    assert errors[5].startswith("c: The image is cut short")
    assert errors[6].startswith("d/1: The image has ") and "pixels" in errors[6]
    assert errors[7] == "../a.png: the name leads out of the archive"
    assert errors[8] == "/a.png: the name leads out of the archive"
    suffixes = "the name ends in none of .jpg, .jpeg, .png, .webp"
    assert [errors[n] for n in (9, 10, 11)] == [
        f"{name}: {suffixes}" for name in ("notes.txt", "noname", ".png")
    ]
    assert errors[12] == "%ff.png: the name is not URL-quoted UTF-8"
    assert errors[13] == "b\\u2028: the item is not in the catalogue: upload it first"
    assert set(errors) == set(range(2, 14))
    assert importer.state() == (0, 0)
    with importer.database.read() as s:
        (row,) = list_imports(s, importer.channel.id)
        assert (row.status, row.rows, row.error_count) == ("REJECTED", 13, 12)
        assert {error["line"]: error["reason"] for error in row.errors} == errors


def test_bounds_on_an_image(importer: Importer) -> None:
    content = zipped({"a.png": A, "b.png": encoded(flag(), "PNG")})
    assert importer.errors(content, limits=Limits(image_bytes=len(A) - 1)) == {
        1: f"a: the file has more than {len(A) - 1} bytes"
    }
    errors = importer.errors(content, limits=Limits(image_pixels=511))
    assert "32 x 16 pixels" in errors[1] and "32 x 16 pixels" in errors[2]
    assert importer.state() == (0, 0)


def test_bounds_on_all_the_pixels_of_an_archive(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat images are tiny files of any size: an archive has a budget of pixels, by its bytes."""
    content = zipped({f"{item}.png": encoded(flag((400, 500)), "PNG") for item in ("a", "b")})
    monkeypatch.setattr(image_imports, "_FREE_PIXELS", 399_999)
    assert len(content) * 100 < 399_999
    with pytest.raises(TooLarge, match="more than 399999 pixels in all"):
        importer(content)
    monkeypatch.setattr(image_imports, "_FREE_PIXELS", 400_000)
    assert importer(content).inserted == 2


def test_names_that_are_no_text(importer: Importer) -> None:
    with pytest.raises(ImportRejected) as caught:
        importer(tarred({"\udcff\udcfe.png": A}), Format.TAR)
    (error,) = caught.value.report["errors"]
    assert error["reason"].startswith("\\udcff\\udcfe: the item is not in the catalogue")
    with pytest.raises(ImportRejected):
        importer(tarred({"a%00.png": A}), Format.TAR)


def test_the_list_of_bad_members_is_bounded(importer: Importer) -> None:
    with pytest.raises(ImportRejected, match="1500 of 1500 members are bad") as caught:
        importer(zipped({f"{number}.png": b"x" for number in range(1500)}))
    assert caught.value.report["error_count"] == 1500
    assert len(caught.value.report["errors"]) == 1000


def test_an_archive_as_a_whole_is_wrong(importer: Importer) -> None:
    for content, format, gzipped, reason in (  # noqa: A001
        (zipped({}), Format.ZIP, False, "is empty"),
        (tarred({}), Format.TAR, False, "is empty"),
        (tarred({"a.png": A}), Format.ZIP, False, "not readable as zip"),
        (zipped({"a.png": A}), Format.TAR, False, "not readable as tar"),
        (gzip.compress(zipped({"a.png": A})), Format.ZIP, True, "without gzip"),
        (zipped({"a.png": A}), Format.CSV, False, "Images come as zip or tar"),
    ):
        with pytest.raises(Invalid, match=reason):
            importer(content, format, gzipped=gzipped)
    with pytest.raises(Invalid, match="Images come as zip or tar"):
        importer(b"item_id,text\na,b\n", Format.ZIP, kind=Kind.ITEMS)
    with pytest.raises(TooLarge, match="unpacks to more than 1000 bytes"):
        importer(zipped({"a.png": A}), limits=Limits(file_bytes=1000))
    with pytest.raises(TooLarge):
        importer(
            gzip.compress(tarred({"a.png": A})), Format.TAR, gzipped=True, limits=Limits(file_bytes=1000)
        )
    assert importer.state() == (0, 0)
    with importer.database.read() as s:
        assert list_imports(s, importer.channel.id) == []


def test_a_channel_of_texts_takes_no_images(database: Database, channel: Channel, tmp_path: Path) -> None:
    with database.session() as s:
        catalog.upsert_items(s, channel.id, [ItemRow("a", "A")])
    importer = Importer(database, channel, tmp_path / "upload")
    with pytest.raises(Invalid, match="Create a channel with the modality 'image'"):
        importer(zipped({"a.png": A}))
    assert importer.state() == (0, 0)


def test_several_batches_and_an_error_half_way(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_BATCH_BYTES", len(A) + 1)
    ids = [f"i{number}" for number in range(9)]
    with importer.database.session() as s:
        catalog.upsert_items(s, importer.channel.id, [ItemRow(item_id, "x") for item_id in ids])
    content = zipped({f"{item_id}.png": encoded(noise(n), "PNG") for n, item_id in enumerate(ids)})
    write, sizes = images._write, []

    def failing(s: Session, channel_id: str, rows: Sequence[ImageRow]) -> None:
        sizes.append(len(rows))
        if len(sizes) == 3:
            raise RuntimeError("killed")
        write(s, channel_id, rows)

    monkeypatch.setattr(images, "_write", failing)
    with pytest.raises(RuntimeError, match="killed"):
        importer(content)
    assert sizes == [2, 2, 2]
    assert importer.state() == (0, 1)
    monkeypatch.setattr(images, "_write", write)
    assert counts(importer(content)) == (9, 9, 0, 0)
    assert importer.state() == (9, 2)


def test_an_item_deleted_while_the_archive_is_checked(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_images(archive: Archive) -> Iterator[ImageRow]:
        yield from image_imports.read_images(archive)
        yield ImageRow("gone", image_info(A), A)

    monkeypatch.setattr(imports, "read_images", read_images)
    with pytest.raises(NotFound, match="'gone'"):
        importer(zipped({"a.png": A}))
    assert importer.state() == (0, 0)


@pytest.mark.parametrize(
    ("name", "item_id"),
    [
        ("a.jpg", "a"),
        ("x/y/a.JPEG", "a"),
        ("a.b.png", "a.b"),
        ("a..webp", "a."),
        ("a%2Fb%20c.png", "a/b c"),
        ("100%25.png", "100%"),
        ("a+b.png", "a+b"),
        ("%C3%A4.png", "ä"),
        ("ä.png", "ä"),
        ("./a.png", "a"),
    ],
)
def test_the_item_by_the_name(name: str, item_id: str) -> None:
    assert item_of(name) == item_id


@pytest.mark.parametrize(
    "name", ["", "a", ".png", "a.gif", "a.jpg.svg", "/a.png", "../a.png", "x/../a.png", "%80.png"]
)
def test_names_of_no_item(name: str) -> None:
    with pytest.raises(BadRow):
        item_of(name)
