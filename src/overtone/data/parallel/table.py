"""TSV, CSV and JSON-lines tables with a sentence and its translation in each row."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from overtone.data import tables
from overtone.data.imageset import Skipped
from overtone.data.names import count, some
from overtone.data.parallel.lines import read_lines
from overtone.data.parallel.sentences import Sentences
from overtone.data.parallel.source import ParallelSource, aligned, join
from overtone.data.source import LEVELS, Level
from overtone.data.tables import SPLIT_NAMES, BadRow, Line, recognised
from overtone.errors import UserError

# Names by which columns are recognised, after the language's own name ("en").
COLUMNS = {
    "source": ("source", "src", "source_text", "text"),
    "target": ("target", "tgt", "translation", "target_text"),
}
LANGUAGES = {"en": ("english", "englisch", "eng"), "de": ("german", "deutsch", "ger", "deu")}
NESTED = "translation"  # the column of `datasets`, which holds {"en": ..., "de": ...}
Side = Literal["source", "target"]


@dataclass(frozen=True)
class Columns:
    """Which column holds what; a column within another is its path."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    split: str | None

    @property
    def said(self) -> str:
        """What is from where."""
        return f"source from {'.'.join(self.source)!r}, target from {'.'.join(self.target)!r}"


def read_parallel_table(path: Path, source: str, target: str) -> ParallelSource:
    """Read the rows of a table whose columns are called after their languages, or source and target.

    A TSV or CSV of two columns without such names is read as source and target from its first line on. A cell of a TSV
    is all that is between two tabs: quotes are only taken off where they surround it and are doubled within.
    Bad rows are skipped. Raises UserError when the table cannot be read, lacks a column, or has no good row.
    """
    names, lines, how = _read(path, source, target)
    columns = _columns(path, names, lines, source, target)
    rows: dict[Level, list[tuple[str, str, str]]] = {}
    skipped = []
    for line in lines:
        place = f"{path}:{line.number}" if line.kind == "line" else f"{path} {line.place}"
        try:
            row = (place, _cell(line, columns.source), _cell(line, columns.target))
            rows.setdefault(_level(line, columns.split), []).append(row)
        except BadRow as fault:
            skipped.append(Skipped(place, str(fault)))
    levels: dict[Level, Sentences] = {}
    for level, found in rows.items():
        levels[level], bad = aligned(found)
        skipped += bad
    if not join(levels.values()):
        first = f" The first, {skipped[0].source}: {skipped[0].reason}." if skipped else ""
        raise UserError(f"No row of {str(path)!r} can be used ({count(len(skipped), 'bad row')}).{first}")
    return ParallelSource(levels, "the table has no {} rows", tuple(skipped), (("columns", columns.said, how),))


def _read(path: Path, source: str, target: str) -> tuple[list[str], list[Line], str]:
    """Return the columns' names, the lines that are not blank, and how the columns are known."""
    if path.suffix.lower() == ".csv":
        # A cell may hold line feeds, between quotes, and all other characters at which Python splits
        text = "\n".join(line.replace("\r", " ") for _, line in read_lines(path))
        try:
            cells = list(_csv_cells(text))
        except csv.Error as error:
            raise UserError(f"The table {str(path)!r} cannot be read: {error}. Save it as plain CSV.") from error
    elif path.suffix.lower() in tables.JSON_EXTENSIONS:
        text = "\n".join(line for _, line in read_lines(path))
        _require_text(path, text)
        return *tables.read_json(text), "recognised by their names"
    else:
        cells = [(number, [_unquoted(cell) for cell in line.split("\t")]) for number, line in read_lines(path)]
    cells = [(number, row) for number, row in cells if any(cell.strip() for cell in row)]
    _require_text(path, "" if not cells else "text")
    names, how = [cell.strip() for cell in cells[0][1]], "recognised by their names"
    if len(names) == 2 and not any(recognised(names, _names(side, source, target)) for side in COLUMNS):
        names, how = ["source", "target"], "the table has two columns, and no names above them"
    else:
        cells = cells[1:]
        tables.refuse_twice(names)
    return names, [_line(number, row, names) for number, row in cells], how


def _require_text(path: Path, text: str) -> None:
    if not text.strip():
        raise UserError(f"The table {str(path)!r} is empty: it needs a column of sentences and one of translations.")


def _csv_cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV, whose separator is the one that cuts the first line into the most cells."""
    first = text.partition("\n")[0]
    separator = max(tables.SEPARATORS, key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])))
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator)
    for row in reader:
        yield reader.line_num, row


def _unquoted(cell: str) -> str:
    inside = cell[1:-1]
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if whole else cell


def _line(number: int, cells: list[str], names: list[str]) -> Line:
    if len(cells) != len(names):
        return Line(number, {}, f"{count(len(cells), 'cell')}, where {count(len(names), 'column')} are expected")
    return Line(number, dict(zip(names, cells, strict=True)))


def _names(side: str, source: str, target: str) -> tuple[str, ...]:
    language = source if side == "source" else target
    return (language, *LANGUAGES.get(language, ()), *COLUMNS[side])


def _columns(path: Path, names: list[str], lines: list[Line], source: str, target: str) -> Columns:
    split = recognised(names, SPLIT_NAMES)
    if nested := recognised(names, (NESTED,)):
        first = next((value for line in lines if isinstance(value := line.cells.get(nested), dict)), {})
        if source in first and target in first:
            return Columns((nested, source), (nested, target), split)
        if first:
            raise UserError(
                f"No translation from {source!r} to {target!r} in {str(path)!r}: its languages are "
                f"{some(map(repr, first))}."
            )
    found = {side: recognised(names, _names(side, source, target)) for side in COLUMNS}
    for side, column in found.items():
        if column is None:
            raise UserError(
                f"No column of the {side} in {str(path)!r}. Columns found: {', '.join(map(repr, names)) or 'none'}. "
                f"Call it {source if side == 'source' else target!r} or {side!r}."
            )
    return Columns((str(found["source"]),), (str(found["target"]),), split)


def _cell(line: Line, column: tuple[str, ...]) -> str:
    if line.fault:
        raise BadRow(line.fault)
    value: object = line.cells
    for name in column:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, str | None):
        raise BadRow(f"no text in the column {'.'.join(column)!r}: {json.dumps(value)[:60]}")
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:  # JSON can name half of a pair of surrogates
        raise BadRow(f"no Unicode text in the column {'.'.join(column)!r}: {ascii(value)[:60]}") from error
    return value or ""


def _level(line: Line, column: str | None) -> Level:
    if column is None:
        return "all"
    value = tables.cell_text(line, column)
    if value.lower() not in LEVELS:
        raise BadRow(f"{value!r} in the column {column!r}, where train, val or test is expected")
    return LEVELS[value.lower()]
