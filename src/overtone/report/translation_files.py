"""The figures of a translator as files: every translation as CSV, the scores as JSON, and the model card."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import write_atomically
from .card import choices_table, inline, section, table
from .tables import write_skipped_csv
from .translation import Score, TranslatedSentence, TranslationReport
from .translation_page import write_translation_report

USE = 'Translate with `overtone predict RUN "a sentence"`, or `overtone predict RUN file.txt` for a file line by line.'
LIMITS = (
    "The intervals say how far a figure could move with other test sentences of the same kind, not with another seed.",
    "A score on one kind of text says nothing about another: `overtone evaluate`.",
)


def write_translation_figures(report: TranslationReport, folder: Path) -> None:
    """Write the figures, for machines and as the page, into `folder`."""
    write_atomically(folder / "metrics.json", translation_json(report))
    write_atomically(folder / "translations.csv", translations_csv(report.sentences))
    write_skipped_csv(report.skipped, folder)
    write_translation_report(report, folder / "report.html")


def translation_json(report: TranslationReport) -> str:
    """Return the scores, 0 to 100, with half their 95 % intervals and signatures, as plain JSON."""
    metrics = {
        "title": report.title,
        "summary": report.summary,
        "languages": [report.source_language, report.target_language],
        "sentences": len(report.sentences),
        "scores": {score.name: dataclasses.asdict(score) for score in report.scores},
        "skipped": len(report.skipped),
    }
    return json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def translations_csv(sentences: Sequence[TranslatedSentence]) -> str:
    """Return one line a test sentence: its number, chrF, source, translation and reference."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "chrf", "source", "translation", "reference"])
    writer.writerows([s.number, f"{s.chrf:.2f}", s.source, s.translation, s.reference] for s in sentences)
    return text.getvalue()


def translation_card(report: TranslationReport, front: dict[str, Any]) -> str:
    """Return the model card: ``front`` as YAML front matter, then what it is, its figures, how it was made, limits."""
    header = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
    figures = table(("Score", "Value (95 %)", "Computed by"), [_row(score) for score in report.scores])
    sections = (
        section("Use", USE),
        section("Figures", f"On {len(report.sentences):,} test sentences.\n\n{figures}"),
        section("How it was made", choices_table(report.choices)),
        section("Limits", "\n".join(f"- {line}" for line in (*map(inline, report.notes), *LIMITS))),
    )
    opening = f"# {inline(report.title)}\n\n{inline(report.summary)}\n"
    return f"---\n{header}---\n\n" + "\n".join((opening, *filter(None, sections)))


def _row(score: Score) -> tuple[str, str, str]:
    spread = "" if score.half_width is None else f" ± {score.half_width:.1f}"
    return score.name, f"{score.value:.1f}{spread}", score.signature
