"""The figures of an inspection as files: everything as JSON, and CSVs of metrics, spectra and retrieval."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from overtone.spectral import METRICS

from ..files import write_atomically
from .inspect_page import write_inspect_report
from .inspect_results import InspectReport, Spectrum, Worth
from .tables import write_skipped_csv

MEANINGS = METRICS | {"rows": "rows that were used, copies included"}


def write_inspection(report: InspectReport, folder: Path) -> None:
    """Write the figures, for machines and as the page, into `folder`."""
    write_atomically(folder / "inspect.json", inspect_json(report))
    metrics = ((name, value, MEANINGS[name.split("/")[-1]]) for name, value in report.metrics.items())
    write_atomically(folder / "metrics.csv", _csv(("metric", "value", "meaning"), metrics))
    rows = (row for spectrum in report.spectra for row in _spectrum_rows(spectrum))
    write_atomically(folder / "spectra.csv", _csv(("side", "view", "i", "singular_value", "part"), rows))
    if report.worth:
        rows = (row for worth in report.worth for row in _worth_rows(worth))
        columns = ("kept", "directions", "measure", "k", "value", "low", "high")
        write_atomically(folder / "worth.csv", _csv(columns, rows))
    write_skipped_csv(report.skipped, folder)
    write_inspect_report(report, folder / "report.html")


def inspect_json(report: InspectReport) -> str:
    """Return metrics, readings, and what the noise directions are worth, as plain JSON."""
    found = {
        "title": report.title,
        "summary": report.summary,
        "rows": report.rows,
        "sampled": report.sampled,
        "skipped": len(report.skipped),
        "metrics": report.metrics,
        "readings": [dataclasses.asdict(reading) for reading in report.readings],
        "tasks": {way: dataclasses.asdict(task) for way, task in report.tasks.items()},
        "worth": [dataclasses.asdict(worth) for worth in report.worth],
    }
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _spectrum_rows(spectrum: Spectrum) -> Iterator[Sequence[Any]]:
    parts = spectrum.parts
    names = ["strong"] * parts.strong.count + ["weak"] * parts.weak.count + ["noise"] * parts.noise.count
    for i, (value, part) in enumerate(zip(parts.values.tolist(), names, strict=True), 1):
        yield spectrum.about, spectrum.view, i, f"{value:.8g}", part


def _worth_rows(worth: Worth) -> Iterator[Sequence[Any]]:
    directions = " ".join(f"{side}:{number}" for side, number in worth.directions.items())
    for way, recall in worth.recall.items():
        for k, share in recall.at.items():
            yield worth.kept, directions, f"recall {way}", k, share.value, share.low, share.high
    for k, kept in worth.neighbours.items():
        yield worth.kept, directions, "neighbours kept", k, kept, "", ""


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
