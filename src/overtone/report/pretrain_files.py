"""The figures of a pre-training as files: a JSON, a CSV of the curves, and the model card."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import yaml

from ..files import write_atomically
from . import words
from .card import LIMITS, choices_table, inline, section, table
from .pretrain import PretrainReport
from .pretrain_page import write_pretrain_report
from .results import Interval
from .tables import write_skipped_csv

USE = "Adapt it to pictures of yours with `overtone adapt DATA --model` and this folder."


def write_pretrain_figures(report: PretrainReport, folder: Path) -> None:
    """Write the figures, for machines and as the page, into `folder`."""
    write_atomically(folder / "metrics.json", pretrain_json(report))
    write_atomically(folder / "curves.csv", curves_csv(report))
    write_skipped_csv(report.skipped, folder)
    write_pretrain_report(report, folder / "report.html")


def pretrain_json(report: PretrainReport) -> str:
    """Return recalls and accuracies with their 95 % intervals, in [0, 1], and the embeddings' metrics, as JSON."""
    metrics = {
        "title": report.title,
        "summary": report.summary,
        "retrieval": [dataclasses.asdict(found) for found in report.retrieval],
        "zero_shot": [dataclasses.asdict(score) for score in report.zero_shot],
        "spectrum": report.metrics,
        "skipped": len(report.skipped),
    }
    return json.dumps(metrics, indent=2, allow_nan=False) + "\n"


def curves_csv(report: PretrainReport) -> str:
    """Return one line a point of a curve: chart, curve, step and value."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["chart", "curve", "step", "value"])
    for title, panel in report.panels.items():
        for name, curve in panel.items():
            writer.writerows([title, name, f"{step:g}", f"{value:.6g}"] for step, value in curve)
    return text.getvalue()


def pretrain_card(report: PretrainReport, front: dict[str, Any]) -> str:
    """Return the model card: ``front`` as YAML front matter, then what it is, its figures, how it was made, limits."""
    header = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
    sections = (
        section("Use", USE),
        section("Retrieval", _retrieval(report)),
        section("Zero-shot classification", _zero_shot(report)),
        section("How it was made", choices_table(report.choices)),
        section("Limits", "\n".join(f"- {line}" for line in (*map(inline, report.notes), *LIMITS[:2]))),
    )
    opening = f"# {inline(report.title)}\n\n{inline(report.summary)}\n"
    return f"---\n{header}---\n\n" + "\n".join((opening, *filter(None, sections)))


def _retrieval(report: PretrainReport) -> str:
    if not report.retrieval:
        return ""
    ks = list(report.retrieval[0].recalls)
    rows = [
        (f"{found.direction}, {found.queries:,} among {found.among:,}", *map(_figure, found.recalls.values()))
        for found in report.retrieval
    ]
    return "Test pairs, with 95 % intervals.\n\n" + table(("Direction", *(f"R@{k}" for k in ks)), rows)


def _zero_shot(report: PretrainReport) -> str:
    rows = [
        (score.group, f"{score.pictures:,}", f"{score.names:,}", _figure(score.accuracy)) for score in report.zero_shot
    ]
    return table(("Pictures", "Count", "Names", "Top-1 (95 %)"), rows) if rows else ""


def _figure(interval: Interval) -> str:
    return f"{words.percent(interval.value)} ({words.percent_span(interval)})"
