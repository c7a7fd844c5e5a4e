"""Signals of every kind as samples: what counts as missing, as a channel, as the same place, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overtone.data.signals import Signal, read_signal
from overtone.data.sounds import wav_bytes
from overtone.errors import UserError

NOISE = np.random.default_rng(0)
GREY = NOISE.integers(0, 256, (5, 7)).astype(np.uint8)
RGB = NOISE.integers(0, 256, (5, 7, 3)).astype(np.uint8)


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> str:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return str(path)


def array(path: Path, values: object) -> str:
    np.save(path, np.array(values))
    return str(path)


def table(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# Pictures


def test_grey_and_colour_keep_their_levels(tmp_path: Path) -> None:
    for pixels, channels in ((GREY, 1), (RGB, 3)):
        signal = read_signal(saved(tmp_path / "a.png", pixels))
        assert (signal.kind, signal.grid, signal.channels, signal.bits) == ("picture", (5, 7), channels, 8)
        np.testing.assert_allclose(signal.values * 255, pixels.reshape(5, 7, -1), atol=1e-4)
        assert (signal.low, signal.high, signal.notes) == (0, 1, ())
        assert signal.known.all()


def test_16_bits_are_not_cut_to_8(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 2], [65533, 65534, 65535]], np.uint16)
    for name in ("a.png", "a.pgm", "a.tiff"):
        signal = read_signal(saved(tmp_path / name, levels))
        assert signal.bits == 16
        np.testing.assert_allclose(signal.values[..., 0] * 65535, levels, atol=0.01)


@pytest.mark.parametrize("grey", [True, False])
def test_pixels_of_alpha_0_are_missing(grey: bool, tmp_path: Path) -> None:
    alpha = np.full((5, 7), 255, np.uint8)
    alpha[0, :3], alpha[1, 0] = 0, 100
    pixels = np.dstack([GREY, alpha]) if grey else np.dstack([RGB, alpha])
    signal = read_signal(saved(tmp_path / "a.png", pixels))
    assert signal.channels == (1 if grey else 3)
    assert (~signal.known).sum() == 3
    assert np.isnan(signal.values[0, :3]).all()
    np.testing.assert_allclose(signal.values[1] * 255, (GREY if grey else RGB)[1].reshape(7, -1), atol=1e-4)
    assert signal.notes == (
        "Half-transparent pixels are fitted by their colour alone; how transparent they are is left out.",
        "3 samples of 35 (8.6 %) are missing: the network fills them in.",
    )


def test_opaque_palettes_black_and_white_and_turned_pictures(tmp_path: Path) -> None:
    opaque = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
    assert read_signal(saved(tmp_path / "a.png", opaque)).notes == ()
    assert read_signal(saved(tmp_path / "b.png", RGB, "P")).channels == 3
    assert set(np.unique(read_signal(saved(tmp_path / "c.png", GREY, "1")).values)) == {0, 1}
    assert read_signal(saved(tmp_path / "d.tiff", RGB, "CMYK")).channels == 3
    turned = Image.Exif()
    turned[0x0112] = 6
    assert read_signal(saved(tmp_path / "e.png", GREY, exif=turned)).grid == (7, 5)
    clear = Image.fromarray(GREY)
    clear.save(tmp_path / "f.png", transparency=int(GREY[0, 0]))
    assert not read_signal(str(tmp_path / "f.png")).known[0]


# Masks


def test_a_mask_hides_what_it_covers_and_what_was_there_is_kept(tmp_path: Path) -> None:
    mask = np.zeros((5, 7), np.uint8)
    mask[2, 2:4], mask[3, 3] = 255, 127
    signal = read_signal(saved(tmp_path / "a.png", RGB), mask=saved(tmp_path / "m.png", mask))
    assert (~signal.known).sum() == 2
    assert signal.hidden is not None
    np.testing.assert_allclose(signal.hidden * 255, RGB, atol=1e-4)
    values = np.arange(35.0).reshape(5, 7)
    signal = read_signal(array(tmp_path / "a.npy", values), mask=str(tmp_path / "m.png"))
    assert np.flatnonzero(~signal.known).tolist() == [16, 17]


# Sounds


def test_channels_and_rate_of_a_sound(tmp_path: Path) -> None:
    stereo = np.array([[0.5, -0.25], [0.0, 0.75], [-0.5, 0.0]])
    (tmp_path / "a.WAV").write_bytes(wav_bytes(stereo, 8000))
    signal = read_signal(str(tmp_path / "a.WAV"))
    assert (signal.kind, signal.grid, signal.channels, signal.rate) == ("sound", (3,), 2, 8000)
    assert (signal.low, signal.high) == pytest.approx((-0.5, 0.75), abs=1e-4)


# Arrays


@pytest.mark.parametrize(
    ("shape", "dims", "grid", "channels"),
    [
        ((9,), None, (9,), 1),
        ((9, 2), None, (9,), 2),
        ((9, 8), None, (9, 8), 1),
        ((9, 8, 3), None, (9, 8), 3),
        ((9, 8, 7), None, (9, 8, 7), 1),
        ((9, 8, 7, 4), None, (9, 8, 7), 4),
        ((9, 3), 2, (9, 3), 1),
        ((9, 8), 1, (9,), 8),
        ((9, 8, 7), 2, (9, 8), 7),
    ],
)
def test_which_axes_of_an_array_are_its_grid(
    shape: tuple[int, ...], dims: int | None, grid: tuple[int, ...], channels: int, tmp_path: Path
) -> None:
    signal = read_signal(array(tmp_path / "a.npy", NOISE.normal(size=shape)), dims)
    assert (signal.grid, signal.channels, signal.dims) == (grid, channels, len(grid))
    assert " x ".join(map(str, grid)) in signal.how
    assert ("set by you" in signal.how) == (dims is not None)


@pytest.mark.parametrize("kind", ["?", "u1", "i8", "f2", "f4", "f8"])
def test_numbers_of_any_kind_with_their_own_range(kind: str, tmp_path: Path) -> None:
    values = np.array([[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]]).T.astype(kind)
    signal = read_signal(array(tmp_path / "a.npy", values))
    assert (signal.low, signal.high) == (0, 1)
    np.testing.assert_array_equal(signal.values[..., 0], values)


def test_a_sample_is_missing_in_all_channels_or_in_none(tmp_path: Path) -> None:
    values = NOISE.normal(size=(6, 2))
    values[2, 1], values[4] = np.nan, np.nan
    signal = read_signal(array(tmp_path / "a.npy", values))
    assert np.flatnonzero(~signal.known).tolist() == [2, 4]
    assert np.isnan(signal.values[[2, 4]]).all()
    assert signal.high == pytest.approx(values[[0, 1, 3, 5]].max())
    assert "2 samples of 6 (33.3 %) are missing" in signal.notes[0]


def test_what_is_all_the_same_is_said_and_has_a_range(tmp_path: Path) -> None:
    signal = read_signal(array(tmp_path / "a.npy", np.full((5, 6), 7.5)))
    assert (signal.low, signal.high) == (7.5, 8.5)
    assert signal.notes == ("All samples are 7.5: there is no bandwidth to choose, and one number would do.",)
    signal = read_signal(saved(tmp_path / "a.png", np.full((5, 6), 255, np.uint8)))
    assert signal.notes == ("All samples are 1: there is no bandwidth to choose, and one number would do.",)


# Scattered points


def test_points_of_both_files_are_the_same(tmp_path: Path) -> None:
    positions, values = NOISE.normal(size=(8, 2)), NOISE.normal(size=(8, 2))
    np.savez(tmp_path / "a.npz", positions=positions, values=values)
    lines = [f"{v[0]};{x[1]};{x[0]};{v[1]}" for x, v in zip(positions, values, strict=True)]
    text = "\ufeffheat; Y;x ;rain\n\n" + "\n".join(lines) + "\n"
    one, other = read_signal(str(tmp_path / "a.npz")), read_signal(table(tmp_path / "a.csv", text))
    for signal in (one, other):
        assert (signal.kind, signal.grid, signal.dims, signal.channels) == ("points", (), 2, 2)
        assert signal.positions is not None
        order = np.lexsort(positions.T[::-1])
        np.testing.assert_array_equal(signal.positions, positions[order])
        np.testing.assert_array_equal(signal.values, values[order])
        assert signal.origin == pytest.approx(positions.min(0))
        assert signal.extent == pytest.approx(np.ptp(positions, axis=0))


def test_points_at_one_place_have_their_mean_and_points_without_a_value_stay(tmp_path: Path) -> None:
    text = "x,value\n1,10\n0,5\n1,20\n1,\n2,nan\n1.0,30\n"
    signal = read_signal(table(tmp_path / "a.csv", text))
    assert signal.positions is not None
    assert signal.positions[:, 0].tolist() == [0, 1, 1, 2]
    assert signal.values[:2, 0].tolist() == [5, 20]
    assert signal.known.tolist() == [True, True, False, False]
    assert signal.notes[0] == "2 points at the place of another: each place has the mean of its values."


def test_an_axis_without_extent_has_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", positions=[[0.0, 3.0], [2.0, 3.0]], values=[1, 2])
    assert read_signal(str(tmp_path / "a.npz")).extent == [2, 1]


# What is refused


BAD_TABLES = {
    "x,y\n1,2\n": "needs columns named x, y, z, t for positions, and others for values. Columns found: 'x', 'y'",
    "a,b\n1,2\n": "Columns found: 'a', 'b'",
    "x,v\n1,two\n": "line 2: 'two' is no number",
    "x,v\n1,2\n1,2,3\n": "line 3: 3 cells, where the first line has 2",
    "x,v\n": "has no points",
    "x,v\n,1\n1,2\n": "the position of point 1 is not finite",
    "x,v\n1,inf\n2,1\n": "infinite values",
    "x,v\n1,1\n1,2\n": "1 sample that is not missing, of 1",
    "x,y,z,t,v\n1,2,3,4,5\n": "positions of 4 axes: one to three are read",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_tables_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=BAD_TABLES[text]):
        read_signal(table(tmp_path / "a.csv", text))


BAD_ARRAYS = [
    (np.float64(3), r"has shape \(\)"),
    (np.zeros((2, 2, 2, 2, 2)), "a grid of one to three axes is read"),
    (np.zeros((9, 9, 9, 9)), "a grid of one to three axes is read"),
    (np.zeros((3, 0)), r"has no samples: its shape is \(3, 0\)"),
    (np.ones((1, 1)), "1 sample that is not missing, of 1: a fit needs 2 or more"),
    (np.full((4, 5), np.nan), "0 samples that are not missing, of 20"),
    (np.array([1, np.inf, 2]), "infinite values; mark missing ones with NaN"),
    (np.array([1e308, -1e308]), "too far apart to compute with"),
    (np.zeros(5, complex), "holds complex128: real numbers are read"),
    (np.array(["a", "b"]), "real numbers are read"),
]


@pytest.mark.parametrize(("values", "said"), BAD_ARRAYS)
def test_arrays_that_cannot_be_fitted(values: np.ndarray, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_signal(array(tmp_path / "a.npy", values))


def test_pickles_and_other_files_under_a_wrong_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, 1], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", values=np.zeros(3))
    for name, held, said in (
        ("a.npy", None, "not an .npy file of plain numbers"),
        ("b.npz", None, "holds no 'positions', but 'values'"),
        ("c.npz", b"PK\x03\x04 cut", "not an .npz of plain arrays"),
        ("d.npy", b"no array", "not an .npy file"),
        ("e.png", b"no picture", "not a picture in a format that is read"),
        ("f.csv", b"x,v\n1,\xff", "not UTF-8"),
        ("g.xyz", b"1", "what .xyz holds is not known. Give a picture, a WAV file"),
        ("h.png", b"", "is empty"),
        ("i.mp3", b"1", "what .mp3 holds is not known"),
    ):
        if held is not None:
            (tmp_path / name).write_bytes(held)
        with pytest.raises(UserError, match=said):
            read_signal(str(tmp_path / name))


def test_shapes_of_points_that_do_not_go_together(tmp_path: Path) -> None:
    for positions, values in ((np.zeros((3, 2)), np.zeros(4)), (np.zeros((3, 2, 2)), np.zeros(3))):
        np.savez(tmp_path / "a.npz", positions=positions, values=values)
        with pytest.raises(UserError, match=r"positions are \(n, axes\) and values \(n\) or \(n, channels\), not"):
            read_signal(str(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", positions=np.zeros((2, 1)), values=np.array(["a", "b"]))
    with pytest.raises(UserError, match="has values of <U1: real numbers are read"):
        read_signal(str(tmp_path / "a.npz"))


def test_names_sizes_and_options_that_do_not_fit(tmp_path: Path) -> None:
    picture = saved(tmp_path / "camera.png", GREY)
    small = saved(tmp_path / "small.png", GREY[:3])
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros((3, 1)), 10))
    for arguments, said in (
        ((str(tmp_path / "camra.png"),), "There is no file .* Did you mean 'camera.png'"),
        ((str(tmp_path),), "There is no file"),
        ((picture, 2), "--dims is for .npy arrays"),
        ((picture, None, "nothing.png"), "--mask: there is no file 'nothing.png'"),
        ((picture, None, small), r"is 3 x 7 and the signal 5 x 7 \(rows x columns\): make them equal"),
        ((str(tmp_path / "a.wav"), None, picture), "--mask is for pictures and arrays of two axes"),
        ((array(tmp_path / "b.npy", np.zeros((5, 7))), 3), r"has shape \(5, 7\), --dims 3"),
        ((saved(tmp_path / "one.png", GREY[:1, :1]),), "1 sample that is not missing"),
    ):
        with pytest.raises(UserError, match=said):
            read_signal(*arguments)
    white = saved(tmp_path / "white.png", np.full((5, 7), 255, np.uint8))
    with pytest.raises(UserError, match="0 samples that are not missing, of 35"):
        read_signal(picture, mask=white)
    floats = np.array([[0.5, 2.0]], np.float32)
    with pytest.raises(UserError, match=r"levels from 0.5 to 2.0, where 0 to 1 is read; save it as .npy"):
        read_signal(saved(tmp_path / "f.tiff", floats))


def test_a_giant_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overtone.data.images.MAX_PIXELS", 30)
    with pytest.raises(UserError, match="too large: 7 x 5"):
        read_signal(saved(tmp_path / "a.png", GREY))


def test_a_picture_that_was_cut_short(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue()[:60])
    with pytest.raises(UserError, match=r"cannot be decoded|not a picture"):
        read_signal(str(tmp_path / "a.png"))


def test_a_signal_can_be_made_by_hand() -> None:
    signal = Signal("array", np.zeros((3, 4, 2)))
    assert (signal.grid, signal.dims, signal.channels, signal.origin) == ((3, 4), 2, 2, [0, 0])
