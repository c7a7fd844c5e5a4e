"""What `overtone bench` found: as a table in print, as CSV, and as a figure."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (520, 360)  # CSS pixels


@dataclass(frozen=True)
class Protocol:
    """How it was measured."""

    device: str
    batch_size: int
    warmups: int
    runs: int
    image_size: int


@dataclass(frozen=True)
class Measured:
    """One model: its size, and what a batch costs."""

    model: str
    parameters: int
    multiply_adds: int
    """Of one picture."""
    peak_memory: int | None
    """Bytes for weights, the batch, and the most that a forward pass allocates at a time; None where unknown."""
    seconds: tuple[float, ...]
    """Of each run, a batch a run."""

    @property
    def mean(self) -> float:
        """Seconds a batch."""
        return statistics.mean(self.seconds)

    @property
    def deviation(self) -> float:
        """The runs' standard deviation in seconds; 0 for a single run."""
        return statistics.stdev(self.seconds) if len(self.seconds) > 1 else 0.0


@dataclass(frozen=True)
class Growth:
    """One model at several resolutions: (pixels a side, mean seconds a batch, multiply-adds of one picture) of each."""

    model: str
    points: tuple[tuple[int, float, int], ...]

    @property
    def exponent(self) -> float:
        """e of the fitted law latency ~ pixels^e."""
        return fitted_exponent([(side**2, seconds) for side, seconds, _ in self.points])

    @property
    def last_exponent(self) -> float:
        """The same of the two highest resolutions alone, where constant costs weigh least."""
        return fitted_exponent([(side**2, seconds) for side, seconds, _ in self.points[-2:]])

    @property
    def work_exponent(self) -> float:
        """The same of multiply-adds."""
        return fitted_exponent([(side**2, work) for side, _, work in self.points])


@dataclass(frozen=True)
class BenchResult:
    """All that was measured in one run; `str` gives the tables."""

    protocol: Protocol
    reference: str
    models: tuple[Measured, ...]
    growth: tuple[Growth, ...]
    growth_batch: int
    notes: tuple[str, ...]

    def of(self, model: str) -> Measured:
        """Return what was measured of one model."""
        return next(row for row in self.models if row.model == model)

    def speed_up(self, model: str) -> float:
        """Return how many times faster than the reference a model is, by mean latency."""
        return self.of(self.reference).mean / self.of(model).mean

    def __str__(self) -> str:
        tables = [aligned(self._model_lines())]
        if self.growth:
            law = f"Latency at other resolutions (batch {self.growth_batch}, ms), and e of the law latency ~ pixels^e:"
            tables.append("\n".join([law, aligned(self._growth_lines())]))
        return "\n\n".join([self._head(), *tables, "\n".join(self.notes)])

    def _head(self) -> str:
        p = self.protocol
        runs = f"batch {p.batch_size}, {p.warmups} warm-ups, mean of {p.runs} runs, all models in turn in each"
        return f"{p.device}, float32, {p.image_size} x {p.image_size} pixels, {runs}."

    def _model_lines(self) -> Iterable[Sequence[str]]:
        from overtone.counting import in_units

        yield (
            "model", "parameters", "multiply-adds", "peak memory", "ms a batch", "pictures/s", f"x {self.reference}",
        )  # fmt: skip
        of = self.of(self.reference)
        for row in self.models:
            memory = _binary(row.peak_memory) if row.peak_memory else "-"
            yield (
                row.model,
                f"{in_units(row.parameters)}{_share(row.parameters, of.parameters)}",
                f"{in_units(row.multiply_adds)}{_share(row.multiply_adds, of.multiply_adds)}",
                f"{memory}{_share(row.peak_memory, of.peak_memory)}",
                f"{_rounded(1e3 * row.mean)} ± {_rounded(1e3 * row.deviation, like=1e3 * row.mean)}",
                _rounded(self.protocol.batch_size / row.mean),
                f"{self.speed_up(row.model):.2f}",
            )

    def _growth_lines(self) -> Iterable[Sequence[str]]:
        sides = [side for side, _, _ in self.growth[0].points]
        yield ("model", *map(str, sides), "e", f"e, {sides[-2]} to {sides[-1]}", "e of multiply-adds")
        for row in self.growth:
            yield (
                row.model,
                *(_rounded(1e3 * seconds) for _, seconds, _ in row.points),
                f"{row.exponent:.2f}",
                f"{row.last_exponent:.2f}",
                f"{row.work_exponent:.2f}",
            )


