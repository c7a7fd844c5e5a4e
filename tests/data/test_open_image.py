"""Every kind of file that users have: what comes out, or the line that says why not."""

import io
import os
import resource
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overtone.data import MAX_PIXELS, BadImage, open_image

RAMP = np.linspace(0, 255, 8 * 6 * 3).astype(np.uint8).reshape(6, 8, 3)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows):
    """A PNG written by hand: Pillow cannot write all that it reads."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixels(source):
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_forms_come_back_exactly(form, tmp_path):
    path = tmp_path / f"a picture.{form.lower()}"
    path.write_bytes(encoded(Image.fromarray(RAMP), form))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(RAMP), RAMP):
        np.testing.assert_array_equal(pixels(source), RAMP)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_forms_come_close(form, options):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert np.abs(pixels(encoded(Image.fromarray(flat), form, **options)).astype(int) - flat).max() <= 4


def test_16_bit_grey_is_scaled_not_clipped():
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    for data in (encoded(Image.fromarray(levels), "PNG"), encoded(Image.fromarray(levels), "TIFF")):
        np.testing.assert_array_equal(pixels(data)[..., 0], [[0, 1, 128, 255]])


def test_16_bit_rgb_is_scaled_not_clipped():
    row = np.array([[0, 32768, 65535], [65535, 256, 30000]], ">u2")
    np.testing.assert_allclose(pixels(png(2, 1, 16, 2, [row.tobytes()]))[0], row / 257, atol=1)


def test_16_bit_pgm_is_scaled():
    levels = np.array([[0, 30000, 65535]], ">u2")
    np.testing.assert_array_equal(pixels(b"P5 3 1 65535\n" + levels.tobytes())[0, :, 0], [0, 117, 255])


def test_float_tiff_is_scaled_and_refused_beyond_one():
    np.testing.assert_array_equal(
        pixels(encoded(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF"))[0, :, 0], [0, 128, 255]
    )
    with pytest.raises(BadImage, match=r"values from 0.0 to 900.0, where 0 to 1 is read"):
        open_image(encoded(Image.fromarray(np.array([[0, 900]], np.float32)), "TIFF"))


def test_bilevel_and_grey():
    np.testing.assert_array_equal(pixels(encoded(Image.new("1", (2, 1), 1), "PNG")), np.full((1, 2, 3), 255))
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (2, 1), 7), "PNG")), np.full((1, 2, 3), 7))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 128)])
    np.testing.assert_array_equal(pixels(encoded(image.convert(mode), "PNG"))[0, :, 0], [255, 0, 127])


@pytest.mark.parametrize(("form", "transparency"), [("PNG", 0), ("PNG", bytes([0, 255])), ("GIF", 0)])
def test_palette_with_a_transparent_colour(form, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    np.testing.assert_array_equal(pixels(encoded(image, form, transparency=transparency))[0], [[255] * 3, [40, 50, 60]])


def test_cmyk():
    flat = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(flat.astype(int) - (255, 0, 0)).max() <= 4
    flat = pixels(encoded(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "TIFF"))
    assert flat.max() == 0


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(pixels(data)[0, 0], [255, 0, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    turns = {  # how a viewer must turn the stored pixels, by the EXIF standard
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(RAMP), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels(data), turns[orientation](RAMP))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_files_are_bad(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    with pytest.raises(BadImage) as error:
        open_image(data[: int(len(data) * share)])
    assert "\n" not in str(error.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 150))
def test_damaged_files_are_pictures_or_bad(noise, position):
    data = bytearray(encoded(Image.fromarray(RAMP), "PNG"))
    data[position : position + len(noise)] = noise
    try:
        mode = open_image(bytes(data)).mode
    except BadImage:
        return
    assert mode == "RGB"


def test_empty_missing_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "script.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n"
    )  # Pillow would start Ghostscript
    os.mkfifo(tmp_path / "pipe.png")  # opening it would block
    for name, reason in {
        "empty.png": r"empty \(0 bytes\)",
        "text.png": "not a picture",
        "script.png": "not a picture",
        "pipe.png": "no such file",
        "none.png": "no such file",
        ".": "no such file",
        "a" * 300: "no such file",
        "nul\0.png": "no such file",
    }.items():
        with pytest.raises(BadImage, match=reason):
            open_image(tmp_path / name)
    with pytest.raises(BadImage, match="empty"):
        open_image(b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RAMP), "PNG"))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(BadImage, match="Permission denied"):
        open_image(tmp_path / "a.png")


def test_a_giant_is_refused_from_its_header(tmp_path):
    path = tmp_path / "giant.png"
    path.write_bytes(png(30_000, 30_000, 1, 0, (bytes(3750) for _ in range(30_000))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImage, match="too large"):
        open_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; decoded it takes 900 MB


@pytest.mark.parametrize("size", [(101, 1), (2, 201), (65_000, 1)])
def test_a_line_is_refused(size):
    """Resized so that its shorter side is a model's, it would take gigabytes."""
    image = Image.new("RGB", size)
    for form in (image, np.asarray(image), encoded(image, "PNG")):
        with pytest.raises(BadImage, match="a line, more than 100 times as long as it is wide"):
            open_image(form)
    open_image(Image.new("RGB", (100, 1)))


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_the_limit_holds_whatever_pillow_warns(action):
    """Between one and two times its limit Pillow only warns."""
    data = png(10_000, MAX_PIXELS // 10_000 + 1, 1, 0, [])
    with warnings.catch_warnings(record=action == "ignore"):
        warnings.simplefilter(action)
        with pytest.raises(BadImage, match="too large"):
            open_image(data)


def test_arrays():
    np.testing.assert_array_equal(pixels(np.array([[0, 0.5], [1, 0.25]]))[..., 0], [[0, 128], [255, 64]])
    np.testing.assert_array_equal(pixels(RAMP[..., 0])[..., 2], RAMP[..., 0])
    np.testing.assert_array_equal(pixels((RAMP / 255).astype(np.float32)), RAMP)
    np.testing.assert_array_equal(pixels(np.zeros((1, 1, 4), np.uint8)), np.full((1, 1, 3), 255))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), "shape"),
        (np.zeros(4), "shape"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.full((2, 2), 1.5), "0 to 1 is read"),
        (np.full((2, 2), -0.1), "0 to 1 is read"),
        (np.full((2, 2), np.nan), "0 to 1 is read"),
    ],
)
def test_arrays_that_are_no_pictures(array, reason):
    with pytest.raises(BadImage, match=reason):
        open_image(array)


def test_the_users_image_is_not_changed():
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    open_image(image)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (0, 0, 0, 0)
