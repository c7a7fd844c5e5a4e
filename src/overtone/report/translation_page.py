"""The one-page report of a translator, in the dress of the other reports."""

from pathlib import Path
from typing import Any

from ..files import write_atomically
from .figures import step_charts
from .frequencies import frequency_chart
from .page import MOST_SKIPPED, filled
from .training import FrequencyMap
from .translation import TranslationReport

MOST_WORST = 20


def write_translation_report(report: TranslationReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render_translation(report))


def render_translation(report: TranslationReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    return filled(
        "translate.html.j2",
        report=report,
        curve_charts=step_charts(report.panels),
        worst=sorted(report.sentences, key=lambda sentence: sentence.chrf)[:MOST_WORST],
        frequencies=[_frequencies(found) for found in report.frequencies],
        most_skipped=MOST_SKIPPED,
    )


def _frequencies(found: FrequencyMap) -> dict[str, Any]:
    """Return a layer's choice as a chart: 0 in the middle, and a frequency's twin on the other side of it."""
    text = f"{found.kept.sum()} of {found.kept.size} bins"
    return {"layer": found.layer, "text": text, "chart": frequency_chart(found.kept, text)}
