"""Charts as inline SVG: from records to a string, with colours that follow the page's light or dark theme."""

import io
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .results import Comparison, Interval, Moved, Sensitivity

WIDTH = 440  # CSS pixels; a figure is 1/72 inch a pixel, so that font sizes are in pixels as well
ROW = 66  # pixels high
MOST_ROWS = 24
MOST_POINTS = 400  # a curve has no more: the page would grow, and nobody sees the difference
Curves = Mapping[str, Sequence[tuple[float, float]]]

# Matplotlib wants colours, the page wants variables: each colour here is written out as the variable beside it, with
# itself as the fallback for a reader that has no such variable.
INK, MUTED, GRID, ZERO_SHOT, ADAPTED, THIRD, FOURTH = (
    "#1f2430",
    "#6b7281",
    "#dfe2e9",
    "#7d8596",
    "#2f6bdb",
    "#b4690f",
    "#8a4fd0",
)
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    ZERO_SHOT: "zero-shot",
    ADAPTED: "adapted",
    THIRD: "third",
    FOURTH: "fourth",
}
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: sharp, searchable, and in any script that the reader's fonts have
    "font.family": ["DejaVu Sans"],  # measured with this one, shown with FONT
    "font.size": 12,
    "text.parse_math": False,  # a class called "$x$" is not a formula
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 13,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


def comparison_chart(comparisons: Sequence[Comparison]) -> str:
    """Draw, for each group, the accuracy before and after with its 95 % interval, at most ``MOST_ROWS`` groups."""
    rows = comparisons[:MOST_ROWS]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, (60 + ROW * len(rows)) / 72), layout="constrained")
        axes = figure.add_subplot()
        _draw_comparisons(axes, rows)
        described = "; ".join(
            f"{row.group}: zero-shot {row.zero_shot.value:.1%}, adapted {row.adapted.value:.1%}" for row in rows
        )
        return svg(figure, f"Accuracy with 95 % intervals. {described}")


def sensitivity_chart(sensitivity: Sensitivity) -> str:
    """Draw how far predictions move with another picture's amplitude and phase, before and after adapting."""
    rows = (sensitivity.style, sensitivity.structure)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, (60 + ROW * len(rows)) / 72), layout="constrained")
        _draw_comparisons(figure.add_subplot(), rows)
        described = "; ".join(
            f"{row.group}: zero-shot {row.zero_shot.value:.1%}, adapted {row.adapted.value:.1%}" for row in rows
        )
        return svg(figure, f"Probability that moves, with 95 % intervals. {described}")


def curve_charts(curves: Curves) -> list[str]:
    """Draw the learning curves: the losses in one chart, the accuracies in one, any other curve in its own."""
    with matplotlib.rc_context(SETTINGS):
        return [_curve_chart(title, panel, "epoch", title == "Accuracy") for title, panel in _panels(curves).items()]


def step_charts(panels: Mapping[str, Curves], shares: Collection[str] = ()) -> list[str]:
    """Draw curves over the steps of a training, a chart for each title; those titled in `shares` are in percent.

    Curves without a finite point, and charts without a curve, are left out.
    """
    finite = {
        title: {name: points for name, curve in panel.items() if (points := _finite(curve))}
        for title, panel in panels.items()
    }
    with matplotlib.rc_context(SETTINGS):
        return [_curve_chart(title, panel, "step", title in shares) for title, panel in finite.items() if panel]


def _finite(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in curve if np.isfinite(x) and np.isfinite(y)]


def _draw_comparisons(axes: Axes, rows: Sequence[Comparison | Moved]) -> None:
    for place, row in enumerate(rows):
        axes.text(0, place - 0.3, _short(row.group), transform=axes.get_yaxis_transform(), va="center", size=13)
        axes.plot(
            [row.zero_shot.value, row.adapted.value], [place + 0.02, place + 0.26], color=ZERO_SHOT, lw=1, alpha=0.6
        )
        draw_interval(axes, row.zero_shot, place + 0.02, ZERO_SHOT, hollow=True)
        draw_interval(axes, row.adapted, place + 0.26, ADAPTED, hollow=False)
    low, high = percent_range([bound for row in rows for bound in (row.zero_shot, row.adapted)])
    axes.set(xlim=(low, high), ylim=(len(rows) - 0.45, -0.6), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(as_percent))
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="x", lw=0.8)
    handles = [
        axes.plot([], [], "o", ms=8, mec=ZERO_SHOT, mfc="none", mew=2, label="zero-shot")[0],
        axes.plot([], [], "o", ms=8, mec=ADAPTED, mfc=ADAPTED, mew=2, label="adapted")[0],
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0,
        borderpad=0.3,
        handletextpad=0.2,
        columnspacing=1.4,
    )


