"""`overtone evaluate`: score an adapter on other data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from overtone.data import ImageSet, Splits
    from overtone.report import AdaptReport


@dataclass(frozen=True)
class EvaluateConfig:
    """Score an adapter on other data, against its backbone without adapting."""

    adapter: Positional[str]
    """The run folder that `overtone adapt` wrote."""
    data: Positional[str]
    """As for adapt; its test pictures are scored, or all of them where it has no test level."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """Write metrics.json, classes.csv and report.html into this folder."""
    model: str | None = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    image_column: str | None = None
    """The table's column of image paths; found by its name when not given."""
    label_column: str | None = None
    """The table's column of class names; found by its name when not given."""


def evaluate(config: EvaluateConfig) -> "AdaptReport":
    """Compare the adapter with its backbone on `config.data`; classes that it was not adapted to are scored as unseen.

    Raises UserError for what the user can mend.
    """
    from overtone.data import check_splits, load
    from overtone.farl import Adapter
    from overtone.report import Choice
    from overtone.tasks.judging import score
    from overtone.tasks.reporting import build_report
    from overtone.training import pick_device

    adapter = Adapter.load(config.adapter, config.model, pick_device(config.device))
    splits = check_splits(load(config.data, 0, None, config.image_column, config.label_column))
    scored = [score(adapter, images, part) for images, part in divide(splits, adapter.classes)]
    choices = [Choice(*choice) for choice in splits.choices]
    choices.append(Choice("adapter", config.adapter, f"fitted to {adapter.made['pictures']} pictures"))
    report = build_report(f"{config.adapter} on {config.data}", adapter, scored, choices, list(splits.skipped))
    if config.out:
        write_evaluation(Path(config.out), report)
    return report


def divide(splits: "Splits", adapted_to: tuple[str, ...]) -> list[tuple["ImageSet", str]]:
    """Return the test pictures of the adapter's classes, scored among all of these, and those of other classes."""
    from overtone.data import ImageSet

    sets = [images for images in (splits.test, splits.unseen) if images is not None]
    seen = [images.relabelled(adapted_to) for images in sets]
    others = [name for name in dict.fromkeys(n for images in sets for n in images.classes) if name not in adapted_to]
    unseen = [images.relabelled(others) for images in sets]
    parts = ((seen, adapted_to, "seen"), (unseen, tuple(others), "unseen"))
    joined = [(ImageSet(tuple(r for s in group for r in s.records), names), part) for group, names, part in parts]
    return [(images, part) for images, part in joined if len(images)]


def write_evaluation(folder: Path, report: "AdaptReport") -> None:
    """Write the figures and the page."""
    from overtone.report import write_classes_csv, write_metrics_json, write_report

    folder.mkdir(parents=True, exist_ok=True)
    write_metrics_json(report, folder / "metrics.json")
    write_classes_csv(report.classes, folder / "classes.csv")
    write_report(report, folder / "report.html")
