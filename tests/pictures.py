"""Encoded images for the tests: honest ones, and PNG files made by hand."""

import io
import random
import struct
import tarfile
import zlib

from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def flag(size: tuple[int, int] = (32, 16)) -> Image.Image:
    """A picture whose left half is blue and whose right half is red."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (0, 0, size[0] // 2, size[1]))
    return image


def noise(seed: int, size: tuple[int, int] = (32, 16)) -> Image.Image:
    """A picture that compresses badly, another one for every seed."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:  # noqa: A002
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """A tar of these files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 0, pixels: bytes, more: bytes = b""
) -> bytes:
    """A PNG file: what its header claims, the filtered rows in `pixels`, and `more` chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + more
        + chunk(b"IDAT", zlib.compress(pixels, 9))
        + chunk(b"IEND", b"")
    )
