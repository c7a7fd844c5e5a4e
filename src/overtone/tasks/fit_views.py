"""What the report of a fit shows of the signal itself: as pictures, along one axis, and by frequency."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from overtone.data.signals import Signal
from overtone.models.coordinate import CoordinateNetwork, on_device
from overtone.report.fit import Detail, Points, Spectra, Trace, View

BANDS = 48  # of a spectrum
PIECE = {1: 2**18, 2: 1024, 3: 128}  # the largest middle of a grid, by its axes, whose spectrum is taken
COARSE, FINE = 1500, 120  # samples of a trace of the whole, and of one of its middle
DETAIL = 48  # samples along an axis, at most
BETWEEN = 8  # positions of a detailed trace from one sample to the next


def views(signal: Signal, network: CoordinateNetwork, fit: np.ndarray) -> list[View]:
    """Return the signal beside `fit`, the network on its grid, as pictures: of three axes, the middle of each.

    Scattered points of two axes are drawn into the cells of `fit`, x to the right and y up, with the error at the
    points themselves. Of more than three channels, the first three are shown, and of two the first.
    """
    if signal.positions is not None:
        return [_scattered_view(signal, network, fit)] if signal.dims == 2 else []
    given, held = _unit(signal, signal.values), _unit(signal, fit)
    apart = np.abs(held - given).mean(-1)
    if signal.dims == 2:
        return [View("", _shown(given), _shown(held), apart)]
    slices = []
    for axis, size in enumerate(signal.grid if signal.dims == 3 else ()):
        a, b, c = (np.take(x, size // 2, axis) for x in (given, held, apart))
        slices.append(View(f"The middle of axis {axis + 1}", _shown(a), _shown(b), c))
    return slices


def detail(signal: Signal, rendered: np.ndarray, scale: float) -> Detail | None:
    """Return the middle of a picture beside its rendering, where that has more samples."""
    if len(signal.grid) != 2 or scale <= 1:
        return None
    given, fine = _shown(_unit(signal, signal.values)), _shown(_unit(signal, rendered))
    for axis, size in enumerate(signal.grid):
        side = min(size, DETAIL)
        start = (size - side) // 2
        ratio = rendered.shape[axis] / size
        given = given.take(range(start, start + side), axis)
        fine = fine.take(range(round(start * ratio), round((start + side) * ratio)), axis)
    return Detail(given, fine)


def traces(signal: Signal, network: CoordinateNetwork, fit: np.ndarray) -> list[Trace]:
    """Return a signal of one axis as a whole, with its error, and a part of its middle between the samples."""
    if signal.dims != 1:
        return []
    which = "" if signal.channels == 1 else f", the first of {signal.channels} channels"
    if not signal.grid:
        return [_scattered_trace(signal, network, which)]
    n, step = signal.grid[0], 1 / (signal.rate or 1)
    given, held = signal.values[:, 0], fit[:, 0]
    kept, worst = np.unique(np.concatenate([_extremes(given), _extremes(held)])), _extremes(held - given)
    axis = "seconds" if signal.rate else "sample"
    samples, curve, error = _points(kept * step, given[kept]), _points(kept * step, held[kept]), held - given
    whole = Trace(f"The whole{which}", axis, samples, curve, _points(worst * step, error[worst]))
    side = min(n, FINE)
    middle = np.arange((n - side) // 2, (n + side) // 2)
    between = middle[0] - 0.5 + (np.arange(BETWEEN * side) + 0.5) / BETWEEN
    values = _asked(network, (between[:, None] + 0.5) / n)[:, 0]
    part = Trace(
        f"{side} samples of the middle{which}",
        axis,
        _points(middle * step, given[middle]),
        _points(between * step, values),
    )
    return [whole, part]


def spectra(signal: Signal, fit: np.ndarray) -> Spectra:
    """Return amplitudes by frequency, in the mean over directions and channels.

    Samples that are missing are taken from the fit, a network's rendering on the signal's own grid.
    """
    values = np.where(np.isnan(signal.values), fit, signal.values)
    for axis, size in enumerate(signal.grid):
        piece = min(size, PIECE[signal.dims])
        cut = range((size - piece) // 2, (size + piece) // 2)
        values, fit = values.take(cut, axis), fit.take(cut, axis)
    values, fit = _unit(signal, values), _unit(signal, fit)
    sizes, axes = values.shape[:-1], tuple(range(signal.dims))
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in sizes), indexing="ij", sparse=True)))
    edges = np.geomspace(0.75 / max(sizes), 0.5, BANDS + 1)
    band = np.searchsorted(edges, radius.ravel())
    counts = np.bincount(band, minlength=BANDS + 2)[1:-1]

    def amplitudes(x: np.ndarray) -> list[float]:
        power = np.abs(np.fft.fftn(x, axes=axes) / math.prod(sizes)) ** 2
        sums = np.bincount(band, power.mean(-1).ravel(), BANDS + 2)[1:-1]
        return np.sqrt(sums[counts > 0] / counts[counts > 0]).tolist()

    places = np.sqrt(edges[:-1] * edges[1:])[counts > 0] * (signal.rate or 1)
    unit = "hertz" if signal.rate else "cycles per pixel" if signal.kind == "picture" else "cycles per sample"
    return Spectra(unit, places.tolist(), *map(amplitudes, (values, fit, fit - values)))


def _scattered_view(signal: Signal, network: CoordinateNetwork, fit: np.ndarray) -> View:
    assert signal.positions is not None
    places, values = signal.positions[signal.known], signal.values[signal.known]
    sizes = fit.shape[:-1]
    cells = np.minimum((places - signal.origin) / signal.extent * sizes, np.array(sizes) - 1).astype(int)
    cell = np.ravel_multi_index(tuple(cells.T), sizes)
    apart = np.abs(_unit(signal, _asked(network, places)) - _unit(signal, values)).mean(-1, keepdims=True)
    given, error = (_means(cell, x, sizes) for x in (_unit(signal, values), apart))
    original, held, error = (np.rot90(x) for x in (_shown(given), _shown(_unit(signal, fit)), error[..., 0]))
    return View("", original, held, error, "Points, the mean in each cell")


def _means(cell: np.ndarray, values: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Return scattered values on a grid, the mean in each cell and NaN in those without any."""
    times = np.bincount(cell, minlength=math.prod(sizes))
    sums = np.stack([np.bincount(cell, column, len(times)) for column in values.T], -1)
    with np.errstate(invalid="ignore"):
        return (sums / times[:, None]).reshape(*sizes, -1)