def draw_interval(axes: Axes, interval: Interval, height: float, colour: str, hollow: bool) -> None:
    """Draw a bar over the interval and a dot on its value; a hollow dot tells zero-shot without colour."""
    axes.plot([interval.low, interval.high], [height] * 2, color=colour, lw=5, alpha=0.35, solid_capstyle="round")
    # A hollow dot has no fill rather than the page's colour: the chart does not know what it stands on.
    axes.plot([interval.value], [height], "o", ms=8, mec=colour, mfc="none" if hollow else colour, mew=2)


def percent_range(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return limits within [0, 1] that hold all intervals and are at least 0.2 apart, in steps of 0.05, with room."""
    low = np.floor(20 * min(interval.low for interval in intervals) - 0.2) / 20
    high = np.ceil(20 * max(interval.high for interval in intervals) + 0.2) / 20
    lacking = max(0.0, 0.2 - (high - low)) / 2
    low, high = low - lacking, high + lacking
    # Slightly beyond 0 and 1, so that a dot on the very edge is whole.
    return max(-0.02, float(low)), min(1.02, float(high))


def _panels(curves: Curves) -> dict[str, Curves]:
    panels: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for name, curve in curves.items():
        if points := _finite(curve):
            panels.setdefault(_panel_of(name), {})[name] = points
    return {title: panels[title] for title in sorted(panels, key=lambda title: title != "Loss")}


def _panel_of(name: str) -> str:
    lowered = name.lower()
    if "loss" in lowered:
        return "Loss"
    return "Accuracy" if "accuracy" in lowered or "top-" in lowered else name


def _curve_chart(title: str, curves: Curves, over: str, share: bool) -> str:
    figure = Figure(figsize=(WIDTH / 72, 250 / 72), layout="constrained")
    axes = figure.add_subplot()
    styles = zip((ADAPTED, THIRD, FOURTH, ZERO_SHOT) * len(curves), ("-", "--", "-.", ":") * len(curves), strict=True)
    for (name, curve), (colour, dash) in zip(curves.items(), styles, strict=False):
        x, y = np.array(_thinned(curve)).T
        axes.plot(x, y, dash, color=colour, lw=2, marker="o" if len(x) <= 12 else None, ms=5, label=_short(name))
    axes.set_title(_short(title), loc="left", pad=8)
    axes.set_xlabel(over)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", lw=0.8)
    if share:
        axes.yaxis.set_major_formatter(FuncFormatter(as_percent))
    if len(curves) > 1:
        figure.legend(loc="outside lower left", ncols=2, handlelength=2.2)  # on no curve, whatever their course
    ends = "; ".join(f"{name} from {curve[0][1]:.3g} to {curve[-1][1]:.3g}" for name, curve in curves.items())
    return svg(figure, f"{title} by {over}. {ends}")


def _thinned(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``MOST_POINTS`` points, evenly taken, the first and the last among them."""
    kept = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).round().astype(int))
    return [curve[index] for index in kept]


def as_percent(share: float, _position: int) -> str:
    """Return a share as percent, for a tick of an axis."""
    return f"{100 * share:.3g}\u00a0%"


def _short(name: str, most: int = 44) -> str:
    """Return the name on one line, at most ``most`` characters long."""
    line = " ".join(name.split())
    return line if len(line) <= most else line[: most - 1] + "\u2026"


def svg(figure: Figure, description: str) -> str:
    """Return the figure as an ``<svg>`` element that scales with its column and is the same in every run."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": description}), warnings.catch_warnings():
        # The reader's browser finds the letters that Matplotlib's font lacks: here it only measures the text.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    body = buffer.getvalue()
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None, "Matplotlib writes a viewBox"
    # After the style element, which would hold for the whole page, and without the opening tag, rewritten below.
    body = body[body.index("</style>") :].split("</defs>", 1)[1]
    body = re.sub(r"<[^>]+>", _themed, body)
    head = f'<svg role="img" aria-label="{_attribute(description)}" {view[0]}'
    return f'{head} style="max-width: {WIDTH}px; stroke-linejoin: round">{body}'


def _themed(tag: re.Match[str]) -> str:
    """Return a tag (never the text between tags) with the page's font and colours, and groups without their names."""
    text = re.sub(r'<g id="[^"]*"', "<g", tag[0])  # the same names stand in every chart of a page
    text = re.sub(r"'DejaVu Sans'(, sans-serif)?", FONT, text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable}, {colour})")
    return text


def _attribute(text: str) -> str:
    """Return text on one line, fit to stand between double quotes."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
