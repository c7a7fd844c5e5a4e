"""Folders with pictures and, beside each, a text file of the same name: a caption a line."""

from pathlib import Path

from overtone.data.images import EXTENSIONS, kind_of
from overtone.data.imageset import Skipped
from overtone.data.names import count, some
from overtone.data.pairs.set import Pair, PairSource, caption_lines, unlabelled
from overtone.data.source import LEVELS, Level
from overtone.errors import UserError

LAYOUT = "Expected each picture beside a text file of the same name (cat.jpg, cat.txt) with a caption a line"
TABLES = (".csv", ".tsv", ".jsonl")


def read_pair_folder(root: Path, files: list[Path]) -> PairSource:
    """Pair the pictures among `files`, all below `root`, with the text files beside them.

    Folders right below `root` that are called train, val, valid, validation or test, in any case, are levels; then
    what stands outside them is left out, and said. Raises UserError when no picture has captions.
    """
    by_level = _levels(root, files)
    outside = len(files) - sum(map(len, by_level.values()))
    levels: dict[Level, list[Pair]] = {}
    skipped: list[Skipped] = []
    for level, members in by_level.items():
        levels[level], bad = _paired(members)
        skipped += bad
    if not any(levels.values()):
        raise UserError(_nothing_found(root, files, skipped))
    choices = [("captions", "the lines of the text file beside each picture", "the layout of the folder")]
    if outside:
        choices.append(("files left out", count(outside, "file"), "they stand beside the levels"))
    return PairSource(levels, "the folder has no {} level", tuple(skipped), tuple(choices))


def _levels(root: Path, files: list[Path]) -> dict[Level, list[Path]]:
    folders: dict[Level, str] = {}
    levels: dict[Level, list[Path]] = {}
    for file in files:
        top = file.relative_to(root).parts[0]
        level = LEVELS.get(top.lower())
        if level is None or file.parent == root:
            continue
        if folders.setdefault(level, top) != top:
            raise UserError(f"Two folders are the {level} level: {folders[level]!r} and {top!r}. Keep one.")
        levels.setdefault(level, []).append(file)
    return levels or {"all": files}


def _paired(files: list[Path]) -> tuple[list[Pair], list[Skipped]]:
    texts = {file.with_suffix(""): file for file in files if file.suffix.lower() == ".txt"}
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    used = set()
    for file in files:
        if file.suffix.lower() not in EXTENSIONS:
            continue
        stem = file.with_suffix("")
        used.add(stem)
        captions = _captions(texts[stem]) if stem in texts else f"no {stem.name}.txt beside it"
        if isinstance(captions, str):
            skipped.append(Skipped(str(file), captions))
        else:
            pairs.append(Pair(unlabelled(str(file)), captions))
    alone = [file for stem, file in texts.items() if stem not in used]
    return pairs, [*skipped, *(Skipped(str(file), "a text with no picture of its name beside it") for file in alone)]


def _captions(file: Path) -> tuple[str, ...] | str:
    if kind_of(file) != "file":
        return f"{file.name} is no file"
    try:
        return caption_lines(file.read_bytes())
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"


def _nothing_found(root: Path, files: list[Path], skipped: list[Skipped]) -> str:
    tables = [file.name for file in files if file.suffix.lower() in TABLES and file.parent == root]
    if tables:
        return (
            f"No picture in {str(root)!r} has a text beside it. Is it {tables[0]!r} that has the captions? Name that."
        )
    pictures = sum(file.suffix.lower() in EXTENSIONS for file in files)
    first = f" The first, {skipped[0].source!r}: {skipped[0].reason}." if skipped else ""
    others = some(sorted({file.suffix for file in files if file.suffix})) or "none"
    held = f"{count(pictures, 'picture')} and files that end in {others}" if files else "no files"
    return f"No picture with captions in {str(root)!r}, which holds {held}.{first} {LAYOUT}, or shards, or a table."
