"""`overtone evaluate`: score an adapter on other data."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.folders import read_settings, resolved_data, writable

if TYPE_CHECKING:
    from overtone.data import ImageSet
    from overtone.report import AdaptReport
    from overtone.tasks.judging import Part


@dataclass(frozen=True)
class EvaluateConfig:
    """Score an adapter on other data, against its backbone without adapting."""

    adapter: Positional[str]
    """The run folder that `overtone adapt` wrote."""
    data: Positional[str]
    """As for adapt; its test pictures are scored, or all of them where it has no test level."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """Write metrics.json, classes.csv and report.html into this folder."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of image paths; found by its name when not given."""
    label_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of class names; found by its name when not given."""


def evaluate(config: EvaluateConfig) -> "AdaptReport":
    """Compare the adapter with its backbone on `config.data`; classes that it was not adapted to are scored as unseen.

    Raises UserError for what the user can mend.
    """
    from overtone.data import check, load_tests
    from overtone.farl import Adapter
    from overtone.report import Choice
    from overtone.tasks.reporting import build_report
    from overtone.training import pick_device

    device = pick_device(config.device)
    tests = load_tests(config.data, config.image_column, config.label_column)
    with output(config) as write:
        adapter = Adapter.load(config.adapter, config.model, device)
        images, bad = check(tests.images)
        how = f"fitted to {adapter.made['pictures']:,} pictures of {len(adapter.classes):,} classes"
        report = build_report(
            f"{config.adapter} on {config.data}",
            adapter,
            divide(images, adapter.classes),
            [*(Choice(*choice) for choice in tests.choices), Choice("adapter", config.adapter, how)],
            [*tests.skipped, *bad],
            [] if tests.set_apart else own_pictures(config),
        )
        write(report)
    return report


def divide(images: "ImageSet", adapted_to: tuple[str, ...]) -> "list[tuple[ImageSet, Part]]":
    """Return the pictures of the adapter's classes, to be scored among all of these, and those of other classes."""
    others = [name for name in images.classes if name not in adapted_to]
    parts: list[tuple[ImageSet, Part]] = [
        (images.relabelled(adapted_to), "seen"),
        (images.relabelled(others), "unseen"),
    ]
    return [(part, kind) for part, kind in parts if len(part)]


def own_pictures(config: EvaluateConfig) -> list[str]:
    """Return a warning where the adapter was fitted to pictures of the very data that it is judged on."""
    if read_settings(Path(config.adapter)).get("data") != resolved_data(config.data):
        return []
    return ["The adapter was fitted to some of these very pictures: the figures flatter it."]


@contextlib.contextmanager
def output(config: EvaluateConfig) -> Iterator["Callable[[AdaptReport], None]"]:
    """Yield what writes the report: nothing without `--out`, whose folder is otherwise tried at once."""
    from overtone.tasks.reporting import write_figures

    folder = Path(config.out)
    if not config.out:
        yield lambda report: None
        return
    if (folder / "adapter.json").exists() or read_settings(folder):
        raise UserError(f"--out {config.out!r} holds a run of adapt: name another folder.")
    with writable(folder):
        yield lambda report: write_figures(report, folder)
