"""A report as files for machines: a CSV of the classes, a JSON of the comparisons and a CSV of what was skipped."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overtone.data import Skipped

from ..files import write_atomically
from . import words
from .results import AdaptReport, ClassRow

SKIPPED = "skipped.csv"


def write_classes_csv(rows: Sequence[ClassRow], path: Path) -> Path:
    """Write one line a class: its part, its pictures, both accuracies and adapted - zero-shot, in [0, 1].

    Where the class was measured, how far predictions move with another picture's amplitude (style) and phase
    (structure) follow, in [0, 1] too.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "part", "pictures", "zero_shot", "adapted", "difference", "style", "structure"])
    for row in rows:
        shares = (row.zero_shot, row.adapted, row.adapted - row.zero_shot)
        moved = ("" if share is None else f"{share:.6f}" for share in (row.style, row.structure))
        writer.writerow([row.name, row.part, row.pictures, *(f"{share:.6f}" for share in shares), *moved])
    return write_atomically(path, text.getvalue())


def write_skipped_csv(skipped: Sequence[Skipped], folder: Path) -> None:
    """Write one line an input that could not be used, its source and the reason, into `folder`; no file for none."""
    if not skipped:
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "reason"])
    writer.writerows([item.source, item.reason] for item in skipped)
    write_atomically(folder / SKIPPED, text.getvalue())


def write_metrics_json(report: AdaptReport, path: Path) -> Path:
    """Write the overall verdict and every comparison with its intervals, in [0, 1], as plain JSON."""
    metrics: dict[str, Any] = {
        "title": report.title,
        "summary": report.summary,
        "verdict": words.overall(report.comparisons),
        "comparisons": [dataclasses.asdict(comparison) for comparison in report.comparisons],
        "domains": [dataclasses.asdict(comparison) for comparison in report.domains],
    }
    if report.sensitivity:
        parts = {name: dataclasses.asdict(getattr(report.sensitivity, name)) for name in ("style", "structure")}
        metrics["sensitivity"] = {"pictures": report.sensitivity.pictures, **parts}
    return write_atomically(path, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
