"""Folders of aligned files: line n of train.de says what line n of train.en says."""

import html
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from overtone.data.imageset import Skipped
from overtone.data.names import some
from overtone.data.parallel.lines import read_lines
from overtone.data.parallel.sentences import Sentences
from overtone.data.parallel.source import ParallelSource, aligned, join
from overtone.data.source import LEVELS, Level
from overtone.errors import UserError, did_you_mean

# WMT14's sets of news: the seed chooses by 2013's and is judged on 2014's.
NEWSTEST = re.compile(r"newstest\d{4}")
NEWSTESTS: dict[str, Level] = {"newstest2013": "val", "newstest2014": "test"}
PREPARED = re.compile(r"(?:^|[._-])(?:bpe|tok|spm)(?:[._-]|\d|$)")  # text that somebody has cut into words or pieces
PAIR = re.compile(r"(?:^|[._-])([a-z]{2})-([a-z]{2})$")  # at the end of a stem: europarl-v7.de-en
# As WMT publishes its tests: newstest2014-deen-src.en.sgm
SGML = re.compile(r"(newstest\d{4})(?:-([a-z]{2})([a-z]{2}))?-(?:src|ref)\.([a-z]{2})\.sgm")
SEGMENT = re.compile(r"<seg[^>]*>(.*?)</seg>", re.IGNORECASE)
LAYOUT = "Expected train, val (or valid, dev) and test, each in two files: {0}.{1} and {0}.{2}"


def read_folder(folder: Path, source: str, target: str) -> ParallelSource:
    """Read a folder of aligned files named after their language: train.en and train.de, and so on.

    The part may stand within a name (opus.de-en-test.en); several files of training text are read one after the other.
    newstest2013 is the validation part and newstest2014 the test part, as WMT14 is used, in plain files or in WMT's
    own (newstest2014-deen-src.en.sgm). Files of other names are training text where there is none called train
    (WMT14's europarl-v7.de-en.en and so on), else left out; those of another pair (europarl-v7.cs-en.en) and those cut
    into words or subwords (train.tok.clean.bpe.32000.en) always are. Lines empty in one language are skipped.

    Raises UserError for a file without its partner, two of different lengths, two to be chosen by or judged on, a name
    that tells two parts, or nothing to read.
    """
    files, strangers = _files(folder, source, target)
    by_level, choices = _levels(folder, list(files))
    if strangers:
        choices.append(("files left out", some(map(repr, strangers)), f"they are not of {source} and {target}"))
    if not by_level:
        raise UserError(f"Nothing to read in {str(folder)!r}. {LAYOUT.format('train', source, target)}.")
    levels: dict[Level, Sentences] = {}
    skipped: list[Skipped] = []
    for level, names in by_level.items():
        read = [aligned(_rows(*files[stem])) for stem in names]
        levels[level] = join(part for part, _ in read)
        skipped += [item for _, bad in read for item in bad]
        choices.append((f"{level} files", some(f"{name}.{source}, .{target}" for name in names), "by their names"))
    return ParallelSource(levels, "the folder has no {} files", tuple(skipped), tuple(choices))


def _levels(folder: Path, stems: list[str]) -> tuple[dict[Level, list[str]], list[tuple[str, str, str]]]:
    """Return which files are of which level, and the choices that say which are of none."""
    by_level: dict[Level, list[str]] = {}
    others: list[str] = []
    prepared: list[str] = []
    for stem in stems:
        if PREPARED.search(stem):
            prepared.append(stem)
        elif level := _level(folder, stem):
            by_level.setdefault(level, []).append(stem)
        else:
            others.append(stem)
    for level, same in by_level.items():
        if len(same) > 1 and level != "train":
            raise UserError(f"{some(map(repr, same))} in {str(folder)!r} are all the {level} part: keep one.")
    texts = [stem for stem in others if not NEWSTEST.fullmatch(stem.lower())]
    if "train" not in by_level and texts:
        by_level["train" if by_level else "all"] = texts
        others = [stem for stem in others if stem not in texts]
    reasons = ((prepared, "they are cut into words or subwords"), (others, "they are not called train, val or test"))
    return by_level, [("files left out", some(map(repr, names)), why) for names, why in reasons if names]


def _level(folder: Path, stem: str) -> Level | None:
    """Return the level that a file's name tells, in one of its parts; UserError where it tells two."""
    if found := NEWSTESTS.get(stem.lower()):
        return found
    told = {LEVELS[part]: part for part in re.split(r"[._-]", stem.lower()) if part in LEVELS}
    if len(told) > 1:
        raise UserError(
            f"{stem!r} in {str(folder)!r} is called both {' and '.join(map(repr, told.values()))}: rename it."
        )
    return next(iter(told), None)


def _files(folder: Path, source: str, target: str) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Return the files of both languages by the name that they share, and the names of those of another pair.

    UserError where one language lacks one, or both have none.
    """
    try:
        files = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise UserError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from error
    have: dict[str, dict[str, Path]] = {source: {}, target: {}}
    strangers = []
    for file in files:
        stem, language, pair = _parsed(file)
        if pair and pair != {source, target}:
            strangers.append(file)
        elif language in have:
            have[language].setdefault(stem, folder / file)
    for language, stems in have.items():
        if not stems:
            endings = sorted({file.rpartition(".")[2] for file in files if "." in file})
            raise UserError(
                f"No file of the language {language!r} in {str(folder)!r}.{did_you_mean(language, endings)} "
                f"The endings found: {some(map(repr, endings)) or 'none'}. "
                f"{LAYOUT.format('train', source, target)}."
            )
    for language, other in ((source, target), (target, source)):
        if alone := [stem for stem in have[language] if stem not in have[other] and not PREPARED.search(stem)]:
            raise UserError(
                f"{f'{alone[0]}.{language}'!r} in {str(folder)!r} has no {f'{alone[0]}.{other}'!r} beside it."
            )
    both = {stem: (path, have[target][stem]) for stem, path in have[source].items() if stem in have[target]}
    return both, strangers


def _parsed(file: str) -> tuple[str, str, set[str]]:
    """Return a file's name without its language, the language, and the pair of languages that it tells, if any."""
    if match := SGML.fullmatch(file):
        stem, first, second, language = match.groups()
        return stem, language, {first, second} - {None}
    stem, _, language = file.rpartition(".")
    match = PAIR.search(stem)
    return stem, language, set(match.groups()) if match else set()


def _rows(*paths: Path) -> Iterator[tuple[str, str, str]]:
    """Yield place, source and target of each line; UserError, with both counts, for files of different lengths."""
    counts = [0, 0]
    for lines in zip_longest(*map(_lines, paths)):
        for place, line in enumerate(lines):
            counts[place] += line is not None
        if counts[0] == counts[1]:
            (number, text), (_, translation) = lines
            yield f"{paths[0]}:{number}", text, translation
    if counts[0] != counts[1]:
        raise UserError(
            f"{str(paths[0])!r} has {counts[0]:,} lines and {paths[1].name!r} has {counts[1]:,}: line n of one must be "
            "the translation of line n of the other."
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line; of WMT's own files, of every segment."""
    if path.suffix != ".sgm":
        yield from read_lines(path)
        return
    for number, line in read_lines(path):
        for segment in SEGMENT.findall(line):
            yield number, html.unescape(segment).strip()
