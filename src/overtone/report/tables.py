"""The figures of a report as files for machines: a CSV of the classes and a JSON of the comparisons."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ..files import write_atomically
from . import words
from .results import AdaptReport, ClassRow


def write_classes_csv(rows: Sequence[ClassRow], path: Path) -> Path:
    """Write one line a class: its part, its pictures, both accuracies and adapted - zero-shot, in [0, 1]."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "part", "pictures", "zero_shot", "adapted", "difference"])
    for row in rows:
        shares = (row.zero_shot, row.adapted, row.adapted - row.zero_shot)
        writer.writerow([row.name, row.part, row.pictures, *(f"{share:.6f}" for share in shares)])
    return write_atomically(path, text.getvalue())


def write_metrics_json(report: AdaptReport, path: Path) -> Path:
    """Write the overall verdict and every comparison with its intervals, in [0, 1], as plain JSON."""
    metrics = {
        "title": report.title,
        "summary": report.summary,
        "verdict": words.overall(report.comparisons),
        "comparisons": [dataclasses.asdict(comparison) for comparison in report.comparisons],
        "domains": [dataclasses.asdict(comparison) for comparison in report.domains],
    }
    return write_atomically(path, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
