"""Finding the files of a set that a pattern with braces names; and the levels of files."""

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from overtone.data.folders import neighbours
from overtone.data.images import kind_of
from overtone.data.imageset import Skipped
from overtone.data.names import natural_key
from overtone.data.source import LEVELS, Level
from overtone.errors import UserError, did_you_mean

RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_FILES = 1_000_000  # that a pattern with braces may name


def is_pattern(data: str) -> bool:
    """Return whether `data` names several files: with braces, or as a shell's pattern."""
    return kind_of(data) is None and any(sign in data for sign in "{*?[")


def named_files(pattern: str) -> tuple[list[Path], list[Skipped]]:
    """Return the files that a pattern names, and those of its braces that are not there.

    Braces hold a range, {000..009}, with the zeros of its first number, or a list, {a,b}; *, ? and [] are the shell's.
    Raises UserError when there is none.
    """
    found: dict[Path, None] = {}
    missing: list[Skipped] = []
    for name in expand_braces(pattern):
        matches = sorted(glob.glob(name), key=natural_key) if glob.has_magic(name) else [name]  # noqa: PTH207
        files = [Path(match) for match in matches if kind_of(match) == "file"]
        found.update(dict.fromkeys(files))
        if not files:
            missing.append(Skipped(name, "there is no such file"))
    if not found:
        near = did_you_mean(missing[0].source, neighbours(Path(missing[0].source)))
        raise UserError(f"No file is called {pattern!r}: the first looked for was {missing[0].source!r}.{near}")
    return list(found), missing


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern's braces stand for; UserError for braces that cannot be read."""
    names, rest = [""], pattern
    while "{" in rest:
        before, _, after = rest.partition("{")
        inside, closed, rest = after.partition("}")
        if not closed or "{" in inside:
            raise UserError(f"The braces of {pattern!r} cannot be read: a range is {{000..009}}, a list is {{a,b}}.")
        choices = _choices(inside, pattern)
        if len(names) * len(choices) > MOST_FILES:
            raise UserError(f"{pattern!r} names more than {MOST_FILES:,} files.")
        names = [name + before + choice for name in names for choice in choices]
    return [name + rest for name in names]


def _choices(inside: str, pattern: str) -> list[str]:
    if not (ends := RANGE.fullmatch(inside)):
        return inside.split(",")
    first, last = ends.groups()
    if not 0 <= int(last) - int(first) < MOST_FILES:
        raise UserError(f"The range {{{inside}}} of {pattern!r} runs backwards, or names too many files.")
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]


def by_level(files: Iterable[Path], root: Path | None = None) -> dict[Level, list[Path]]:
    """Part files by what their folders below `root`, or the words of their own names, say: train, val or test.

    Those that say nothing are training files. Where there is one level only, it is not taken as such.
    """
    files = list(files)
    levels: dict[Level, list[Path]] = {}
    for file in files:
        folders = file.relative_to(root).parts[:-1] if root else ()
        levels.setdefault(_level([*folders, *re.split(r"[^a-z]+", file.name.lower())]), []).append(file)
    return levels if "train" in levels and len(levels) > 1 else {"all": files}


def _level(words: Sequence[str]) -> Level:
    return next((LEVELS[word.lower()] for word in words if word.lower() in LEVELS), "train")


def levels_said(levels: dict[Level, list[Path]], noun: str) -> list[tuple[str, str, str]]:
    """Return the choice that says which files are which level; none where there are no levels."""
    if len(levels) < 2:
        return []
    counts = ", ".join(f"{level}: {len(files):,}" for level, files in levels.items())
    return [(f"{noun}s", counts, "by the names of files and folders")]
