"""Measuring the cells of a protocol: each is kept in a small file as soon as it is there."""

import dataclasses
import hashlib
import json
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from overtone.data import BadImage, ImageSet, Record
from overtone.errors import UserError
from overtone.farl import default_templates
from overtone.farl.methods import Fitted, method
from overtone.files import write_atomically
from overtone.models.backbone import Backbone
from overtone.progress import shown
from overtone.tasks.folders import disk_full
from overtone.tasks.protocol_plan import Cell, Exam, Lesson, Plan

CELLS, LOG = "cells", "log.txt"


@dataclass(frozen=True)
class Outcome:
    """What a cell gave: the accuracy of each exam in [0, 1], or none where its classes cannot be scored."""

    accuracy: dict[str, float | None]
    pictures: dict[str, int]
    settings: dict[str, str]


def measure_all(
    plan: Plan, backbone: Backbone, device: str, folder: Path
) -> tuple[dict[Cell, Outcome], dict[Cell, dict[str, str]]]:
    """Return the outcomes of the cells, those kept in `folder` and those measured now, and why which exams failed.

    Raises UserError for a kept cell that was measured on other pictures, and OSError for a full disk.
    """
    (folder / CELLS).mkdir(exist_ok=True)
    outcomes = {cell: kept for cell in plan.cells if (kept := read_cell(folder, cell, plan))}
    failures: dict[Cell, dict[str, str]] = {}
    for cell in shown([cell for cell in plan.cells if cell not in outcomes], "cells"):
        lesson = plan.lesson(cell, default_templates(backbone.name))
        outcome, why = measure(cell, lesson, backbone, device, folder)
        if why:
            failures[cell] = why
        if outcome.accuracy:
            outcomes[cell] = outcome
            write_cell(folder, cell, outcome, plan)
            _log(folder, f"{cell}: {json.dumps(outcome.accuracy, ensure_ascii=False)}\n")
    return outcomes, failures


def measure(
    cell: Cell, lesson: Lesson, backbone: Backbone, device: str, folder: Path
) -> tuple[Outcome, dict[str, str]]:
    """Adapt and judge; return what came of it, and why exams failed: all of them where adapting did."""
    accuracy: dict[str, float | None] = {}
    why: dict[str, str] = {}
    try:
        fitted = method(cell.method).fit(backbone, lesson.train, lesson.val, lesson.templates, cell.seed, device)
    except Exception as error:  # whatever it is, the other cells go on
        reason = _noted(error, str(cell), (lesson.train, lesson.val), folder)
        return Outcome({}, {}, {}), dict.fromkeys(lesson.exams, reason)
    for name, exam in lesson.exams.items():
        try:
            accuracy[name] = accuracy_of(fitted, exam, lesson.train.classes)
        except Exception as error:  # as above
            why[name] = _noted(error, f"{cell}, scored on {name}", (exam.images,), folder)
    pictures = {name: len(lesson.exams[name].images) for name in accuracy}
    return Outcome(accuracy, pictures, dict(fitted.settings)), why


def accuracy_of(fitted: Fitted, exam: Exam, learned: Iterable[str]) -> float | None:
    """Return top-1 accuracy over all pictures; none where there are classes that the model cannot score."""
    images = exam.images
    if not fitted.open and not set(images.classes) <= set(learned):
        return None
    probabilities = fitted.probabilities(fitted.encode(images), images.classes, exam.templates)
    if not probabilities.isfinite().all():
        raise FloatingPointError("the probabilities are not finite: the adaptation diverged")
    return (probabilities.argmax(-1).cpu() == torch.tensor(images.labels)).double().mean().item()


def read_cell(folder: Path, cell: Cell, plan: Plan) -> Outcome | None:
    """Return what a cell gave before; none where it is not there, or lacks an exam of this plan."""
    file = folder / CELLS / _name(cell)
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        fields = [kept[field.name] for field in dataclasses.fields(Outcome)]
        before, accuracy = dict(kept["data_digests"]), dict(kept["accuracy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for name, digest in plan.involved(cell).items():
        if before.get(name, digest) != digest:
            raise UserError(
                f"{str(file)!r} was measured on other pictures than {name} has now. Name another folder with --out, or "
                "remove that file."
            )
    return Outcome(*fields) if set(plan.exams) <= set(accuracy) else None


def write_cell(folder: Path, cell: Cell, outcome: Outcome, plan: Plan) -> None:
    """Keep what a cell gave."""
    record = dataclasses.asdict(cell) | {"data_digests": plan.involved(cell)} | dataclasses.asdict(outcome)
    write_atomically(folder / CELLS / _name(cell), json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _name(cell: Cell) -> str:
    """Return a file's name for a cell: readable, and different for different cells."""
    words = f"{cell.method} {Path(cell.data).name[-60:]} shots-{cell.shots} seed-{cell.seed}"
    short = hashlib.sha256(repr(cell).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9+.-]+', '_', words)}_{short}.json"


def _noted(error: Exception, what: str, sets: Iterable[ImageSet | None], folder: Path) -> str:
    """Write to the log what failed, and return why in one line; a full disk is raised, as nothing can be kept then."""
    if disk_full(error, folder):
        raise error
    said = " ".join(str(error).split())[:300]
    reason = said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
    if isinstance(error, BadImage):
        records = (record for images in sets if images for record in images.records)
        source = next((record.source for record in records if _is_bad(record)), "a picture")
        reason = f"{source}: {said}"
    _log(folder, f"{what}: failed: {reason}\n{''.join(traceback.format_exception(error))}")
    return reason


def _is_bad(record: Record) -> bool:
    try:
        record.open()
    except BadImage:
        return True
    return False


def _log(folder: Path, text: str) -> None:
    with (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace") as log:
        log.write(text)
