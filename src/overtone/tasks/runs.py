"""Runs: the folder that a verb learns into, begun, gone on with and finished by every such verb in the same way."""

import contextlib
import dataclasses
import errno
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone import __version__
from overtone.errors import UserError
from overtone.files import write_atomically
from overtone.processes import process_number, processes
from overtone.tasks.folders import SETTINGS, read_settings, resolved_data, writable

if TYPE_CHECKING:
    from overtone.data import ImageSet, Splits

FINISHED = {
    "adapt": "adapter.json",
    "train": "classifier.json",
    "pretrain": "pretraining.json",
    "translate": "translator.json",  # `train --task translate`
}  # by verb, the file that it writes last
CHECKPOINTS = "checkpoints"
LEARNED = "learned_from.txt"  # a digest of each picture's bytes, so that it is known again under any name
IN_ONE_GO = "settings.json"  # of a run that is not gone on with: not SETTINGS, by which an interrupted one is known
FREE = ("out", "resume", "tensorboard")  # settings that may differ on resuming


@contextlib.contextmanager
def begun(config: Any, resolved: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder of a verb's run, made or gone on with; at the end its checkpoints go.

    `config` is the verb's, a dataclass with `data`, `out` and `resume` among its fields. They are written into the
    folder, and over them `resolved`: what the run made of those left open, and found in the data. All but FREE must be
    the same on resuming. Inside, the verb keeps its checkpoints in `folder / CHECKPOINTS`, and writes last the file
    that stands for it in FINISHED: a folder that holds it is whole. Where the work fails before there is a checkpoint,
    what was written is taken away. Of several processes, the first alone looks after the folder.

    Raises UserError for a folder that may not be written into, and KeyboardInterrupt that says how to go on.
    """
    if processes() > 1 and not config.out:
        raise UserError("With several processes, name the run folder with --out: they must agree on it.")
    folder = run_folder(config.data, config.out, config.resume)
    if process_number():
        yield folder
        return
    settings = {"overtone": __version__} | dataclasses.asdict(config) | {"data": resolved_data(config.data)} | resolved
    settings = {name: value for name, value in settings.items() if name not in FREE}
    check_begun(folder, config.resume, settings)
    with saying_how_to_go_on(folder), writable(folder, kept=f"{CHECKPOINTS}/*/trainer_state.json"):
        write_atomically(folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        yield folder
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def check_folder(config: Any) -> None:
    """Raise UserError for a folder that `begun` refuses whatever is in the data: before the data is read."""
    if not process_number():
        check_begun(run_folder(config.data, config.out, config.resume), config.resume, {})


@contextlib.contextmanager
def in_one_go(config: Any, data: str, resolved: dict[str, Any]) -> Iterator[Path]:
    """Yield the new folder of a run that is not gone on with, named after `data` unless by `config.out`.

    Its settings are those of `config`, and over them `resolved`. Where the work fails, what was written is taken away.
    Raises UserError for a folder that is not empty or may not be written into.
    """
    folder = run_folder(data, config.out, False)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {str(folder)!r} is not empty. Name a new folder with --out.")
    settings = {"overtone": __version__} | dataclasses.asdict(config) | resolved
    with writable(folder):
        write_atomically(folder / IN_ONE_GO, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        yield folder


def finished_by(folder: str | Path) -> str | None:
    """Return the verb whose finished run a folder holds; None when it holds none."""
    return next((verb for verb, last in FINISHED.items() if (Path(folder) / last).is_file()), None)


def write_learned(folder: Path, images: "ImageSet") -> None:
    """Write which pictures a run learned from."""
    from overtone.data.copies import digests

    write_atomically(folder / LEARNED, "".join(f"{digest}\n" for digest in digests(images.records) if digest))


def read_learned(folder: Path) -> frozenset[str] | None:
    """Return the digests of the pictures that a run learned from; None where it does not say."""
    file = folder / LEARNED
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else None


def read_description(folder: Path, verb: str, made_for: int) -> dict[str, Any]:
    """Return what the file says that stands last in a finished run of `verb`; UserError where its format is another.

    Raises OSError, ValueError, KeyError or TypeError where there is no such file, or it is not whole.
    """
    described: dict[str, Any] = json.loads((folder / FINISHED[verb]).read_text(encoding="utf-8"))
    if described["format"] != made_for:
        raise UserError(
            f"{str(folder)!r} was written by another Overtone (format {described['format']}, here {made_for}): "
            "train again, or use that one."
        )
    return described


def run_folder(data: str, out: str, resume: bool) -> Path:
    """Return the run's folder: the one named, else runs/<data>-N, a new one or with `resume` the last one."""
    if out:
        return Path(out)
    path = Path(data).resolve()
    name = (path.stem if path.is_file() else path.name) or "data"
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{max(1, number - resume)}"


def check_begun(folder: Path, resume: bool, settings: dict[str, Any]) -> None:
    """Raise UserError for a folder that holds anything else than what may be gone on with."""
    if finished_by(folder):
        raise UserError(
            f"{str(folder)!r} holds a finished run. Name another folder with --out, or remove {str(folder)!r}."
        )
    kept = read_settings(folder)
    if not resume and kept:
        raise UserError(f"{str(folder)!r} holds an interrupted run. Go on with --resume, or name another with --out.")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {str(folder)!r} is not empty and holds no run. Name a new folder with --out.")
    if resume and not kept:
        raise UserError(f"--resume: {str(folder)!r} holds no interrupted run. Name its folder with --out.")
    for name in settings if resume else ():
        if kept.get(name) != settings[name]:
            raise UserError(
                f"--resume: the run in {str(folder)!r} has {name} {kept.get(name)!r}, not {settings[name]!r}. "
                "Give the same settings, or start anew in another folder."
            )


@contextlib.contextmanager
def saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """Let an interruption, or a full disk, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(folder)) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        disks = f"that of {str(folder)!r} or of {tempfile.gettempdir()!r}"
        raise UserError(f"The disk is full, {disks}. Make room. {_how_to_go_on(folder)}") from error


def require_pictures(splits: "Splits", instead: str) -> None:
    """Raise UserError when a class has nothing to learn from; `instead` says how to do without it."""
    if not len(splits.train):
        raise UserError("There is no picture to learn from: the data has test pictures alone. Add a train level.")
    there = set(splits.train.labels)
    if empty := [name for label, name in enumerate(splits.train.classes) if label not in there]:
        raise UserError(
            f"No good picture to learn the class {empty[0]!r} from: {len(splits.skipped)} files are bad, the first "
            f"{splits.skipped[0].source!r}: {splits.skipped[0].reason}. Mend it, or {instead}."
        )


def _how_to_go_on(folder: Path) -> str:
    if read_settings(folder):
        return f"Go on with the same command and --resume --out {shlex.quote(str(folder))}"
    return "No epoch had ended, so nothing was kept: start again"
