"""The one-page report of a run: HTML that holds its own style, charts and pictures and loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from .. import __version__
from ..files import write_atomically
from . import figures, pictures, words
from .results import AdaptReport, ClassRow, ConfusedPair, ExchangeView, Mistake, StreamView

CARD = 96  # pixels: the pictures of cards
STREAM = 128  # pixels: the pictures of "What FARL sees"
# A page that grows without end is not read: each list is cut here, and the page says so.
MOST_MISTAKES, MOST_PAIRS, MOST_STREAMS, MOST_SKIPPED, MOST_CLASSES, MOST_CHANGES = 60, 24, 16, 200, 2000, 10
MOST_CONFUSION_CLASSES = 40
TOP_CONFUSED_CLASSES = 20


@dataclass(frozen=True)
class ConfusionCell:
    """One cell of the confusion matrix: a count and its share of the row's pictures in [0, 1]."""

    count: int
    share: float
    diagonal: bool


@dataclass(frozen=True)
class ConfusionView:
    """The part of a confusion matrix that is shown, and how many classes the whole has."""

    names: list[str]
    rows: list[list[ConfusionCell]]
    classes: int


def write_report(report: AdaptReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render(report))


def render(report: AdaptReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    return filled("adapt.html.j2", report=report, **_content(report))


def filled(template: str, **content: Any) -> str:
    """Return a page made from one of `templates/`; what it shows and is not given raises jinja2.UndefinedError."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for show in (words.percent, words.points, words.percent_span, words.point_span):
        environment.filters[show.__name__] = show
    return environment.get_template(template).render(version=__version__, **content)


def _content(report: AdaptReport) -> dict[str, Any]:
    """Return what the template shows beside the records themselves."""
    return {
        "overall": words.overall(report.comparisons),
        "summary": report.summary or words.headline(report.comparisons),
        "comparison_chart": _chart(report.comparisons),
        "domain_chart": _chart(report.domains),
        "most_rows": figures.MOST_ROWS,
        "curve_charts": figures.curve_charts(report.curves),
        "pairs": [pair_view(pair) for pair in report.confused[:MOST_PAIRS]],
        "mistakes": [mistake_view(mistake) for mistake in report.mistakes[:MOST_MISTAKES]],
        "confusion": confusion_view(report.confusion, report.confusion_names),
        "gains": _changes(report.classes, 1),
        "losses": _changes(report.classes, -1),
        "most_classes": MOST_CLASSES,
        "streams": [_stream(view) for view in report.streams[:MOST_STREAMS]],
        "heat_gradient": pictures.heat_gradient(),
        "sensitivity_chart": figures.sensitivity_chart(report.sensitivity) if report.sensitivity else "",
        "exchanges": [_exchange(view) for view in report.sensitivity.views] if report.sensitivity else [],
        "most_moved": _most_moved(report.classes),
        "most_skipped": MOST_SKIPPED,
    }


def _chart(comparisons: Sequence[Any]) -> str:
    return figures.comparison_chart(comparisons) if comparisons else ""


def pair_view(pair: ConfusedPair) -> dict[str, Any]:
    return {
        "pair": pair,
        "truth_uri": pictures.data_uri(pair.truth_picture, CARD),
        "predicted_uri": pictures.data_uri(pair.predicted_picture, CARD),
    }


def mistake_view(mistake: Mistake) -> dict[str, Any]:
    return {"mistake": mistake, "uri": pictures.data_uri(mistake.picture, CARD)}


def _stream(view: StreamView) -> dict[str, Any]:
    """Return a stream's name and its five pictures as (caption, description, data URI)."""
    shown = (
        ("Picture", "the picture itself", pictures.from_array(view.picture)),
        ("Phase only", "its phase alone", pictures.from_array(view.phase_only)),
        ("Amplitude only", "its amplitude alone", pictures.from_array(view.amplitude_only)),
        (
            "Structure attention",
            "where the structure tokens look",
            pictures.overlay(view.picture, view.structure_attention),
        ),
        ("Style attention", "where the style tokens look", pictures.overlay(view.picture, view.style_attention)),
    )
    return {
        "name": view.name,
        "pictures": [(caption, text, pictures.data_uri(image, STREAM)) for caption, text, image in shown],
    }


def _exchange(view: ExchangeView) -> dict[str, Any]:
    """Return an example's name and its three pictures as (caption, what it is taken for, data URI)."""
    captions = "Picture", "Another's amplitude", "Another's phase"
    shown = zip(captions, view.predicted, view.pictures, strict=True)
    return {
        "name": view.name,
        "pictures": [(c, taken, pictures.data_uri(pictures.from_array(image), STREAM)) for c, taken, image in shown],
    }


def _most_moved(rows: Sequence[ClassRow]) -> list[ClassRow]:
    """Return the classes whose predictions depend most on style."""
    measured = [row for row in rows if row.style is not None and row.structure is not None]
    return sorted(measured, key=lambda row: -(row.style or 0))[:MOST_CHANGES]


def _changes(rows: Sequence[ClassRow], sign: int) -> list[ClassRow]:
    """Return the classes that gained (``sign`` 1) or lost (-1) most, the biggest change first."""
    changed = [row for row in rows if sign * (row.adapted - row.zero_shot) > 0]
    return sorted(changed, key=lambda row: -sign * (row.adapted - row.zero_shot))[:MOST_CHANGES]


def confusion_view(counts: np.ndarray | None, names: Sequence[str]) -> ConfusionView | None:
    """Return the whole matrix of up to 40 classes; of a larger one, the 20 classes with the most errors."""
    if counts is None or not counts.size:
        return None
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"a confusion matrix of {len(names)} classes cannot have the shape {counts.shape}")
    kept = list(range(len(names)))
    if len(names) > MOST_CONFUSION_CLASSES:
        errors = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
        kept = sorted(np.argsort(-errors, kind="stable")[:TOP_CONFUSED_CLASSES].tolist())
    totals = np.maximum(counts.sum(1), 1)
    rows = [
        [ConfusionCell(int(counts[i, j]), float(counts[i, j] / totals[i]), bool(i == j)) for j in kept] for i in kept
    ]
    return ConfusionView([names[i] for i in kept], rows, len(names))
