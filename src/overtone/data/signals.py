"""Signals to fit: pictures, sounds, arrays and scattered points, as samples of which the missing ones are NaN."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from overtone.data.images import EXTENSIONS, FORMATS, BadImage, _readable, _refuse_giant, kind_of
from overtone.data.names import count
from overtone.data.points import read_npz, read_points
from overtone.data.sounds import READ, read_wav
from overtone.errors import UserError, did_you_mean

Kind = Literal["picture", "sound", "array", "points"]
TABLES = frozenset((".csv", ".tsv", ".txt"))
MOST_CHANNELS = 4  # a longer last axis of an array is an axis of its grid
MOST_AXES = 3
KNOWN = f"a picture, a WAV file ({READ}), an .npy array, or scattered points in .npz or .csv"


@dataclass(frozen=True)
class Signal:
    """Samples of a signal, on a regular grid or scattered. A sample that is missing is NaN in all its channels.

    `low` and `high` are the values that count as 0 and 1 where errors are measured: black and white of a picture, and
    otherwise the least and the greatest sample.
    """

    kind: Kind
    values: np.ndarray  # floating point (*grid, channels); scattered: (points, channels)
    positions: np.ndarray | None = None  # float64 (points, axes) of scattered ones
    low: float = 0.0
    high: float = 1.0
    bits: int = 8  # of a picture's levels
    rate: int = 0  # of a sound, samples a second
    hidden: np.ndarray | None = None  # the values as they were before a mask hid some
    how: str = ""  # how the file was read
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid's sizes; none of scattered points."""
        return self.values.shape[:-1] if self.positions is None else ()

    @property
    def dims(self) -> int:
        """The number of axes of positions."""
        return len(self.grid) if self.positions is None else self.positions.shape[1]

    @property
    def origin(self) -> list[float]:
        """Where scattered points begin along each axis; grids begin at 0."""
        return [0.0] * self.dims if self.positions is None else self.positions.min(0).tolist()

    @property
    def extent(self) -> list[float]:
        """How far scattered points reach along each axis, 1 where they are all in one place; grids reach 1."""
        if self.positions is None:
            return [1.0] * self.dims
        reach = np.ptp(self.positions, axis=0)
        return np.where(reach > 0, reach, 1.0).tolist()

    @property
    def channels(self) -> int:
        """The number of values of a sample."""
        return self.values.shape[-1]

    @property
    def known(self) -> np.ndarray:
        """Of every sample, in the order of its grid or list, whether it is there."""
        return ~np.isnan(self.values[..., 0]).ravel()


def read_signal(source: str, dims: int | None = None, mask: str = "") -> Signal:
    """Read a signal; `dims` is the number of an array's axes that are a grid's, and `mask` a picture of what to hide.

    - pictures: one channel or three, 16-bit grey in full. Pixels of alpha 0 are missing; other alpha is left out.
    - sounds: WAV, a channel each.
    - .npy: a grid of one to three axes; a last axis of 4 or less, where there are several, holds channels.
    - .npz with `positions` and `values`, or a table with columns x, y, z, t: scattered points. Of several at the same
      place, the mean is taken.

    A mask is as large as the picture or the array of two axes; its light half is hidden. NaN is a missing sample.
    Raises UserError for what cannot be read, and for fewer than two samples.
    """
    path = Path(source)
    if kind_of(path) != "file":
        raise UserError(f"There is no file {source!r}.{_nearest(path)} Give {KNOWN}.")
    suffix = path.suffix.lower()
    if dims is not None and suffix != ".npy":
        raise UserError(f"--dims is for .npy arrays; {source!r} says itself how many axes it has.")
    if not path.stat().st_size:
        raise UserError(f"{source!r} is empty (0 bytes).")
    if suffix == ".npy":
        signal = _array(path, dims)
    elif suffix == ".npz":
        signal = _points(path, *read_npz(path))
    elif suffix in TABLES:
        signal = _points(path, *read_points(path))
    elif suffix in (".wav", ".wave"):
        signal = _sound(path)
    elif suffix in EXTENSIONS:
        signal = _picture(path)
    else:
        raise UserError(f"{source!r}: what {suffix or 'no extension'} holds is not known. Give {KNOWN}.")
    return _checked(source, _masked(signal, mask) if mask else signal)


