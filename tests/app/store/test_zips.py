"""Files out of zip archives, honest and hostile."""

import io
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from app.core.errors import Invalid, TooLarge
from app.store import zips
from app.store.members import Member
from app.store.zips import read_zip

LIMIT = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def zipped(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.comment = comment
        for name, data in files:
            archive.writestr(name, data, compress_type=method)
    return target.getvalue()


def members(path: Path, data: bytes, max_member_bytes: int = LIMIT, max_bytes: int = 10_000) -> list[Member]:
    path.write_bytes(data)
    return list(read_zip(path, max_member_bytes, max_bytes))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_in_order_without_folders_and_noise(path: Path, method: int) -> None:
    data = zipped(
        ("posters/", b""),
        ("posters/b.jpg", b"B"),
        ("__MACOSX/posters/._b.jpg", b"noise"),
        ("posters/.DS_Store", b"noise"),
        ("a.png", b"A" * LIMIT),
        ("ä.png", b""),
        ("Q.png", b"no name"),
        method=method,
        comment=b"made by hand",
    )
    data = data.replace(b"Q.png", b"\0.png")  # a name ends at a NUL
    assert members(path, data) == [
        Member(2, "posters/b.jpg", b"B"),
        Member(5, "a.png", b"A" * LIMIT),
        Member(6, "ä.png", b""),
        Member(7, "", b"no name"),
    ]
    assert members(path, zipped()) == []


def test_bad_members_do_not_stop_the_rest(path: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    device = zipfile.ZipInfo("device.jpg")
    device.external_attr = (stat.S_IFCHR | 0o666) << 16
    data = zipped(
        (link, b"/etc/passwd"),
        (device, b""),
        ("big.jpg", b"x" * (LIMIT + 1)),
        ("wrong.jpg", b"w" * 50),
        ("ok", b"1"),
    )
    damaged = data.replace(struct.pack("<I", zlib.crc32(b"w" * 50)), b"\0\0\0\1")
    assert [(member.number, member.content) for member in members(path, damaged)] == [
        (1, "it is a link or a device, not a file"),
        (2, "it is a link or a device, not a file"),
        (3, "the file has more than 1000 bytes"),
        (4, "it is damaged in the archive"),
        (5, b"1"),
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(path: Path, method: int) -> None:
    (member,) = members(path, zipped(("a", b"x" * 100), method=method))
    assert isinstance(member.content, str) and "compression is not supported" in member.content


def test_a_header_that_claims_less_gives_no_more(path: Path) -> None:
    """The directory says 10 bytes, the data unpack to 100 MB: not more than asked for is ever unpacked."""
    data = zipped(("a", b"x" * 100_000_000))
    directory = data.index(b"PK\x01\x02")
    lying = data[: directory + 24] + struct.pack("<I", 10) + data[directory + 28 :]
    tracemalloc.start()
    (member,) = members(path, lying)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert member.content == "it is damaged in the archive"


def test_what_comes_out_is_bounded_in_all(path: Path) -> None:
    data = zipped(*((f"{number}", b"x" * 900) for number in range(20)))
    assert len(members(path, data, max_bytes=18_000)) == 20
    with pytest.raises(TooLarge, match="unpacks to more than 17999 bytes"):
        members(path, data, max_bytes=17_999)


def test_entries_that_share_their_data_are_counted_each(path: Path) -> None:
    """A zip bomb in which a thousand entries of the directory point at one file."""
    data = zipped(("a", b"x" * 900))
    begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = data[begin:end] * 1000
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), begin, 0)
    with pytest.raises(TooLarge):
        members(path, data[:begin] + directory + tail)


def test_damaged_members_count_as_well(path: Path) -> None:
    data = zipped(*((f"{number}", b"x" * 900) for number in range(20)))
    data = data.replace(struct.pack("<I", zlib.crc32(b"x" * 900)), b"\0\0\0\1")
    assert {member.content for member in members(path, data, max_bytes=18_000)} == {
        "it is damaged in the archive"
    }
    with pytest.raises(TooLarge):
        members(path, data, max_bytes=17_999)


def test_an_encrypted_archive_is_refused(path: Path) -> None:
    data = bytearray(zipped(("a", b"x")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Invalid, match="without a password"):
        members(path, bytes(data))


def test_the_directory_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(*((f"{number}", b"") for number in range(11)))
    monkeypatch.setattr(zips, "MAX_MEMBERS", 11)
    assert len(members(path, data)) == 11
    monkeypatch.setattr(zips, "MAX_MEMBERS", 10)
    with pytest.raises(TooLarge, match="members"):
        members(path, data)
    monkeypatch.undo()
    monkeypatch.setattr(zips, "_MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(TooLarge, match="directory is too long"):
        members(path, data)


@pytest.mark.parametrize("claimed", [2**31, 2**32 - 1])
def test_a_directory_of_gigabytes_is_not_read(path: Path, claimed: int) -> None:
    data = zipped(("a", b"x"))
    end = data.index(b"PK\x05\x06")
    tracemalloc.start()
    with pytest.raises((Invalid, TooLarge)):
        members(path, data[: end + 12] + struct.pack("<I", claimed) + data[end + 16 :])
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_what_is_no_zip_is_refused(path: Path) -> None:
    data = zipped(("a", b"x" * 100), ("b", b"y" * 100))
    for broken in (b"", b"PK", b"nonsense" * 100, data[:50], data[:-30], data[10:-10]):
        with pytest.raises(Invalid, match="not readable as zip"):
            members(path, broken)
