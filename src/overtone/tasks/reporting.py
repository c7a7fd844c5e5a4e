"""Make the records of a report from scored pictures."""

from collections.abc import Sequence

from overtone.data import Skipped
from overtone.farl import Adapter
from overtone.report import AdaptReport, Choice, headline
from overtone.tasks import judging
from overtone.tasks.judging import Scored

LARGEST_MATRIX = 40  # classes


def build_report(
    title: str, adapter: Adapter, scored: Sequence[Scored], choices: list[Choice], skipped: list[Skipped]
) -> AdaptReport:
    """Return the report on `scored`, at most one part each."""
    rows = judging.comparisons(scored)
    seen = next((s for s in scored if s.part == "seen"), None)
    matrix = seen is not None and len(seen.images.classes) <= LARGEST_MATRIX
    return AdaptReport(
        title=title,
        summary=headline(rows),
        comparisons=rows,
        domains=judging.domain_comparisons(scored),
        classes=judging.class_rows(scored),
        confused=judging.confused(scored),
        mistakes=judging.mistakes(scored),
        confusion=judging.confusion(seen) if seen is not None and matrix else None,
        confusion_names=list(seen.images.classes) if seen is not None and matrix else [],
        streams=judging.stream_views(adapter, scored[0].images),
        choices=choices,
        skipped=skipped,
        notes=[
            "Classes that were adapted to are scored among themselves, unseen ones among themselves, as the field does.",
        ],
    )
