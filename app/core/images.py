"""Encoded images from outside: checked before anything of them is decoded, then decoded to RGB.

The content decides which format an image has, never a name. JPEG, PNG and WebP pass; all else is refused, and
so is an animation, for nobody says which frame shows the item. A JPEG of several pictures (MPO, from cameras)
counts as its first one, which is what every viewer shows.
"""

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# The plugins are imported so that Pillow knows these formats: by itself it would import all that it has.
from PIL import (
    ExifTags,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.core.errors import Invalid

MIN_SIDE = 8
"""Least width and height in pixels: half a patch of a vision transformer; below there is nothing to see."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""Media type by `ImageInfo.format`."""

_READERS = tuple(
    plugin.format
    for plugin in (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile)
)
_FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}  # by Pillow's names

# A progressive JPEG has about 10 scans, and each goes over the whole image again. One may have 42 bytes and
# take 8.6 ms (25 million grey pixels, measured), so 5 MiB of them would take a quarter of an hour.
_MAX_SCANS = 100
_START_OF_SCAN = b"\xff\xda"

# Decoding takes up to 20 bytes a pixel (measured: a WebP with transparency): however many requests there are,
# only so many images are in memory.
_DECODERS = threading.BoundedSemaphore(2)

# Pillow warns of every damaged tag in an image's metadata, of which only the orientation is used here.
# This filter stays, because `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an encoded image is: "jpeg", "png" or "webp"; its size in pixels as stored, before any turning."""

    format: str
    width: int
    height: int
    sha256: str


def check_image(data: bytes, max_bytes: int, max_pixels: int) -> ImageInfo:
    """Check an encoded image whole, its pixels too, and return what it is.

    Bytes and pixels are counted before anything is decoded. Raises `Invalid` with the reason and the remedy.
    """
    if not data:
        raise Invalid("The image is empty. Send the file's bytes.")
    if len(data) > max_bytes:
        raise Invalid(f"The image has more than {max_bytes} bytes. Send a smaller one.")
    with _opened(data) as image:
        _check_header(image, data, max_pixels)
        with _DECODERS:
            _decoded(image)
        return _info(image, data)


def image_info(data: bytes) -> ImageInfo:
    """Return what an encoded image is, by its header alone; raises `Invalid` if it is none."""
    with _opened(data) as image:
        return _info(image, data)


def decode_rgb(data: bytes) -> Image.Image:
    """Decode a checked image to mode RGB, 8 bits a channel, upright, transparent parts on white.

    Raises `Invalid` for one that cannot be decoded; bounds are the business of `check_image`.
    """
    with _opened(data) as image, _DECODERS:
        return _decoded(image)


@contextmanager
def _opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Yield the image with its header read; whatever goes wrong with it is `Invalid`."""
    try:
        with Image.open(io.BytesIO(data), formats=_READERS) as image:
            yield image
    except Invalid:
        raise
    except UnidentifiedImageError as error:
        raise Invalid(
            "The file is no JPEG, PNG or WebP image, or a damaged one. Send one of these."
        ) from error
    except Image.DecompressionBombError as error:
        raise Invalid("The image has far too many pixels. Send a smaller one.") from error
    except Exception as error:  # a reader fails on damaged data in every way there is
        reason = str(error)[:100] or type(error).__name__
        raise Invalid(f"The image is damaged or cut short ({reason}). Send it again whole.") from error


def _check_header(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise Invalid(
            f"The image has {width} x {height} pixels, fewer than {MIN_SIDE} a side. Send a larger one."
        )
    if width * height > max_pixels:
        raise Invalid(
            f"The image has {width} x {height} pixels, over {max_pixels} in all. Send a smaller one."
        )
    if image.format == "PNG" and b"IEND" not in data:  # Pillow does without once it has the pixels
        raise Invalid("The image is cut short. Send it again whole.")
    if _FORMATS[str(image.format)] == "jpeg":
        if data.count(_START_OF_SCAN) > _MAX_SCANS:
            raise Invalid(f"The image has more than {_MAX_SCANS} scans. Save it again as a plain JPEG.")
    elif getattr(image, "is_animated", False):
        raise Invalid("The image is animated. Send a still one.")


def _info(image: ImageFile.ImageFile, data: bytes) -> ImageInfo:
    return ImageInfo(_FORMATS[str(image.format)], *image.size, hashlib.sha256(data).hexdigest())


def _decoded(image: Image.Image) -> Image.Image:
    image.load()  # raises for a file that ends too early
    return _upright(_rgb(image), _orientation(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow itself would clip at 255
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata: viewers show the image as it lies
        return None


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    # This tag alone: Pillow would write all the others again, and fails on odd ones.
    image.info.clear()
    image.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(image, in_place=True)
    return image