def _picture(path: Path) -> Signal:
    levels, bits = _levels(path)
    if levels.shape[2] in (1, 3):
        return Signal("picture", levels, bits=bits, how=f"a picture, {bits} bits a channel")
    colours, alpha = levels[..., :-1], levels[..., -1]
    notes = []
    if ((alpha > 0) & (alpha < 1)).any():
        notes.append("Half-transparent pixels are fitted by their colour alone; how transparent they are is left out.")
    values = np.where(alpha[..., None] > 0, colours, np.float32("nan"))
    return Signal(
        "picture", values, bits=bits, how="a picture with alpha; pixels of alpha 0 are missing", notes=tuple(notes)
    )


def _levels(path: Path) -> tuple[np.ndarray, int]:
    """Return a picture as float32 (height, width, channels) in [0, 1], alpha last where there is any, and its bits."""
    try:
        with Image.open(_readable(path), formats=FORMATS) as opened:
            _refuse_giant(opened)
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # as which Pillow opens 16 bits, and 32
                return _scaled(np.asarray(image), 65535), 16
            if image.mode == "F":
                return _scaled(np.asarray(image), 1), 16
            grey = image.mode in ("1", "L", "LA", "La")
            if image.has_transparency_data:
                rgba = np.asarray(image.convert("RGBA"))
                return _scaled(rgba[..., [0, 3]] if grey else rgba, 255), 8
            return _scaled(np.asarray(image.convert("L" if grey else "RGB")), 255), 8
    except BadImage as error:
        raise UserError(f"The picture {str(path)!r} cannot be used: {error}.") from error
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise UserError(f"{str(path)!r} is not a picture in a format that is read ({formats}).") from error
    except Exception as error:  # a damaged file can end in any exception of its decoder
        raise UserError(f"The picture {str(path)!r} cannot be decoded: {error or type(error).__name__}.") from error


def _scaled(levels: np.ndarray, white: int) -> np.ndarray:
    low, high = levels.min(), levels.max()
    if not (low >= 0 and high <= white):  # so written that NaN is refused
        raise BadImage(f"levels from {low} to {high}, where 0 to {white} is read; save it as .npy")
    return (levels.astype(np.float32) / np.float32(white)).reshape(*levels.shape[:2], -1)


def _sound(path: Path) -> Signal:
    sound = read_wav(path)
    how = f"a sound of {len(sound.samples) / sound.rate:.2f} s, {sound.bits} bits, {sound.rate:,} samples a second"
    return _ranged(path, Signal("sound", sound.samples, rate=sound.rate, bits=sound.bits, how=how))


def _array(path: Path, dims: int | None) -> Signal:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{str(path)!r} is not an .npy file of plain numbers ({error}).") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise UserError(f"{str(path)!r} holds {getattr(array, 'dtype', 'several arrays')}: real numbers are read.")
    if not array.size:
        raise UserError(f"{str(path)!r} has no samples: its shape is {array.shape}.")
    axes = _axes(path, array.shape, dims)
    values = array.reshape(*array.shape[:axes], -1).astype(np.promote_types(array.dtype, np.float32), copy=False)
    shape = " x ".join(map(str, array.shape[:axes]))
    why = "set by you" if dims else f"a last axis of {MOST_CHANNELS} or less would be channels; --dims sets it"
    if axes < array.ndim and dims is None:
        why = f"a last axis of {MOST_CHANNELS} or less is channels; --dims sets it"
    how = f"a grid of {shape} with {count(values.shape[-1], 'channel')} ({why})"
    return _ranged(path, Signal("array", values.astype(np.float64, copy=False), how=how))


def _axes(path: Path, shape: tuple[int, ...], dims: int | None) -> int:
    """Return how many axes of an array are its grid's."""
    channels = len(shape) > 1 and shape[-1] <= MOST_CHANNELS
    axes = len(shape) - channels if dims is None else dims
    if not 1 <= axes <= MOST_AXES or len(shape) - axes not in (0, 1):
        asked = "" if dims is None else f", --dims {dims}"
        raise UserError(
            f"{str(path)!r} has shape {shape}{asked}: a grid of one to three axes is read, with one more for channels "
            f"(the last, of {MOST_CHANNELS} or less, or set with --dims)."
        )
    return axes


