"""The model card of an adapter, in Markdown, from the same records as the page."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from . import words
from .results import AdaptReport, Choice, ClassRow, Comparison

LIMITS = (
    "The intervals say how far a figure could move with other test pictures of the same kind, not with another seed.",
    "Pictures from another source, camera or style than those tested may do better or worse: `overtone evaluate`.",
    "A probability is the model's own and was not calibrated unless a choice above says so.",
)


def model_card(report: AdaptReport, front: dict[str, Any]) -> str:
    """Return the card: ``front`` as YAML front matter, then what it is, its data, figures, choices and limits."""
    header = yaml.safe_dump(front, allow_unicode=True, sort_keys=False) if front else ""
    sections = (
        section("Data", _data(report)),
        section("Figures", _figures([*report.comparisons, *report.domains])),
        section("How it was made", choices_table(report.choices)),
        section("Limits", "\n".join(f"- {line}" for line in (*map(inline, report.notes), *LIMITS))),
    )
    summary = inline(report.summary or words.headline(report.comparisons))
    opening = f"# {inline(report.title)}\n\n{summary}\n"
    return (f"---\n{header}---\n\n" if header else "") + "\n".join((opening, *filter(None, sections)))


def section(title: str, content: str) -> str:
    """Return a section, or nothing when it has no content."""
    return f"## {title}\n\n{content}\n" if content else ""


def _data(report: AdaptReport) -> str:
    lines = [_classes(report.classes)] if report.classes else []
    lines += [
        f"{comparison.group}: {comparison.pictures:,} test pictures"
        for comparison in report.comparisons
        if comparison.group != words.HARMONIC_MEAN
    ]
    if report.skipped:
        lines.append(f"{len(report.skipped):,} inputs were skipped because they could not be used")
    return "\n".join(f"- {inline(line)}." for line in lines)


def _classes(rows: Sequence[ClassRow]) -> str:
    seen = sum(row.part == "seen" for row in rows)
    return f"{seen:,} classes seen in adapting, {len(rows) - seen:,} tested without having been seen"


def _figures(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    rows = [
        (
            comparison.group,
            f"{comparison.pictures:,}",
            f"{words.percent(comparison.zero_shot.value)} ({words.percent_span(comparison.zero_shot)})",
            f"{words.percent(comparison.adapted.value)} ({words.percent_span(comparison.adapted)})",
            f"{words.points(comparison.difference.value)} ({words.point_span(comparison.difference)})",
            comparison.verdict,
        )
        for comparison in comparisons
    ]
    heads = ("Test pictures", "Count", "Zero-shot", "Adapted", "Difference in points", "Verdict")
    return "Top-1 accuracy with 95 % intervals.\n\n" + table(heads, rows)


def choices_table(choices: Sequence[Choice]) -> str:
    rows = [(choice.what, choice.value, choice.how) for choice in choices]
    return table(("Choice", "Value", "How it was made"), rows) if rows else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([inline(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def inline(text: str) -> str:
    """Return text on one line with Markdown's and HTML's signs made harmless: names come from users."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))
