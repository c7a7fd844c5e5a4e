"""`overtone evaluate`: score an adapter, a trained network or a translator on other data."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

from tyro.conf import Positional, arg

from overtone.errors import UserError, did_you_mean
from overtone.tasks.folders import read_settings, writable
from overtone.tasks.protocols import PROTOCOLS
from overtone.tasks.runs import LEARNED, finished_by, read_learned

if TYPE_CHECKING:
    from overtone.data import ImageSet, Tests
    from overtone.report import AdaptReport
    from overtone.report.training import TrainReport
    from overtone.report.translation import TranslationReport
    from overtone.tasks.judging import Part

UNKNOWN = f"The run has no {LEARNED}: where it learned from some of these pictures, the figures flatter it."
Report = Union["AdaptReport", "TrainReport", "TranslationReport"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a run on other data: an adapter against its backbone without adapting, a trained network or translator.

    To measure ways of adapting beside each other, a protocol's name takes the run's place: `overtone evaluate few-shot
    DATA...`, and so base-to-new, cross-dataset and domain-generalization. See its --help.
    """

    adapter: Positional[str]
    """The run folder that `overtone adapt` or `overtone train` wrote."""
    data: Positional[str]
    """As for adapt or train; its test part is scored, or all of it where it has none."""
    out: Annotated[str, arg(aliases=["-o"])] = ""
    """Write metrics.json, classes.csv (or translations.csv) and report.html into this folder."""
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    image_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of image paths; found by its name when not given."""
    label_column: Annotated[str | None, arg(metavar="STR")] = None
    """The table's column of class names; found by its name when not given."""


def evaluate(config: EvaluateConfig) -> Report:
    """Compare the adapter with its backbone on `config.data`; classes that it was not adapted to are scored as unseen.

    A trained network is scored on the pictures of its own classes, a translator on sentences of its languages. Raises
    UserError for what the user can mend.
    """
    from overtone.training import pick_device

    require_run(config.adapter)
    device = pick_device(config.device)
    score = score_sentences if finished_by(config.adapter) == "translate" else score_pictures
    with output(config) as write:
        report = score(config, device)
        write(report)
    return report


def score_pictures(config: EvaluateConfig, device: str) -> "AdaptReport | TrainReport":
    """Return the report on an adapter or a trained network."""
    from overtone.data import load_tests

    tests, notes = not_learned(load_tests(config.data, config.image_column, config.label_column), config)
    score = score_network if finished_by(config.adapter) == "train" else score_adapter
    return score(config, tests, notes, device)


def score_sentences(config: EvaluateConfig, device: str) -> "TranslationReport":
    """Return the report on a translator."""
    from overtone.tasks.translate_reporting import score_translator

    return score_translator(config, device)


def require_run(run: str) -> None:
    """Raise UserError for a protocol's name where no run is: misspelt, or behind an option."""
    if Path(run).exists() or not (near := did_you_mean(run, PROTOCOLS)):
        return
    said = "A protocol's name stands right behind `evaluate`." if run in PROTOCOLS else f"No protocol {run!r}.{near}"
    raise UserError(f"{said} For a run of yours, name its folder.")


def score_adapter(config: EvaluateConfig, tests: "Tests", notes: list[str], device: str) -> "AdaptReport":
    """Return the report on an adapter."""
    from overtone.data import check
    from overtone.farl import Adapter
    from overtone.report import Choice
    from overtone.tasks.reporting import build_report

    adapter = Adapter.load(config.adapter, config.model, device)
    images, bad = check(tests.images)
    how = f"fitted to {adapter.made['pictures']:,} pictures of {len(adapter.classes):,} classes"
    return build_report(
        title(config),
        adapter,
        divide(images.known_as(adapter.classes), adapter.classes),
        [*(Choice(*choice) for choice in tests.choices), Choice("adapter", config.adapter, how)],
        [*tests.skipped, *bad],
        notes,
    )


