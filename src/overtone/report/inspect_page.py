"""The page of an inspection, in the dress of the adapt report's."""

from pathlib import Path
from typing import Any

import jinja2

from overtone.spectral import METRICS, uniformity_of_sphere

from .. import __version__
from ..files import write_atomically
from . import inspect_figures, words
from .inspect_reading import chance_overlap
from .inspect_results import InspectReport, Spectrum, way_name
from .page import MOST_SKIPPED

TONES = {"good": "helped", "bad": "hurt", "mixed": "mixed", "open": "plain"}  # as the style sheet has them
MARKS = {"good": "✓", "bad": "✕", "mixed": "◆", "open": "·"}


def write_inspect_report(report: InspectReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render_inspection(report))


def render_inspection(report: InspectReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent, points=words.points, percent_span=words.percent_span, point_span=words.point_span
    )
    return environment.get_template("inspect.html.j2").render(report=report, version=__version__, **_content(report))


def _content(report: InspectReport) -> dict[str, Any]:
    """Return what the template shows beside the records themselves."""
    ways = {way: way_name(way, report.labelled) for way in report.tasks}
    return {
        "tones": TONES,
        "marks": MARKS,
        "tone": _worst(report),
        "tiles": _tiles(report),
        "said": [(about, [r for r in report.readings if r.about == about]) for about in (*report.sides, "pair")],
        "views": inspect_figures.VIEWS,
        "spectra": [(s, inspect_figures.spectrum_chart(s)) for s in report.spectra],
        "cosine_chart": inspect_figures.cosine_chart(report.cosines) if report.cosines else "",
        "ways": ways,
        "recall_charts": [
            inspect_figures.recall_chart(report.worth, way, f"{name}, R@1", report.tasks[way].chance)
            for way, name in ways.items()
        ],
        "figures": _figures(report),
        "most_skipped": MOST_SKIPPED,
    }


def _worst(report: InspectReport) -> str:
    tones = {reading.tone for reading in report.readings}
    return TONES[next((tone for tone in ("bad", "mixed") if tone in tones), "open")]


def _tiles(report: InspectReport) -> list[tuple[str, str, str]]:
    """Return the figures that are shown first: (label, value, what to hold it against)."""
    m, tiles = report.metrics, []
    for side in report.sides:
        whole, of = int(min(m[f"{side}/samples"], m[f"{side}/width"])), f"{side}: " if len(report.sides) > 1 else ""
        tiles.append((f"{of}effective rank", f"{m[f'{side}/centred/rankme']:.0f}", f"of {whole:,}, less the mean"))
        tiles.append((f"{of}mean cosine", _signed(f"{m[f'{side}/cone']:.2f}"), "0 without a cone"))
    if len(report.sides) == 1:
        (side,) = report.sides
        whole_sphere = uniformity_of_sphere(int(m[f"{side}/width"]))
        tiles.append(
            ("uniformity", _signed(f"{m[f'{side}/uniformity']:.2f}"), _signed(f"whole sphere: {whole_sphere:.2f}"))
        )
        return [*tiles, ("noise directions", words.percent(m[f"{side}/raw/noise_share"], 0), _parts(report.spectra[0]))]
    tiles.append(("modality gap", f"{m['pair/gap']:.2f}", "0.82 in CLIP"))
    tiles.append(("subspace overlap", f"{m['pair/raw/subspace_overlap']:.2f}", f"{chance_overlap(m):.2f} by chance"))
    for way, task in report.tasks.items():
        share = report.worth[0].recall[way].at[1].value
        zero_shot = report.labelled and way == "image → text"
        name = "zero-shot accuracy" if zero_shot else f"{way_name(way, report.labelled)}: R@1"
        tiles.append((name, words.percent(share), f"guessing: {words.percent(task.chance, 2)}"))
    return tiles


def _parts(spectrum: Spectrum) -> str:
    parts = spectrum.parts
    return f"{parts.strong.count} strong, {parts.weak.count} weak"


def _figures(report: InspectReport) -> list[tuple[str, list[str], str]]:
    """Return every metric as (name, a value a column, meaning); the columns are the sides, or the pair."""
    names = dict.fromkeys(name.split("/", 1)[1] for name in report.metrics)
    columns = [*report.sides, *(["pair"] if len(report.sides) > 1 else [])]
    rows = []
    for name in names:
        values = [report.metrics.get(f"{column}/{name}") for column in columns]
        meaning = METRICS.get(name.split("/")[-1], "rows that were used, copies included")
        if name == "uniformity":
            width = int(report.metrics[f"{report.sides[0]}/width"])
            meaning += _signed(f"; {uniformity_of_sphere(width):.2f} for rows all over the sphere")
        rows.append((name, ["" if value is None else _shown(value) for value in values], meaning))
    return rows


def _shown(value: float) -> str:
    return _signed(f"{value:,.0f}" if value == int(value) and abs(value) >= 2 else f"{value:.4g}")


def _signed(number: str) -> str:
    return number.replace("-", "\u2212")
