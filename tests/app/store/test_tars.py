"""Files out of tar archives, honest and hostile."""

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from app.core.errors import Invalid, TooLarge
from app.store import tars
from app.store.members import Member
from app.store.tars import read_tar

LIMIT = 1000
BOUND = 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def tarred(*files: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                archive.addfile(file)
                continue
            info = tarfile.TarInfo(file[0])
            info.size = len(file[1])
            archive.addfile(info, io.BytesIO(file[1]))
    return target.getvalue()


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def members(path: Path, data: bytes, *, gzipped: bool = False, max_bytes: int = BOUND) -> list[Member]:
    path.write_bytes(data)
    return list(read_tar(path, gzipped, LIMIT, max_bytes))


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_come_in_order_without_folders_and_noise(path: Path, gzipped: bool, format: int) -> None:  # noqa: A002
    long = "x" * 90 + "/" + "y" * 60 + ".jpg"  # longer than the plain header's field
    data = tarred(
        special("posters", tarfile.DIRTYPE),
        ("posters/b.jpg", b"B"),
        ("posters/._b.jpg", b"noise"),
        (long, b"A" * LIMIT),
        ("empty.png", b""),
        ("block.png", b"0" * 512),
        ("last.png", b"1" * 511),
        format=format,
    )
    assert members(path, gzip.compress(data) if gzipped else data, gzipped=gzipped) == [
        Member(2, "posters/b.jpg", b"B"),
        Member(4, long, b"A" * LIMIT),
        Member(5, "empty.png", b""),
        Member(6, "block.png", b"0" * 512),
        Member(7, "last.png", b"1" * 511),
    ]
    assert members(path, tarred()) == []


def test_bad_members_do_not_stop_the_rest(path: Path) -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE)
    data = tarred(
        *(special(f"{n}.jpg", kind) for n, kind in enumerate(kinds)), ("big", b"x" * 1001), ("ok", b"1")
    )
    found = members(path, data)
    assert {member.content for member in found[:5]} == {"it is a link, a device or sparse, not a plain file"}
    assert [member.content for member in found[5:]] == ["the file has more than 1000 bytes", b"1"]


def test_a_damaged_tar_is_not_taken_for_a_shorter_one(path: Path) -> None:
    data = tarred(("a", b"x" * 600), ("b", b"y" * 600))
    assert len(members(path, data)) == 2
    damaged = bytearray(data)
    damaged[3 * 512 + 148] ^= 1  # the checksum of the second header
    with pytest.raises(Invalid, match="damaged or cut short at byte 1536"):
        members(path, bytes(damaged))
    for length in (100, 512, 700, 1536, 1600, 2048, 3072):
        with pytest.raises(Invalid):
            members(path, data[:length])


@pytest.mark.parametrize("data", [b"", b"nonsense", b"nonsense" * 1000, b"PK\x03\x04" + bytes(2000)])
def test_what_is_no_tar_is_refused(path: Path, data: bytes) -> None:
    with pytest.raises(Invalid):
        members(path, data)


def test_gzip_that_is_none_or_is_cut_short(path: Path) -> None:
    data = tarred(("a", b"x" * 600), ("b", bytes(range(256)) * 3))
    packed = gzip.compress(data)
    for broken in (data, packed[:-12], packed[: len(packed) // 2], packed[:20] + b"\xff" * 20):
        with pytest.raises(Invalid, match="not readable as tar"):
            members(path, broken, gzipped=True)
    with pytest.raises(Invalid):
        members(path, packed)


def test_what_a_gzip_bomb_unpacks_to_is_bounded(path: Path) -> None:
    """A member of 200 MB, which is passed over, unpacks too; so does all behind it."""
    info = tarfile.TarInfo("big")
    info.size = 200_000_000
    bomb = gzip.compress(info.tobuf() + bytes(info.size) + tarred(("a", b"x")))
    tracemalloc.start()
    with pytest.raises(TooLarge, match=f"unpacks to more than {BOUND} bytes"):
        members(path, bomb, gzipped=True)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    many = tarred(*((str(number), b"x" * LIMIT) for number in range(1000)))
    with pytest.raises(TooLarge):
        members(path, gzip.compress(many), gzipped=True)
    assert len(members(path, gzip.compress(many), gzipped=True, max_bytes=len(many))) == 1000


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_gigabytes_is_not_read(path: Path, kind: bytes) -> None:
    header = special("long", kind)
    header.size = 100_000_000
    bomb = gzip.compress(header.tobuf() + bytes(header.size) + tarred(("a", b"x")))
    tracemalloc.start()
    with pytest.raises(TooLarge, match="header"):
        members(path, bomb, gzipped=True, max_bytes=2**40)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_headers_that_never_end(path: Path) -> None:
    header = special("long", tarfile.GNUTYPE_LONGNAME)
    header.size = 1
    data = (header.tobuf() + b"x" * 512) * 5000
    with pytest.raises(Invalid):
        members(path, data, max_bytes=len(data))


def test_the_number_of_members_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tarred(*((str(number), b"") for number in range(11)))
    monkeypatch.setattr(tars, "MAX_MEMBERS", 11)
    assert len(members(path, data)) == 11
    monkeypatch.setattr(tars, "MAX_MEMBERS", 10)
    with pytest.raises(TooLarge, match="members"):
        members(path, data)
