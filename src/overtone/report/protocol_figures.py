"""The plot of a protocol: accuracy over shots as lines, or methods side by side as dots, a panel for each view."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .figures import ADAPTED, FOURTH, SETTINGS, THIRD, WIDTH, ZERO_SHOT, as_percent, svg
from .protocol import Figure, ProtocolReport, Row

COLOURS = (THIRD, FOURTH, "#1a8a5f", "#c2426b", "#0f8b9b", "#8a7a1f")  # the last four are as they are on either ground
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d")
USUAL = {"zero-shot": (ZERO_SHOT, "o"), "farl": (ADAPTED, "o")}
COLUMNS = 3
LINES_HIGH, ROW_HIGH, DOT_HIGH = 260, 22, 9  # CSS pixels: of a panel of lines, of a row's name, of each method in it


@dataclass(frozen=True)
class Panel:
    """One view: figures by row, and within it by method; drawn as lines over the rows where these are numbers."""

    title: str
    rows: tuple[tuple[str, tuple[tuple[str, Figure], ...]], ...]
    across: str = ""


def panels(report: ProtocolReport) -> list[Panel]:
    """Return the views of a report, the average first."""
    if report.across:
        blocks = sorted(report.blocks, key=lambda block: block.name != "average")
        return [
            Panel(b.name, tuple((c, _column(b.rows, i)) for i, c in enumerate(report.columns)), report.across)
            for b in blocks
        ]
    if len(report.blocks) == 1:
        block = report.blocks[0]
        return [Panel("Accuracy", tuple((c, _column(block.rows, i)) for i, c in enumerate(report.columns)))]
    return [
        Panel(column, tuple((block.name, _column(block.rows, i)) for block in report.blocks))
        for i, column in enumerate(report.columns)
    ]


def charts(report: ProtocolReport) -> list[str]:
    """Draw each view as inline SVG for the page."""
    drawn = []
    for panel in panels(report):
        with matplotlib.rc_context(SETTINGS):
            drawing = Drawing(figsize=(WIDTH / 72, _height(panel) / 72), layout="constrained")
            axes = drawing.add_subplot()
            _draw(axes, panel, report.methods)
            _legend(drawing, report.methods)
            drawn.append(svg(drawing, f"{panel.title}. {_described(panel)}"))
    return drawn


def plot(report: ProtocolReport) -> str:
    """Draw all views in one SVG file's text."""
    views = panels(report)
    columns = min(COLUMNS, len(views))
    rows = math.ceil(len(views) / columns)
    size = (columns * WIDTH / 72, (rows * max(map(_height, views)) + 30) / 72)
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": report.protocol}):
        drawing = Drawing(figsize=size, layout="constrained")
        grid = list(drawing.subplots(rows, columns, squeeze=False).flat)
        for axes, panel in zip(grid, views, strict=False):
            _draw(axes, panel, report.methods)
        for axes in grid[len(views) :]:
            axes.set_axis_off()
        _legend(drawing, report.methods)
        buffer = io.StringIO()
        drawing.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def _column(rows: Sequence[Row], index: int) -> tuple[tuple[str, Figure], ...]:
    return tuple((row.method, row.figures[index]) for row in rows)


def _height(panel: Panel) -> float:
    if panel.across:
        return LINES_HIGH
    return 90 + sum(ROW_HIGH + DOT_HIGH * len(figures) for _, figures in panel.rows)


def _draw(axes: Axes, panel: Panel, methods: Sequence[str]) -> None:
    (_draw_lines if panel.across else _draw_dots)(axes, panel, methods)
    axes.set_title(panel.title, loc="left", pad=8)
    axes.tick_params(length=0, pad=6)


def _draw_lines(axes: Axes, panel: Panel, methods: Sequence[str]) -> None:
    for method in methods:
        colour, marker = _style(method, methods)
        found = [(int(column), f) for column, figures in panel.rows for name, f in figures if name == method]
        points = [(shots, f.mean, f.spread or 0.0) for shots, f in found if f.mean is not None]
        if points:
            x, means, spreads = zip(*points, strict=True)
            axes.errorbar(x, means, spreads, color=colour, marker=marker, ms=6, lw=1.8, elinewidth=1, capsize=2)
    places = [int(column) for column, _ in panel.rows]
    axes.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)  # 0 shots stand beside 1, and each doubling is a step
    axes.set_xticks(places, [str(place) for place in places])
    axes.minorticks_off()
    axes.set_xlabel(panel.across)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(as_percent))
    axes.grid(axis="y", lw=0.8)


def _draw_dots(axes: Axes, panel: Panel, methods: Sequence[str]) -> None:
    height = 0.0
    for name, figures in panel.rows:
        axes.text(0, height, name, transform=axes.get_yaxis_transform(), va="center", size=12)
        height += ROW_HIGH * 0.8
        for method, figure in figures:
            colour, marker = _style(method, methods)
            if figure.mean is not None:
                axes.errorbar(
                    figure.mean, height, xerr=figure.spread, color=colour, marker=marker, ms=6, elinewidth=1.4
                )
            height += DOT_HIGH
        height += ROW_HIGH * 0.2
    axes.set(ylim=(height, -ROW_HIGH / 2), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(as_percent))
    axes.grid(axis="x", lw=0.8)


def _legend(drawing: Drawing, methods: Sequence[str]) -> None:
    handles = []
    for method in methods:
        colour, marker = _style(method, methods)
        handles.append(Line2D([], [], color=colour, marker=marker, ls="none", ms=7, label=method))
    columns = min(len(methods), 4 if drawing.get_figwidth() * 72 <= WIDTH else 10)
    drawing.legend(handles=handles, loc="outside lower left", ncols=columns, handletextpad=0.1, columnspacing=1.2)


def _style(method: str, methods: Sequence[str]) -> tuple[str, str]:
    """Return a method's colour and marker: the same in every panel, and told apart without colour."""
    if method in USUAL:
        return USUAL[method]
    place = [name for name in methods if name not in USUAL].index(method)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _described(panel: Panel) -> str:
    return "; ".join(f"{row}: " + ", ".join(f"{m} {f}" for m, f in figures) for row, figures in panel.rows)
