"""The one-page report of a pre-training, in the dress of the other reports."""

from pathlib import Path

from ..files import write_atomically
from .figures import step_charts
from .page import MOST_SKIPPED, filled
from .pretrain import PretrainReport

SHARES = ("Pictures to texts", "Texts to pictures", "Zero-shot accuracy", "Dimensions of signal")  # charts in percent


def write_pretrain_report(report: PretrainReport, path: Path) -> Path:
    """Write the report as one HTML page and return its path; a page that cannot be written raises ``OSError``."""
    return write_atomically(path, render_pretrain(report))


def render_pretrain(report: PretrainReport) -> str:
    """Return the page: the same report gives the same text, and a section without content is left out."""
    charts = step_charts(report.panels, SHARES)
    return filled("pretrain.html.j2", report=report, curve_charts=charts, most_skipped=MOST_SKIPPED)
