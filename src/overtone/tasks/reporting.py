"""Make the records of a report from scored pictures."""

from collections.abc import Sequence
from pathlib import Path

from overtone.data import ImageSet, Skipped
from overtone.errors import UserError
from overtone.farl import Adapter
from overtone.report import AdaptReport, Choice, headline, write_classes_csv, write_metrics_json, write_report
from overtone.report.tables import write_skipped_csv
from overtone.tasks import judging, sensitivity
from overtone.tasks.judging import Part

LARGEST_MATRIX = 40  # classes
BOTH = "Seen classes are scored among themselves and unseen ones among themselves, as the field does."


def build_report(
    title: str,
    adapter: Adapter,
    parts: Sequence[tuple[ImageSet, Part]],
    choices: list[Choice],
    skipped: list[Skipped],
    notes: Sequence[str] = (),
) -> AdaptReport:
    """Score the adapter on each part and return the report on it.

    Raises UserError when nothing can be scored: one class alone is always right.
    """
    alone = [images.classes[0] for images, _ in parts if len(images.classes) == 1]
    scored = [judging.score(adapter, images, part) for images, part in parts if len(images.classes) > 1]
    if not scored:
        raise UserError(f"One class alone, {alone[0]!r}, none of the adapter's: to tell pictures apart takes two.")
    rows = judging.comparisons(scored)
    seen = next((s for s in scored if s.part == "seen"), None)
    measured = [part for s in scored if (part := sensitivity.of_adapter(adapter, s.images, s.part))]
    matrix = seen if seen is not None and len(seen.images.classes) <= LARGEST_MATRIX else None
    return AdaptReport(
        title=title,
        summary=headline(rows),
        comparisons=rows,
        domains=judging.domain_comparisons(scored),
        classes=sensitivity.with_scores(judging.class_rows(scored), measured),
        confused=judging.confused(scored),
        mistakes=judging.mistakes(scored),
        confusion=judging.confusion(matrix) if matrix else None,
        confusion_names=list(matrix.images.classes) if matrix else [],
        streams=judging.stream_views(adapter, scored[0].images),
        sensitivity=sensitivity.sensitivity(measured),
        choices=choices,
        skipped=skipped,
        notes=[
            *notes,
            *adapter.notes,
            *([BOTH] if len(scored) > 1 else []),
            *(f"The one unseen class, {name!r}, is left out: alone it would always be right." for name in alone),
        ],
    )


def write_figures(report: AdaptReport, folder: Path) -> None:
    """Write the figures, for machines and as the page, into `folder`."""
    write_metrics_json(report, folder / "metrics.json")
    write_classes_csv(report.classes, folder / "classes.csv")
    write_skipped_csv(report.skipped, folder)
    write_report(report, folder / "report.html")
