"""The one-page report of a training, in the dress of the adapt report's."""

from pathlib import Path
from typing import Any

from ..files import write_atomically
from . import figures
from .frequencies import frequency_chart
from .page import MOST_CLASSES, MOST_MISTAKES, MOST_PAIRS, MOST_SKIPPED, confusion_view, filled, mistake_view, pair_view
from .training import FrequencyMap, TrainReport


def write_training_report(report: TrainReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render_training(report))


def render_training(report: TrainReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    return filled("train.html.j2", report=report, **_content(report))


def _content(report: TrainReport) -> dict[str, Any]:
    """Return what the template shows beside the records themselves."""
    return {
        "curve_charts": figures.curve_charts(report.curves),
        "frequencies": [_frequencies(found) for found in report.frequencies],
        "pairs": [pair_view(pair) for pair in report.confused[:MOST_PAIRS]],
        "mistakes": [mistake_view(mistake) for mistake in report.mistakes[:MOST_MISTAKES]],
        "confusion": confusion_view(report.confusion, report.confusion_names),
        "worst": sorted(report.classes, key=lambda row: row.accuracy)[:MOST_CLASSES],
        "most_skipped": MOST_SKIPPED,
    }


def _frequencies(found: FrequencyMap) -> dict[str, Any]:
    rows, columns = found.kept.shape
    text = f"{found.kept.sum()} of {rows} x {columns} frequencies"
    return {"layer": found.layer, "text": text, "chart": frequency_chart(found.kept, text)}
