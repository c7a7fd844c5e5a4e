"""CSV, TSV and JSON-lines tables with a column of picture files and one of captions."""

import csv
from collections.abc import Sequence
from pathlib import Path

from overtone.data import tables
from overtone.data.images import kind_of
from overtone.data.imageset import Skipped
from overtone.data.names import count
from overtone.data.pairs.set import Pair, PairSource, clean_captions, unlabelled
from overtone.data.source import Level
from overtone.data.tables import BadRow, Line
from overtone.errors import UserError

IMAGE_NAMES = (*tables.IMAGE_NAMES, "image_name", "jpg", "jpeg", "png", "webp")
# Names by which a column of captions is recognised, the surest first.
CAPTION_NAMES = (
    "caption",
    "captions",
    "text",
    "texts",
    "txt",
    "sentence",
    "sentences",
    "description",
    "descriptions",
    "alt_text",
    "alt",
    "title",
    "comment",
    "prompt",
)


def read_pair_table(path: Path, image_column: str | None = None, caption_column: str | None = None) -> PairSource:
    """Read the rows of a table; relative paths start at its folder. Rows of one picture are joined, bad ones skipped.

    Captions are a text, or in JSON a list of texts. Raises UserError when the table cannot be read, lacks a column, or
    has no good row.
    """
    names, lines = _read(path)
    image = tables.find_column(path, names, "image", image_column, IMAGE_NAMES)
    caption = tables.find_column(path, names, "caption", caption_column, CAPTION_NAMES)
    split = tables.recognised(names, tables.SPLIT_NAMES)
    found: dict[Path, tuple[Level, list[str]]] = {}
    skipped: list[Skipped] = []
    for line in lines:
        try:
            file, level, captions = _row(line, image, caption, split, path.parent)
            if found.setdefault(file, (level, []))[0] != level:
                raise BadRow(f"another row puts this picture into another split than {level!r}")
            found[file][1].extend(captions)
        except BadRow as fault:
            skipped.append(Skipped(f"{path} {line.place}", str(fault)))
    if not found:
        first = f" The first: {skipped[0].reason}." if skipped else ""
        raise UserError(f"No row of {str(path)!r} can be used ({count(len(skipped), 'bad row')}).{first}")
    how = "named by you" if image_column and caption_column else "recognised by their names"
    choice = ("columns", f"pictures from {image!r}, captions from {caption!r}", how)
    return PairSource(_levels(found), "the table has no {} rows", tuple(skipped), (choice,))


def captions_of(value: object, column: str) -> tuple[str, ...]:
    """Return the captions that a cell holds, a text or a list of texts; raises BadRow where there are none."""
    cells = value if isinstance(value, list) else [value]
    if others := [cell for cell in cells if not isinstance(cell, str | None)]:
        raise BadRow(f"no text in the column {column!r}: {str(others[0])[:60]!r}")
    captions = clean_captions(cell for cell in cells if isinstance(cell, str))
    if not captions:
        raise BadRow(f"nothing in the column {column!r}")
    if any(not _is_utf8(caption) for caption in captions):
        raise BadRow(f"the column {column!r} is not UTF-8 text: save the table as UTF-8")
    return captions


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)  # as bytes of no UTF-8 are read


def _read(path: Path) -> tuple[list[str], list[Line]]:
    """Return the columns' names and the lines that are not blank; bytes that are no UTF-8 spoil only their row."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        if not text.strip():
            raise UserError(
                f"The table {str(path)!r} is empty: it needs a column of picture files and one of captions."
            )
        return tables.read_json(text) if path.suffix.lower() in tables.JSON_EXTENSIONS else tables.read_csv(text)
    except OSError as error:
        raise UserError(f"The table {str(path)!r} cannot be read: {error.strerror}.") from error
    except csv.Error as error:
        raise UserError(f"The table {str(path)!r} cannot be read: {error}. Save it as plain CSV.") from error


def _row(line: Line, image: str, caption: str, split: str | None, folder: Path) -> tuple[Path, Level, Sequence[str]]:
    if line.fault:
        raise BadRow(line.fault)
    file = folder / tables.cell_text(line, image)
    captions = captions_of(line.cells.get(caption), caption)
    if kind_of(file) != "file":
        raise BadRow(f"there is no file {str(file)!r}")
    return file, tables.level_of(line, split), captions


def _levels(found: dict[Path, tuple[Level, list[str]]]) -> dict[Level, list[Pair]]:
    levels: dict[Level, list[Pair]] = {}
    for file, (level, captions) in found.items():
        levels.setdefault(level, []).append(Pair(unlabelled(str(file)), clean_captions(captions)))
    return levels
