"""Encoded images, most of them hostile: whatever comes, it is an image or `Invalid`."""

import io
import random
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from app.core.errors import Invalid
from app.core.images import MIN_SIDE, ImageInfo, check_image, decode_rgb, image_info
from tests.pictures import BLUE, RED, chunk, encoded, flag, noise, png

MAX_BYTES, MAX_PIXELS = 1_000_000, 1_000_000
FORMATS = ("JPEG", "PNG", "WEBP")
ORIENTATION = 0x0112


def check(data: bytes, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    return check_image(data, max_bytes, max_pixels)


def refusal(data: bytes, **bounds: int) -> str:
    with pytest.raises(Invalid) as caught:
        check(data, **bounds)
    return caught.value.message


def is_near(pixel: object, expected: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 12 for a, b in zip(pixel, expected, strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_an_honest_image(format: str) -> None:  # noqa: A002
    data = encoded(flag(), format)
    info = check(data)
    assert info == image_info(data)
    assert (info.format, info.width, info.height, len(info.sha256)) == (format.lower(), 32, 16, 64)
    image = decode_rgb(data)
    assert (image.mode, image.size) == ("RGB", (32, 16))
    assert is_near(image.getpixel((3, 3)), BLUE) and is_near(image.getpixel((28, 3)), RED)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    # Where the file's first row and first column are to be shown: EXIF 2.32, 4.6.4 A.
    [
        (1, (32, 16), BLUE),
        (2, (32, 16), RED),
        (3, (32, 16), RED),
        (4, (32, 16), BLUE),
        (5, (16, 32), BLUE),
        (6, (16, 32), BLUE),
        (7, (16, 32), RED),
        (8, (16, 32), RED),
    ],
)
def test_the_image_is_turned_upright(
    format: str,  # noqa: A002
    orientation: int,
    size: tuple[int, int],
    corner: tuple[int, int, int],
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(flag(), format, exif=exif)
    image = decode_rgb(data)
    assert image.size == size
    assert is_near(image.getpixel((3, 3)), corner)
    assert (check(data).width, check(data).height) == (32, 16)


def with_exif(block: bytes) -> bytes:
    """A JPEG with this block as its EXIF; without a resolution, for then Pillow looks for one there."""
    data = encoded(flag())
    payload = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[20:]


def a_tag(kind: int, count: int, value: bytes) -> bytes:
    """EXIF with an orientation of any type."""
    return b"II*\0" + struct.pack("<IHHHI", 8, 1, ORIENTATION, kind, count) + value + b"\0" * 4


DAMAGED_EXIF = [
    a_tag(3, 1, b"\0\0\0\0"),
    a_tag(3, 1, b"\x09\0\0\0"),
    a_tag(2, 4, b"six\0"),
    a_tag(7, 4, b"\6\0\0\0"),
    a_tag(11, 1, struct.pack("<f", float("nan"))),
    a_tag(3, 2**30, b"\x08\0\0\0"),
    b"",
    b"nonsense",
    b"II*\0",
    b"II*\0" + struct.pack("<I", 2**31),
    b"II*\0" + struct.pack("<IH", 8, 65535),
    b"II*\0" + struct.pack("<IH", 8, 900) + b"".join(struct.pack("<HHII", n, 7, 9000, 8) for n in range(900)),
    b"MM\0*" + bytes(range(256)) * 8,
]


@pytest.mark.parametrize("block", DAMAGED_EXIF)
def test_damaged_exif_is_passed_over(block: bytes) -> None:
    data = with_exif(block)
    assert check(data).format == "jpeg"
    assert decode_rgb(data).size == (32, 16)


@pytest.mark.parametrize("block", DAMAGED_EXIF)
def test_a_warning_that_is_an_error_is_no_other_error(block: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome(with_exif(block))


def test_damaged_exif_leaves_stderr_alone() -> None:
    """In a process without the tests' own rules for warnings."""
    program = (
        "import sys; from app.core.images import check_image; "
        "check_image(sys.stdin.buffer.read(), 99999, 99999)"
    )
    for block in DAMAGED_EXIF[-3:]:
        command = [sys.executable, "-W", "default", "-c", program]
        done = subprocess.run(command, input=with_exif(block), capture_output=True, check=True)
        assert done.stderr == b""


@pytest.mark.parametrize(
    ("image", "format", "pixel"),
    [
        (flag().convert("L"), "JPEG", (29, 29, 29)),
        (flag().convert("CMYK"), "JPEG", BLUE),
        (flag().convert("1"), "PNG", (0, 0, 0)),
        (flag().convert("L"), "PNG", (29, 29, 29)),
        (flag().convert("P"), "PNG", BLUE),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "WEBP", (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 51)), "PNG", (204, 204, 204)),
        (Image.new("I;16", (8, 8), 100 * 257), "PNG", (100, 100, 100)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_becomes_rgb(image: Image.Image, format: str, pixel: tuple[int, int, int]) -> None:  # noqa: A002
    data = encoded(image, format)
    check(data)
    decoded = decode_rgb(data)
    assert decoded.mode == "RGB"
    assert is_near(decoded.getpixel((3, 3)), pixel)


def test_a_palette_with_transparency() -> None:
    image = flag().convert("P")
    transparent = image.getpixel((3, 3))
    decoded = decode_rgb(encoded(image, "PNG", transparency=transparent))
    assert decoded.getpixel((3, 3)) == (255, 255, 255)
    assert decoded.getpixel((28, 3)) == RED


def test_sixteen_bits_keep_their_range() -> None:
    row = b"\0" + b"".join(struct.pack(">H", 257 * value) for value in range(256))
    grey = decode_rgb(png(256, 8, bits=16, pixels=row * 8))
    assert [grey.getpixel((value, 0)) for value in (0, 100, 255)] == [(0,) * 3, (100,) * 3, (255,) * 3]
    row = b"\0" + b"".join(struct.pack(">HHH", *[257 * value] * 3) for value in range(256))
    colour = decode_rgb(png(256, 8, bits=16, colour=2, pixels=row * 8))
    assert colour.getpixel((100, 0)) == (100,) * 3


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 100), (100, MIN_SIDE - 1)])
def test_too_small_to_show_anything(size: tuple[int, int]) -> None:
    assert f"fewer than {MIN_SIDE} a side" in refusal(encoded(Image.new("RGB", size), "PNG"))
    check(encoded(Image.new("RGB", (MIN_SIDE, MIN_SIDE)), "PNG"))


@pytest.mark.parametrize("format", FORMATS)
def test_bounds(format: str) -> None:  # noqa: A002
    data = encoded(flag(), format)
    check(data, max_bytes=len(data), max_pixels=32 * 16)
    assert f"more than {len(data) - 1} bytes" in refusal(data, max_bytes=len(data) - 1)
    assert "32 x 16 pixels, over 511 in all" in refusal(data, max_pixels=32 * 16 - 1)


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Small files that would unpack to gigabytes, and why they are refused."""
    for side in (1001, 12_000, 50_000, 2**31 - 1):  # above ours; Pillow warns; Pillow raises; PNG's largest
        yield f"png-{side}", png(side, side, pixels=b"\0" * 10_000), "pixels"
    honest = encoded(flag())
    size = honest.index(b"\xff\xc0") + 5
    yield "jpeg", honest[:size] + struct.pack(">HH", 65_500, 65_500) + honest[size + 4 :], "pixels"
    still = encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP")
    canvas = still.index(b"VP8X") + 12
    yield "webp", still[:canvas] + b"\xfe\x3f\x00" * 2 + still[canvas + 6 :], ""
    text = zlib.compress(b"a" * 2**28, 9)
    for kind in (b"zTXt", b"iCCP"):
        yield kind.decode(), png(8, 8, pixels=b"\0" * 72, more=chunk(kind, b"k\0\0" + text)), "too large"
    itxt = chunk(b"iTXt", b"k\0\1\0\0\0" + text)
    yield "iTXt", png(8, 8, pixels=b"\0" * 72, more=itxt), "too large"
    many = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2**20, 9)) * 100
    yield "many-texts", png(8, 8, pixels=b"\0" * 72, more=many), "Too much memory"


@pytest.mark.parametrize(("data", "reason"), [pytest.param(d, r, id=name) for name, d, r in bombs()])
def test_bombs_are_refused_at_once(data: bytes, reason: str) -> None:
    started = time.monotonic()
    assert reason in refusal(data)
    assert time.monotonic() - started < 1


def test_a_jpeg_of_many_scans_is_refused_at_once() -> None:
    data = encoded(flag((1000, 1000)), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    bomb = data[:-2] + last * 10_000 + data[-2:]
    started = time.monotonic()
    assert "more than 100 scans" in refusal(bomb, max_bytes=len(bomb))
    assert time.monotonic() - started < 1
    check(data)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_short_is_refused(format: str) -> None:  # noqa: A002
    data = encoded(noise(1), format)
    whole = data.index(b"IEND") + 4 if format == "PNG" else len(data)  # its checksum nobody reads
    for length in [*range(0, whole, 7), *range(whole - 20, whole)]:
        refusal(data[:length])


def test_a_png_without_pixels() -> None:
    assert "damaged or cut short" in refusal(png(100, 100, pixels=b""))
    refusal(png(100, 100, pixels=b"\0" * 101 * 100).replace(b"IDAT", b"IDAU"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40,
        b"GIF89a\x01\0\x01\0\0\xff\xd8\xff",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!DOCTYPE html><img src=x>",
        b"%PDF-1.7\n" + encoded(flag()),
        b"not an image at all" * 100,
        bytes(10_000),
        *(encoded(flag(), other) for other in ("GIF", "TIFF", "BMP", "PPM", "ICO", "TGA", "PCX", "AVIF")),
    ],
)
def test_everything_else_is_refused(data: bytes) -> None:
    refusal(data)
    for function in (image_info, decode_rgb):
        with pytest.raises(Invalid):
            function(data)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:  # noqa: A002
    data = encoded(flag(), format, save_all=True, append_images=[noise(1)], duration=100)
    assert "animated" in refusal(data)


def test_a_camera_s_file_of_several_pictures_is_its_first() -> None:
    data = encoded(flag(), "MPO", save_all=True, append_images=[noise(1)])
    assert check(data).format == "jpeg"
    assert is_near(decode_rgb(data).getpixel((3, 3)), BLUE)


@pytest.mark.parametrize("format", FORMATS)
def test_a_polyglot_is_the_image_that_it_begins_with(format: str) -> None:  # noqa: A002
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("run.js", "alert(1)")
    data = encoded(flag(), format)
    both = data + archive.getvalue()
    assert check(both).format == format.lower()
    assert decode_rgb(both).tobytes() == decode_rgb(data).tobytes()
    refusal(archive.getvalue() + data)


def outcome(data: bytes) -> Image.Image | None:
    """The image, or None when it is refused; any other error fails the test."""
    try:
        check(data)
    except Invalid as error:
        assert error.message.endswith(".")
        return None
    return decode_rgb(data)


def test_random_bytes() -> None:
    generator = random.Random(7)
    starts = (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x80\0\0\0WEBPVP8 ",
        b"RIFF\x80\0\0\0WEBPVP8L",
    )
    for _ in range(200):
        for start in starts:
            assert outcome(start + generator.randbytes(generator.randrange(300))) is None


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_damaged_images(format: str, options: dict[str, object]) -> None:  # noqa: A002
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(noise(2), format, exif=exif, **options)
    generator = random.Random(11)
    seen = {True: 0, False: 0}
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(generator.choice((1, 1, 2, 5, 20))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        image = outcome(bytes(damaged))
        seen[image is None] += 1
        assert image is None or (image.mode == "RGB" and image.width * image.height <= MAX_PIXELS)
    assert seen[True], "no damage was noticed: the test tries nothing"
