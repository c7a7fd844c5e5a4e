"""Charts of an inspection: spectra in their parts, cosines, and what the parts can do alone."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from overtone.spectral import Partition, noise_quantile

from .figures import (
    ADAPTED,
    FOURTH,
    INK,
    MUTED,
    SETTINGS,
    THIRD,
    WIDTH,
    ZERO_SHOT,
    as_percent,
    draw_interval,
    percent_range,
    svg,
)
from .inspect_results import Spectrum, Worth

PARTS = {"strong": ADAPTED, "weak": THIRD, "noise": ZERO_SHOT}
SHADES = {"strong": 0.2, "weak": 0.2, "noise": 0.1}
VIEWS = {"raw": "rows as they are", "centred": "rows less their mean"}
NOISE_POINTS = 80  # of the curve that noise alone would give
ROW = 40  # pixels high
FAINT = 0.005  # of a curve's height, beneath which it is not shown
Density = Sequence[tuple[float, float]]


def spectrum_chart(spectrum: Spectrum) -> str:
    """Draw the singular values on a log scale, its three parts shaded, with edge, fence and what noise would give."""
    parts = spectrum.parts
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, 320 / 72), layout="constrained")
        axes = figure.add_subplot()
        _draw_spectrum(axes, parts)
        figure.legend(loc="outside lower left", ncols=2, handlelength=1.2)
        axes.set_title(f"{spectrum.about}, {VIEWS[spectrum.view]}", loc="left", pad=8)
        counts = ", ".join(f"{getattr(parts, name).count} {name}" for name in PARTS)
        return svg(figure, f"Singular values of {spectrum.about}, {VIEWS[spectrum.view]}: {counts}")


def cosine_chart(cosines: Mapping[str, Density]) -> str:
    """Draw how the cosines of pairs of rows are distributed, a curve a kind of pair."""
    styles = zip((ADAPTED, THIRD, FOURTH, ZERO_SHOT), ("-", "--", "-", ":"), strict=True)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, 250 / 72), layout="constrained")
        axes = figure.add_subplot()
        for (name, density), (colour, dash) in zip(cosines.items(), styles, strict=False):
            x, y = np.array(density).T
            axes.fill_between(x, y, color=colour, alpha=0.12, lw=0)
            axes.plot(x, y, dash, color=colour, lw=2, label=name)
        used = [x for density in cosines.values() for x, y in density if y > FAINT * max(y for _, y in density)]
        axes.set(xlim=(max(-1.0, min(used) - 0.08), min(1.0, max(used) + 0.08)), yticks=[], xlabel="cosine")
        axes.set_ylim(bottom=0)
        axes.tick_params(length=0, pad=6)
        axes.grid(axis="x", lw=0.8)
        figure.legend(loc="outside lower left", ncols=2, handlelength=2.2)
        means = "; ".join(f"{name} around {_mean(density):.2f}" for name, density in cosines.items())
        return svg(figure, f"Distributions of cosines: {means}")


def recall_chart(worth: Sequence[Worth], way: str, title: str, chance: float) -> str:
    """Draw recall at 1 with its 95 % interval for each choice of directions, and what guessing gives."""
    shares = [row.recall[way].at[1] for row in worth]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, (64 + ROW * len(worth)) / 72), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(chance, color=MUTED, lw=1.2, ls=":")
        for place, (row, share) in enumerate(zip(worth, shares, strict=True)):
            axes.text(0, place - 0.28, row.kept, transform=axes.get_yaxis_transform(), va="center")
            draw_interval(axes, share, place + 0.12, ADAPTED if place else INK, hollow=False)
        low, high = percent_range(shares)
        axes.set(xlim=(low, high), ylim=(len(worth) - 0.5, -0.6), yticks=[], xlabel="dotted: by guessing")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(as_percent))
        axes.tick_params(length=0, pad=6)
        axes.grid(axis="x", lw=0.8)
        axes.set_title(title, loc="left", pad=8)
        described = "; ".join(f"{row.kept} {share.value:.1%}" for row, share in zip(worth, shares, strict=True))
        return svg(figure, f"{title}: {described}")


def _draw_spectrum(axes: Axes, parts: Partition) -> None:
    values = parts.values.double().numpy()
    i, start, zeros = np.arange(1, len(values) + 1), 0, int((values == 0).sum())
    for name, colour in PARTS.items():
        stop = start + getattr(parts, name).count
        if stop > start:
            label = f"{name} {stop - start:,}" + (f", {zeros:,} of them 0" if name == "noise" and zeros else "")
            axes.axvspan(start + 0.5, stop + 0.5, color=colour, alpha=SHADES[name], lw=0, label=label)
        start = stop
    positive = values > 0
    axes.plot(i[positive], values[positive], color=INK, lw=2, marker="o" if positive.sum() <= 12 else None, ms=4)
    if parts.sigma and parts.noise.count > 1:
        _draw_noise(axes, parts, int(positive.sum()))
    axes.set(xlim=(0.5, len(values) + 0.5), xlabel="direction, the strongest first")
    if positive.any():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # two labels at least, however small the range
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", lw=0.8)


def _draw_noise(axes: Axes, parts: Partition, filled: int) -> None:
    """Draw edge and fence, and the singular values that noise of the same size would have by itself."""
    shares = np.linspace(0.001, 0.999, NOISE_POINTS)
    larger = max(parts.samples, parts.width)
    curve = [parts.sigma * noise_quantile(filled, larger, 1 - share) for share in shares]
    axes.plot(0.5 + filled * shares, curve, "--", color=MUTED, lw=1.2, label="what noise would give")
    for height, name, side in ((parts.edge, "edge", "top"), (parts.fence, "fence", "bottom")):
        axes.axhline(height, color=MUTED, lw=0.8, ls=":")
        axes.text(0.99, height, name, transform=axes.get_yaxis_transform(), ha="right", va=side, color=MUTED, size=11)


def _mean(density: Density) -> float:
    x, y = np.array(density).T
    return float((x * y).sum() / y.sum())