def _unit(signal: Signal, values: np.ndarray) -> np.ndarray:
    return (values - signal.low) / (signal.high - signal.low)


def _shown(values: np.ndarray) -> np.ndarray:
    return values[..., :3] if values.shape[-1] > 2 else values[..., :1]


def _scattered_trace(signal: Signal, network: CoordinateNetwork, which: str) -> Trace:
    assert signal.positions is not None
    x = signal.positions[:, 0]
    fine = np.linspace(x.min(), x.max(), COARSE)
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), COARSE)).round().astype(int))
    samples, fit = _points(x[kept], signal.values[kept, 0]), _points(fine, _asked(network, fine[:, None])[:, 0])
    return Trace(f"Points{which}", "position", samples, fit)


@torch.no_grad()
def _asked(network: CoordinateNetwork, positions: np.ndarray) -> np.ndarray:
    """Return the values at positions, both in the signal's own unit."""
    return network(on_device(torch.from_numpy(positions), network.device)).cpu().numpy()


def _extremes(values: np.ndarray) -> np.ndarray:
    """Return, in order, where the least and the greatest of every stretch of a long signal are: its outline."""
    stretch = max(1, 2 * len(values) // COARSE)
    if stretch < 3:
        return np.arange(len(values))
    clean = np.nan_to_num(values)
    whole = clean[: len(clean) // stretch * stretch].reshape(-1, stretch)
    starts = np.arange(len(whole)) * stretch
    return np.unique(np.concatenate([starts + whole.argmin(1), starts + whole.argmax(1)]))


def _points(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Points:
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True) if not math.isnan(b)]