def score_network(config: EvaluateConfig, tests: "Tests", notes: list[str], device: str) -> "TrainReport":
    """Return the report on a trained network; pictures of classes that it does not know are left out."""
    from overtone.data.names import count, some
    from overtone.data.pixels import read_pixels
    from overtone.report import Choice
    from overtone.tasks.classifier import Classifier
    from overtone.tasks.scoring import training_report

    if config.model is not None:
        raise UserError(f"--model is the backbone of an adapter: {config.adapter!r} is a trained network and has none.")
    classifier = Classifier.load(config.adapter, device)
    known = tests.images.known_as(classifier.classes).relabelled(classifier.classes)
    if not len(known):
        raise UserError(
            f"No picture in {config.data!r} is of a class of {config.adapter!r}: it knows {some(classifier.classes)}, "
            f"and the data has {some(tests.images.classes)}."
        )
    pixels, bad = read_pixels(known, classifier.framing, device)
    if left := len(tests.images) - len(known):
        notes = [*notes, f"{count(left, 'picture')} of classes that the network does not know are left out."]
    choices = [*(Choice(*choice) for choice in tests.choices), Choice("network", config.adapter, "named by you")]
    report = training_report(title(config), classifier, pixels, choices, notes)
    report.skipped = [*tests.skipped, *bad]
    return report


def title(config: EvaluateConfig) -> str:
    """Return what was scored on what."""
    return f"{config.adapter} on {config.data}"


def divide(images: "ImageSet", adapted_to: tuple[str, ...]) -> "list[tuple[ImageSet, Part]]":
    """Return the pictures of the adapter's classes, to be scored among all of these, and those of other classes."""
    others = [name for name in images.classes if name not in adapted_to]
    parts: list[tuple[ImageSet, Part]] = [
        (images.relabelled(adapted_to), "seen"),
        (images.relabelled(others), "unseen"),
    ]
    return [(part, kind) for part, kind in parts if len(part)]


def not_learned(tests: "Tests", config: EvaluateConfig) -> "tuple[Tests, list[str]]":
    """Return the pictures that the run did not learn from, and a note where that cannot be known.

    A picture is known by its bytes, wherever it lies now. Raises UserError where none is left.
    """
    from overtone.data.copies import digests
    from overtone.data.names import count

    learned = read_learned(Path(config.adapter))
    if learned is None:
        return tests, [UNKNOWN]
    if tests.published:
        return tests, []
    kept = [row for row, digest in enumerate(digests(tests.images.records)) if digest not in learned]
    left = len(tests.images) - len(kept)
    if not left:
        return tests, []
    if not kept:
        raise UserError(
            f"{config.adapter!r} has learned from every picture of {config.data!r} ({left:,}): give others to judge it."
        )
    choice = ("test pictures left out", count(left, "picture"), f"{config.adapter!r} has learned from them")
    return replace(tests, images=tests.images.select(kept), choices=(*tests.choices, choice)), []


@contextlib.contextmanager
def output(config: EvaluateConfig) -> Iterator[Callable[[Report], None]]:
    """Yield what writes the report: nothing without `--out`, whose folder is otherwise tried at once."""
    folder = Path(config.out)
    if not config.out:
        yield lambda report: None
        return
    if finished_by(folder) or read_settings(folder):
        raise UserError(f"--out {config.out!r} holds a run: name another folder.")
    with writable(folder):
        yield lambda report: _write(report, folder)


def _write(report: Report, folder: Path) -> None:
    from overtone.report import AdaptReport
    from overtone.report.training_files import write_training_figures
    from overtone.report.translation import TranslationReport
    from overtone.report.translation_files import write_translation_figures
    from overtone.tasks.reporting import write_figures

    if isinstance(report, AdaptReport):
        write_figures(report, folder)
    elif isinstance(report, TranslationReport):
        write_translation_figures(report, folder)
    else:
        write_training_figures(report, folder)