def _points(path: Path, positions: np.ndarray, values: np.ndarray) -> Signal:
    for name, numbers in (("positions", positions), ("values", values)):
        if numbers.dtype.kind not in "biuf":
            raise UserError(f"{str(path)!r} has {name} of {numbers.dtype}: real numbers are read.")
    positions, values = positions.astype(np.float64), values.astype(np.float64)
    if not len(positions):
        raise UserError(f"{str(path)!r} has no points.")
    if not 1 <= positions.shape[1] <= MOST_AXES:
        raise UserError(f"{str(path)!r} has positions of {positions.shape[1]} axes: one to three are read.")
    if not np.isfinite(positions).all():
        row = int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
        raise UserError(f"{str(path)!r}: the position of point {row + 1} is not finite. Mend it or leave it out.")
    kept, values, merged = _merged(positions, values)
    notes = (f"{count(merged, 'point')} at the place of another: each place has the mean of its values.",)
    how = f"{len(values):,} scattered points in {positions.shape[1]}-D"
    return _ranged(path, Signal("points", values, kept, how=how, notes=notes if merged else ()))


def _merged(positions: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the places, the mean of the known values at each, and how many known points were merged into others."""
    known = ~np.isnan(values).any(1)
    places, which = np.unique(positions[known], axis=0, return_inverse=True)
    which = which.reshape(-1)
    times = np.bincount(which, minlength=len(places))
    means = np.stack([np.bincount(which, column, len(places)) / times for column in values[known].T], 1)
    # Points without a value stay, as places to ask the network about.
    return (
        np.concatenate([places, positions[~known]]),
        np.concatenate([means, values[~known]]),
        int(known.sum() - len(places)),
    )


def _ranged(path: Path, signal: Signal) -> Signal:
    """Return the signal with the range of its samples; one that is all the same gets a range of 1."""
    if np.isinf(signal.values).any():
        raise UserError(f"{str(path)!r} has infinite values; mark missing ones with NaN.")
    missing = np.isnan(signal.values).any(-1)
    values = np.where(missing[..., None], np.nan, signal.values) if missing.any() else signal.values
    known = values[~missing]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if not np.isfinite(high - low):
        raise UserError(f"{str(path)!r} has values from {low:g} to {high:g}, too far apart to compute with.")
    return dataclasses.replace(signal, values=values, low=low, high=high if high > low else low + 1)


def _masked(signal: Signal, mask: str) -> Signal:
    """Return the signal with what the light half of a picture covers made missing."""
    if len(signal.grid) != 2:
        raise UserError("--mask is for pictures and arrays of two axes; in other signals, NaN marks what is missing.")
    if kind_of(mask) != "file":
        raise UserError(f"--mask: there is no file {mask!r}.{_nearest(Path(mask))}")
    levels, _ = _levels(Path(mask))
    if levels.shape[:2] != signal.grid:
        sizes = [" x ".join(map(str, size)) for size in (levels.shape[:2], signal.grid)]
        raise UserError(f"--mask {mask!r} is {sizes[0]} and the signal {sizes[1]} (rows x columns): make them equal.")
    colours = levels[..., : 1 if levels.shape[2] < 3 else 3].mean(-1)
    values = np.where(colours[..., None] >= 0.5, np.array("nan", signal.values.dtype), signal.values)
    return dataclasses.replace(signal, values=values, hidden=signal.values)


def _checked(source: str, signal: Signal) -> Signal:
    """Return the signal with notes on what is missing or all the same; UserError for fewer than two samples."""
    known = int(signal.known.sum())
    missing = signal.known.size - known
    if known < 2:
        there = f"{count(known, 'sample')} that {'is' if known == 1 else 'are'} not missing, of {signal.known.size:,}"
        raise UserError(f"{source!r} has {there}: a fit needs 2 or more.")
    notes = list(signal.notes)
    if missing:
        share = f"{100 * missing / signal.known.size:.1f} %"
        notes.append(
            f"{count(missing, 'sample')} of {signal.known.size:,} ({share}) are missing: the network fills them in."
        )
    there = signal.values[~np.isnan(signal.values)]
    if there.min() == there.max():
        notes.append(f"All samples are {there[0]:g}: there is no bandwidth to choose, and one number would do.")
    return dataclasses.replace(signal, notes=tuple(notes))


def _nearest(path: Path) -> str:
    try:
        return did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except OSError:
        return ""