def fitted_exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return e of the power law y ~ x^e through points (x, y): the least-squares slope of log y over log x."""
    return statistics.linear_regression(*zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)).slope


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as lines, the first column to the left and the others to the right."""
    first, *others = zip(*rows, strict=True)
    columns = [[cell.ljust(max(map(len, first))) for cell in first]]
    columns += [[cell.rjust(max(map(len, column))) for cell in column] for column in others]
    return "\n".join("  ".join(line) for line in zip(*columns, strict=True))


def write_result(result: BenchResult, folder: Path) -> None:
    """Write models.csv, bench.svg and, where resolutions were measured, resolutions.csv."""
    _write_csv(folder / "models.csv", [_model_record(result, row) for row in result.models])
    if result.growth:
        resolutions = [record for row in result.growth for record in _growth_records(result, row)]
        _write_csv(folder / "resolutions.csv", resolutions)
    write_atomically(folder / "bench.svg", figure(result))


def figure(result: BenchResult) -> str:
    """Draw latency by model and, where it was measured, by resolution, as an SVG file's text."""
    import matplotlib
    from matplotlib.figure import Figure

    from overtone.report.figures import SETTINGS

    panels = 2 if result.growth else 1
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": "bench"}):
        drawing = Figure(figsize=(panels * PANEL[0] / 72, PANEL[1] / 72), layout="constrained")
        axes = drawing.subplots(1, panels, squeeze=False)[0]
        _draw_latency(axes[0], result)
        if result.growth:
            _draw_growth(axes[1], result)
        buffer = io.StringIO()
        drawing.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def _draw_latency(axes: "Axes", result: BenchResult) -> None:
    from overtone.report.figures import INK

    rows = sorted(result.models, key=lambda row: row.mean)
    for place, row in enumerate(rows):
        axes.barh(place, 1e3 * row.mean, height=0.44, color=_colour(row.model), xerr=1e3 * row.deviation, ecolor=INK)
        axes.text(0, place - 0.44, row.model, va="center")
        axes.annotate(
            f"{result.speed_up(row.model):.2f} x", (1e3 * (row.mean + row.deviation), place), (6, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set(ylim=(len(rows) - 0.5, -0.8), yticks=[], xlabel=f"ms a batch of {result.protocol.batch_size}")
    axes.set_title(f"Latency, and speed over {result.reference}", loc="left", pad=8)
    axes.margins(x=0.15)
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="x", lw=0.8)


def _draw_growth(axes: "Axes", result: BenchResult) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for row, dash in zip(result.growth, ("-", "--", "-.", ":") * len(result.growth), strict=False):
        sides, seconds, _ = zip(*row.points, strict=True)
        label = f"{row.model}: pixels^{row.exponent:.2f}"
        axes.loglog(sides, [1e3 * s for s in seconds], dash, marker="o", ms=5, color=_colour(row.model), label=label)
    sides = tuple(side for side, _, _ in result.growth[0].points)
    axes.set(xlabel="pixels a side", ylabel=f"ms a batch of {result.growth_batch}")
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # two labels at least, however small the range
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set_title("Latency by resolution", loc="left", pad=8)
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="y", lw=0.8)
    axes.legend(handlelength=2.4)


def _colour(model: str) -> str:
    from overtone.report.figures import ADAPTED, FOURTH, THIRD, ZERO_SHOT

    return {"shfin-small": ADAPTED, "shfin-fast": FOURTH, "attention": THIRD}.get(model, ZERO_SHOT)


def _model_record(result: BenchResult, row: Measured) -> Mapping[str, Any]:
    return {
        "model": row.model,
        "parameters": row.parameters,
        "multiply_adds": row.multiply_adds,
        "peak_memory_bytes": row.peak_memory,
        "mean_ms": 1e3 * row.mean,
        "deviation_ms": 1e3 * row.deviation,
        "median_ms": 1e3 * statistics.median(row.seconds),
        "speed_up": result.speed_up(row.model),
        "reference": result.reference,
        **vars(result.protocol),
    }


def _growth_records(result: BenchResult, row: Growth) -> Iterable[Mapping[str, Any]]:
    settings = vars(result.protocol) | {"batch_size": result.growth_batch}
    for side, seconds, work in row.points:
        sizes = {"image_size": side, "mean_ms": 1e3 * seconds, "multiply_adds": work, "exponent": row.exponent}
        yield {"model": row.model, **settings, **sizes}


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomically(path, text.getvalue())


def _rounded(value: float, like: float | None = None) -> str:
    """Return a positive value with three significant digits, or with as many decimals as another value has."""
    decimals = max(0, 2 - math.floor(math.log10(value if like is None else like)))
    return f"{value:,.{decimals}f}"


def _share(value: int | None, of: int | None) -> str:
    return f" ({value / of:.2f})" if value and of else ""


def _binary(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
