import gzip
import tarfile
from pathlib import Path

import pytest

from app.core.errors import Invalid
from tests.pictures import tarred
from tests.training.conftest import DATA, needs_data
from training.sources import MAX_IMAGE_BYTES, read_images

ITEMS = {"tt1": "The First", "tt2": "The Second", "tt.3": "No Poster"}
USERS = {"u1": "tt2 tt.3 tt1", "u2": "tt.3"}


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.write_bytes(tarred(members))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source of three items; the tests add the tar."""
    with gzip.open(tmp_path / "films.items.tsv.gz", "wt") as out:
        out.writelines(f"{item}\t{title}\n" for item, title in ITEMS.items())
    with gzip.open(tmp_path / "films.users.tsv.gz", "wt") as out:
        out.writelines(f"{user}\t{history}\n" for user, history in USERS.items())
    return tmp_path


def test_a_tar_of_a_whole_folder_is_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    posters = tmp_path_factory.mktemp("posters")
    (posters / "tt1.jpg").write_bytes(b"one")
    (posters / "tt2.jpg").mkdir()
    with tarfile.open(folder / "posters.tar", "w") as tar:
        tar.add(posters, ".")  # as `tar -C posters -cf posters.tar .` does: "." and "./tt1.jpg"
    assert read_images(folder, "films").items == {"tt1": b"one"}


def test_items_without_an_image_are_dropped_everywhere(folder: Path) -> None:
    others = dict.fromkeys(["tt.3.png", "sub/tt.3.jpg", "tt.3.jpg.jpg", "another.jpg", "tt.3"], b"no")
    write_tar(folder / "posters.tar", {"tt2.jpg": b"two", "tt1.jpg": b"one"} | others)
    source = read_images(folder, "films")
    assert source.items == {"tt1": b"one", "tt2": b"two"}
    assert list(source.items) == ["tt1", "tt2"]  # the catalogue's order, not the tar's
    assert source.titles == {"tt1": "The First", "tt2": "The Second"}
    assert source.sequences == {"u1": ["tt2", "tt1"], "u2": []}


def test_an_id_with_a_dot_finds_its_image(folder: Path) -> None:
    write_tar(folder / "posters.tar", {"tt.3.jpg": b"three"})
    assert read_images(folder, "films").items == {"tt.3": b"three"}


def test_the_tar_is_named_unless_there_is_one(folder: Path) -> None:
    with pytest.raises(Invalid, match=r"0 \*\.tar"):
        read_images(folder, "films")
    write_tar(folder / "a.tar", {"tt1.jpg": b"a"})
    write_tar(folder / "b.tar", {"tt1.jpg": b"b"})
    with pytest.raises(Invalid, match=r"2 \*\.tar"):
        read_images(folder, "films")
    assert read_images(folder, "films", folder / "b.tar").items == {"tt1": b"b"}


def test_a_tar_without_its_images_is_refused(folder: Path) -> None:
    write_tar(folder / "posters.tar", {"poster-of-tt1.jpg": b"one"})
    with pytest.raises(Invalid, match=r"<item id>\.jpg"):
        read_images(folder, "films")


@pytest.mark.parametrize("cut", [100, 1500])  # inside the first member's header, inside its data
def test_a_broken_tar_is_refused(folder: Path, cut: int) -> None:
    path = folder / "posters.tar"
    write_tar(path, {"tt1.jpg": b"1" * 2000})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Invalid, match="Make the tar again"):
        read_images(folder, "films")


def test_a_compressed_tar_is_refused(folder: Path) -> None:
    write_tar(folder / "posters.tar", {"tt1.jpg": b"one"})
    path = folder / "posters.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(Invalid, match="Make the tar again"):
        read_images(folder, "films")


def test_an_image_that_is_too_big_is_refused(folder: Path) -> None:
    write_tar(folder / "posters.tar", {"tt1.jpg": bytes(MAX_IMAGE_BYTES + 1)})
    with pytest.raises(Invalid, match=r"tt1\.jpg.*8388609 bytes"):
        read_images(folder, "films")


@needs_data
@pytest.mark.parametrize(
    ("name", "items", "users"), [("ml1m_posters", 3275, 6034), ("movietweetings_posters", 5555, 5851)]
)
def test_real_posters(name: str, items: int, users: int) -> None:
    source = read_images(DATA / "images", name)
    assert len(source.items) == items
    assert sum(len(s) >= 5 for s in source.sequences.values()) == users
    assert all(image.startswith(b"\xff\xd8") for image in source.items.values())  # JPEG's start of image
