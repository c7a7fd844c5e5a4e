"""`overtone predict` on a translator: text, and files line by line."""

import errno
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from overtone.errors import UserError

if TYPE_CHECKING:
    from overtone.tasks.predict import PredictConfig
    from overtone.tasks.translator import Translator

BATCH = 64  # lines of a file at once
STANDARD_INPUT = "-"
NOT_FOR_TEXT = {"classes": "", "top": 1, "model": None}  # options of predict, and what they are when not given


@dataclass(frozen=True)
class Translation:
    """A line's translation; an empty line's is empty.

    `place` is "FILE:LINE", or nothing for text that was given itself; `cut` the subwords at the line's end that were
    past the network's limit and not translated.
    """

    place: str
    source: str
    text: str
    cut: int = 0


def translations(config: "PredictConfig") -> Iterator[Translation]:
    """Return the translations of all lines in their order, made as they are asked for.

    Raises UserError for what the user can mend, in a file with the line's number; the lines before it are yielded.
    """
    from overtone.tasks.translator import Translator
    from overtone.training import pick_device

    for option, default in NOT_FOR_TEXT.items():
        if getattr(config, option) != default:
            raise UserError(f"--{option} is for pictures: {config.adapter!r} is a translator.")
    device = pick_device(config.device)
    translator = Translator.load(config.adapter, device)
    paths = {text for text in config.images if is_file(text, translator.source)}
    # What comes through a pipe comes slowly: it is translated line by line.
    slow = STANDARD_INPUT in config.images or not all(Path(path).is_file() for path in paths)
    at_once = 1 if slow else BATCH
    return _translated(translator, _lines(config.images, paths), at_once)


def is_file(text: str, language: str) -> bool:
    """Return whether an argument is a file's name; UserError when it looks like one and there is none."""
    if text in ("", STANDARD_INPUT):
        return False  # an empty line, and not the folder that we are in
    try:
        path = Path(text)
        if path.is_dir():
            raise UserError(f"{text!r} is a folder. Give text, or a file of it.")
        there = path.exists()
    except ValueError:  # with a null: a sentence
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a sentence
            return False
        raise UserError(f"The text {text!r} cannot be read: {error.strerror}.") from error
    if not there and not any(map(str.isspace, text)) and path.suffix in (".txt", f".{language}"):
        raise UserError(f"There is no file {text!r}. Give text to translate, or a file of it.")
    return there


def _lines(arguments: tuple[str, ...], paths: set[str]) -> Iterator[tuple[str, str]]:
    """Yield place and text of every line."""
    from overtone.data.parallel import lines_of, read_lines

    for argument in arguments:
        if argument in paths:
            yield from ((f"{argument}:{number}", line) for number, line in read_lines(argument))
        elif argument == STANDARD_INPUT:
            yield from ((f"stdin:{number}", line) for number, line in lines_of(sys.stdin.buffer, "stdin"))
        else:
            yield "", _unicode(argument)


def _unicode(argument: str) -> str:
    """Return an argument; UserError where the shell gave bytes that are no UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"The text {argument!a} is not UTF-8: give it as UTF-8, or in a file.") from error
    return argument


def _translated(translator: "Translator", lines: Iterator[tuple[str, str]], at_once: int) -> Iterator[Translation]:
    for some in _batches(lines, at_once):
        found = translator.translate([text for _, text in some])
        for (place, text), translated in zip(some, found, strict=True):
            yield Translation(place, text, translated.text, translated.cut)


def _batches(lines: Iterator[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    """Yield lines in batches; an error in reading comes after the lines before it."""
    while True:
        some, fault = [], None
        try:
            for line in itertools.islice(lines, size):
                some.append(line)
        except UserError as error:
            fault = error
        if some:
            yield some
        if fault:
            raise fault
        if not some:
            return
