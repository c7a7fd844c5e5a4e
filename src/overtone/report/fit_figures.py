"""Charts of a fit: spectra, candidates of a bandwidth, learning observed and predicted, and signals along one axis."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from overtone.report.figures import ADAPTED, FOURTH, INK, MUTED, SETTINGS, THIRD, WIDTH, ZERO_SHOT, svg

from .fit import BandwidthCurve, EncodingRow, Learning, Spectra, Trace

HEIGHT = 280  # pixels
FLOOR = 1e-6  # of the greatest amplitude: what is below is not drawn
DOTS = 400  # samples, of which each can still be told from the next
STYLES = ((ZERO_SHOT, ":"), (FOURTH, "-."), (THIRD, "--"), (ADAPTED, "-"))


def spectra_chart(spectra: Spectra) -> str:
    """Draw amplitude against frequency of original, fit and error, on logarithmic axes."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes("Amplitude by frequency")
        values = np.array([spectra.original, spectra.fit, spectra.error])
        top = values.max() or 1.0
        lines = (("original", INK, "-"), ("fit", ADAPTED, "--"), ("error", THIRD, "-."))
        for curve, (name, colour, dash) in zip(values, lines, strict=True):
            shown = np.where(curve > FLOOR * top, curve, np.nan)
            axes.plot(spectra.frequencies, shown, dash, color=colour, lw=2, label=name)
        axes.set(xlabel=spectra.unit)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(min(values[values > FLOOR * top], default=FLOOR) / 2, 2 * top)
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.legend(handlelength=2.4)
        return svg(figure, "Amplitude by frequency of original, fit and error")


def bandwidth_chart(curve: BandwidthCurve) -> str:
    """Draw the score of every candidate, and mark the one that was taken."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes(f"Score by {curve.method}, the lower the better")
        axes.plot(curve.candidates, curve.scores, "-o", color=ADAPTED, lw=2, ms=5)
        axes.axvline(curve.chosen, color=MUTED, lw=1, ls=":")
        best = curve.scores[curve.candidates.index(curve.chosen)]
        axes.plot([curve.chosen], [best], "o", ms=11, mfc="none", mec=INK, mew=1.6)
        axes.set_xscale("log")
        axes.set(xlabel="deviation, cycles over the signal")
        ticks = curve.candidates[:: max(1, len(curve.candidates) // 5)]
        axes.set_xticks(ticks, [f"{float(f'{tick:.3g}'):,g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=min(0.0, min(curve.scores)))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return svg(figure, f"Score of {len(curve.candidates)} deviations by {curve.method}; {curve.chosen:.4g} taken")


def learning_chart(learning: Learning) -> str:
    """Draw PSNR by step as observed, on held-out samples, and as predicted."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes("Learning")
        if learning.predicted:
            axes.axvspan(1, learning.matched, color=MUTED, alpha=0.1, lw=0)
            axes.plot(*_xy(learning.predicted), "--", color=THIRD, lw=2, label="predicted by the kernel")
        axes.plot(*_xy(learning.observed), "-", color=ADAPTED, lw=2, marker="o", ms=4, label="observed")
        if learning.held:
            axes.plot(*_xy(learning.held), ":", color=FOURTH, lw=2, label="observed, held out")
        _by_step(axes)
        axes.legend(handlelength=2.4)
        ends = f"observed {learning.observed[-1][1]:.1f} dB at the end"
        if learning.predicted:
            ends += f", predicted {learning.predicted[-1][1]:.1f} dB"
        return svg(figure, f"PSNR by step, {ends}")


def encodings_chart(rows: Sequence[EncodingRow]) -> str:
    """Draw, for each encoding, PSNR on the samples between by step."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes("Learning, on the samples between")
        for row, (colour, dash) in zip(rows, STYLES, strict=False):
            axes.plot(*_xy(row.tested), dash, color=colour, lw=2, label=row.encoding)
        _by_step(axes)
        axes.legend(handlelength=2.4)
        ends = "; ".join(f"{row.encoding} {row.test:.1f} dB" for row in rows)
        return svg(figure, f"PSNR on test samples by step. {ends}")


def trace_chart(trace: Trace) -> str:
    """Draw samples and the network along an axis; beneath, the error where it is given."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2 * WIDTH / 72, 300 / 72), layout="constrained")
        ratios = {"height_ratios": (3, 1)} if trace.error else {}
        panels = figure.subplots(1 + bool(trace.error), 1, sharex=True, squeeze=False, gridspec_kw=ratios)[:, 0]
        apart = len(trace.samples) <= DOTS
        style = {"ls": "", "marker": "o", "ms": 3.5} if apart else {"lw": 2}
        panels[0].plot(*_xy(trace.samples), color=INK, label="samples", **style)
        panels[0].plot(*_xy(trace.fit), color=ADAPTED, lw=1.4 if apart else 0.9, label="fit")
        panels[0].set_title(trace.about, loc="left", pad=8)
        panels[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, handlelength=1.6)
        if trace.error:
            panels[1].plot(*_xy(trace.error), color=THIRD, lw=1)
            panels[1].set_ylabel("error")
        panels[-1].set_xlabel(trace.axis)
        for axes in panels:
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.tick_params(length=0, pad=6)
            axes.grid(axis="y", lw=0.8)
        return svg(figure, f"{trace.about}: {len(trace.samples)} samples and the fit").replace(
            f"max-width: {WIDTH}px", f"max-width: {2 * WIDTH}px"
        )


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", lw=0.8)
    axes.set_title(title, loc="left", pad=8)
    return figure, axes


def _by_step(axes: Axes) -> None:
    axes.set(xlabel="step", ylabel="PSNR, dB")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _plain(value: float, _position: int) -> str:
    return f"{value:,g}" if value >= 1e-4 else f"{value:.0e}"


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
