"""Opening a picture safely: whatever the file holds, out comes 8-bit RGB or one line that says why not."""

import io
import stat
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's own limit for a picture that is not an attack: a quarter of a GiB as RGB. Pillow warns there, we refuse.
MAX_PIXELS = 1024**3 // 4 // 3
MAX_ASPECT = 100  # models see squares, and as a side grows to the model's, a line grows to gigabytes
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the refusal says it

# What is read, by content. Named one by one: among Pillow's other formats are some that run external programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
# Pictures too, which are not read: they are not passed over in silence as other files are.
UNREAD_EXTENSIONS = frozenset(
    (
        *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".eps", ".ai", ".xcf", ".tga", ".ico"),
        *(".exr", ".hdr", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    )
)
UNREAD = "pictures of this kind are not read: convert it to JPEG or PNG"

Held = bytes | memoryview | np.ndarray  # a picture in memory: its file's bytes, or its pixels


class BadImage(Exception):  # noqa: N818  a state of the data, which the caller counts and goes on
    """A picture that cannot be used, with the reason in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


def open_image(source: str | Path | Image.Image | Held) -> Image.Image:
    """Return the picture in `source` (a path, a file's bytes, an image or an array) as 8-bit RGB.

    The first frame of an animation is taken, EXIF rotation is applied, transparency is laid on white, 16 bits a
    channel are scaled to 8. The size is read from the header, so that a picture of more than MAX_PIXELS is refused
    before it is decoded, and so is a line, longer than MAX_ASPECT times its width. Arrays are (height, width),
    (height, width, 3) or (height, width, 4), uint8 or floating-point in [0, 1].

    Raises BadImage.
    """
    try:
        if isinstance(source, np.ndarray):
            source = _from_array(source)
        if isinstance(source, Image.Image):
            _refuse_line(source)
            return _to_rgb(source)
        with Image.open(_readable(source), formats=FORMATS) as image:
            _refuse_giant(image)
            _refuse_line(image)
            return _to_rgb(image)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"too large: more than the {MAX_PIXELS:,} pixels that are read; make it smaller") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"not a picture in a format that is read ({', '.join(FORMATS)})") from error
    except Exception as error:  # a damaged file can end in any exception of its decoder
        raise BadImage(f"cannot be decoded: {error or type(error).__name__}") from error


def kind_of(path: str | Path) -> Literal["file", "folder", "other"] | None:
    """Return what stands at `path`: None for nothing, for what may not be seen and for a path that cannot be."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def _readable(source: str | Path | bytes | memoryview) -> Path | io.BytesIO:
    if isinstance(source, bytes | memoryview):
        empty = not len(source)
    elif kind_of(source) != "file":  # a folder, a pipe that would block, or nothing
        raise BadImage("there is no such file")
    elif Path(source).suffix.lower() in UNREAD_EXTENSIONS:
        raise BadImage(UNREAD)
    else:
        empty = Path(source).stat().st_size == 0
    if empty:
        raise BadImage("the file is empty (0 bytes)")
    return io.BytesIO(source) if isinstance(source, bytes | memoryview) else Path(source)


def _refuse_giant(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage(
            f"too large: {width:,} x {height:,}, more than the {MAX_PIXELS:,} pixels that are read; make it smaller"
        )


def _refuse_line(image: Image.Image) -> None:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(f"{width:,} x {height:,}: a line, more than {MAX_ASPECT} times as long as it is wide; cut it")


def _to_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # I;16 and its byte orders; I, as which Pillow opens 16-bit PGM, holds 32
        return _eight_bits(np.asarray(image), 65535).convert("RGB")
    if image.mode == "F":
        return _eight_bits(np.asarray(image), 1).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise BadImage(
            f"an array of shape {array.shape}: (height, width), (height, width, 3) or (height, width, 4) is read"
        )
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if np.issubdtype(array.dtype, np.floating):
        return _eight_bits(array, 1)
    raise BadImage(f"an array of {array.dtype}: uint8 or floating-point in [0, 1] is read")


def _eight_bits(levels: np.ndarray, white: int) -> Image.Image:
    """Return `levels`, of which `white` is the largest, in 8 bits; values that need another scale are refused."""
    low, high = levels.min(), levels.max()
    if not (low >= 0 and high <= white):  # so written that NaN is refused
        raise BadImage(f"values from {low} to {high}, where 0 to {white} is read; save it with 8 bits a channel")
    return Image.fromarray(np.rint(levels.astype(np.float32) * np.float32(255 / white)).astype(np.uint8))
