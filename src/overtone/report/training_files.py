"""The figures of a training as files: a CSV of the classes, a JSON, and the model card."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import write_atomically
from . import words
from .card import LIMITS, choices_table, inline, section, table
from .results import Interval
from .tables import write_skipped_csv
from .training import ClassScore, TrainReport
from .training_page import write_training_report


def write_training_figures(report: TrainReport, folder: Path) -> None:
    """Write the figures, for machines and as the page, into `folder`."""
    write_atomically(folder / "metrics.json", metrics_json(report))
    write_atomically(folder / "classes.csv", classes_csv(report.classes))
    write_skipped_csv(report.skipped, folder)
    write_training_report(report, folder / "report.html")


def metrics_json(report: TrainReport) -> str:
    """Return the accuracies with their 95 % intervals, in [0, 1], and the number of test pictures, as plain JSON."""
    metrics = {
        "title": report.title,
        "summary": report.summary,
        "pictures": report.pictures,
        "top1": dataclasses.asdict(report.top1),
        "top5": dataclasses.asdict(report.top5) if report.top5 else None,
    }
    return json.dumps(metrics, indent=2, allow_nan=False) + "\n"


def classes_csv(rows: Sequence[ClassScore]) -> str:
    """Return one line a class: its test pictures, and the share of them that is told right, in [0, 1]."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "pictures", "accuracy"])
    writer.writerows([row.name, row.pictures, f"{row.accuracy:.6f}"] for row in rows)
    return text.getvalue()


def training_card(report: TrainReport, front: dict[str, Any]) -> str:
    """Return the model card: ``front`` as YAML front matter, then what it is, its figures, how it was made, limits."""
    header = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
    figures = [("Top-1", _figure(report.top1))] + ([("Top-5", _figure(report.top5))] if report.top5 else [])
    sections = (
        section("Figures", f"On {report.pictures:,} test pictures.\n\n{table(('Accuracy', '95 % interval'), figures)}"),
        section("How it was made", choices_table(report.choices)),
        section("Limits", "\n".join(f"- {line}" for line in (*map(inline, report.notes), *LIMITS))),
    )
    opening = f"# {inline(report.title)}\n\n{inline(report.summary)}\n"
    return f"---\n{header}---\n\n" + "\n".join((opening, *filter(None, sections)))


def _figure(interval: Interval) -> str:
    return f"{words.percent(interval.value, 2)} ({words.percent_span(interval)})"
