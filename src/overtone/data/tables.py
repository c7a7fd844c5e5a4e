"""CSV, TSV and JSON-lines tables with a column of picture files and one of labels."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from overtone.data.images import kind_of
from overtone.data.imageset import Row, Skipped
from overtone.data.names import clean_names, count, refuse_case_alone
from overtone.data.source import LEVELS, Level, Source
from overtone.errors import UserError, did_you_mean

CSV_EXTENSIONS = frozenset((".csv", ".tsv", ".txt"))
JSON_EXTENSIONS = frozenset((".jsonl", ".ndjson", ".json"))
SEPARATORS = (",", "\t", ";", "|")

# Names by which a column is recognised, the surest first.
IMAGE_NAMES = (
    "image",
    "image_path",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "img",
    "img_path",
    "picture",
    "photo",
)
LABEL_NAMES = ("class_name", "classname", "label_name", "label", "class", "category", "target")
DOMAIN_NAMES = ("domain", "style")
SPLIT_NAMES = ("split", "subset")
NO_OBJECT = "not a JSON object"


class BadRow(Exception):  # noqa: N818  a state of the data, which is counted and passed over
    """A line of a table that cannot be used, with the reason."""


@dataclass(frozen=True)
class Line:
    """One line of a table: its number, counted from 1, and its cells by column, or why it has none."""

    number: int
    cells: dict[str, object]
    fault: str | None = None
    kind: str = "line"  # or "element", of a JSON array

    @property
    def place(self) -> str:
        """Where it is: "line 3"."""
        return f"{self.kind} {self.number}"


@dataclass(frozen=True)
class Columns:
    """Which column holds what."""

    image: str
    label: str
    domain: str | None
    split: str | None


def read_table(path: Path, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Read the rows of a table; relative paths start at its folder. Bad rows are skipped, with their line numbers.

    Raises UserError when the table cannot be read, lacks a column, or has no good row.
    """
    names, lines = _read(path)
    columns = Columns(
        find_column(path, names, "image", image_column, IMAGE_NAMES),
        find_column(path, names, "label", label_column, LABEL_NAMES),
        recognised(names, DOMAIN_NAMES),
        recognised(names, SPLIT_NAMES),
    )
    found: list[tuple[Level, Row]] = []
    skipped: list[Skipped] = []
    for line in lines:
        try:
            found.append(_row(line, columns, path.parent))
        except BadRow as fault:
            skipped.append(Skipped(f"{path} {line.place}", str(fault)))
    if not found:
        first = f" The first, {lines[0].place}: {skipped[0].reason}." if skipped else ""
        raise UserError(f"No row of {str(path)!r} can be used ({count(len(skipped), 'bad row')}).{first}")
    how = "named by you" if image_column and label_column else "recognised by their names"
    choice = ("columns", f"pictures from {columns.image!r}, classes from {columns.label!r}", how)
    return Source(_by_level(found, path), "the table has no {} rows", tuple(skipped), (choice,))


def _read(path: Path) -> tuple[list[str], list[Line]]:
    """Return the names of the columns and the lines that are not blank."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"The table {str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The table {str(path)!r} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    if not text.strip():
        raise UserError(f"The table {str(path)!r} is empty: it needs a column of picture files and one of labels.")
    if path.suffix.lower() in JSON_EXTENSIONS:
        return read_json(text)
    try:
        return read_csv(text)
    except csv.Error as error:
        raise UserError(f"The table {str(path)!r} cannot be read: {error}. Save it as plain CSV.") from error


def read_json(text: str) -> tuple[list[str], list[Line]]:
    """Return the columns' names and the lines of JSON lines, or of one array of objects.

    Raises UserError for what is neither.
    """
    # Not splitlines, which also cuts at characters that JSON allows within a string.
    lines = [_json_line(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if text.lstrip().startswith("["):
        lines = _json_array(text, lines)
    return list(dict.fromkeys(name for line in lines for name in line.cells)), lines


def _json_line(number: int, text: str) -> Line:
    try:
        return _json_object(number, json.loads(text), "line")
    except (ValueError, RecursionError):
        return Line(number, {}, "not JSON: each line is one object")


def _json_array(text: str, lines: list[Line]) -> list[Line]:
    """Return the elements of an array, or `lines` where the first is JSON of its own."""
    try:
        elements = json.loads(text)
    except (ValueError, RecursionError) as error:
        if lines[0].fault == NO_OBJECT:
            return lines
        raise UserError(f"The table begins as a JSON array and is none: {error}. Write it again whole.") from error
    return [_json_object(number, value, "element") for number, value in enumerate(elements, 1)]


def _json_object(number: int, value: object, kind: str) -> Line:
    if isinstance(value, dict):
        return Line(number, value, kind=kind)
    return Line(number, {}, NO_OBJECT, kind)


def read_csv(text: str) -> tuple[list[str], list[Line]]:
    """Return the columns' names and the lines of a table whose separator is sniffed."""
    numbered = _csv_rows(text, _separator(text))
    names = [cell.strip() for cell in next(numbered)[1]]
    refuse_twice(names)
    return names, [_csv_line(number, cells, names) for number, cells in numbered]


def refuse_twice(names: Sequence[str]) -> None:
    """Raise UserError for two columns of one name."""
    if twice := next((name for name in names if names.count(name) > 1 and name), None):
        raise UserError(f"Two columns of the table are called {twice!r}: rename one.")


def _separator(text: str) -> str:
    """Return the separator that cuts the header into the most columns."""
    return max(SEPARATORS, key=lambda separator: len(next(_csv_rows(text, separator))[1]))


def _csv_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _csv_line(number: int, cells: list[str], names: list[str]) -> Line:
    if len(cells) != len(names) and any(cell.strip() for cell in cells[len(names) :]):
        return Line(number, {}, f"{len(cells)} cells, where the first line names {len(names)} columns")
    return Line(number, dict(zip(names, cells, strict=False)))


def find_column(path: Path, names: list[str], kind: str, wanted: str | None, known: Sequence[str]) -> str:
    """Return the column of a kind: the one `wanted`, else the one known by its name; UserError when there is none."""
    column = wanted if wanted in names else recognised(names, (wanted,) if wanted else known)
    if column is None:
        near = did_you_mean(wanted, names) if wanted else ""
        missing = f"No column {wanted!r}" if wanted else f"No column of {kind}s"
        raise UserError(
            f"{missing} in {str(path)!r}.{near} Columns found: {', '.join(map(repr, names)) or 'none'}. "
            f"Name the right one with --{kind}-column, or call it {kind!r}."
        )
    return column


def recognised(names: list[str], known: Sequence[str]) -> str | None:
    """Return the column that has the first of the `known` names, whatever its case and with spaces or `-` for `_`."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[_plain(name)] for name in known if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _row(line: Line, columns: Columns, folder: Path) -> tuple[Level, Row]:
    if line.fault:
        raise BadRow(line.fault)
    file, name = cell_text(line, columns.image), cell_text(line, columns.label)
    source = folder / file
    if kind_of(source) != "file":
        raise BadRow(f"there is no file {str(source)!r}")
    domain = cell_text(line, columns.domain) if columns.domain else None
    return level_of(line, columns.split), Row(str(source), name, domain)


def cell_text(line: Line, column: str) -> str:
    """Return what a cell says; raises BadRow when it says nothing."""
    value = line.cells.get(column)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadRow(
        f"nothing in the column {column!r}" if value in (None, "") else f"no text in the column {column!r}: {value!r}"
    )


def level_of(line: Line, column: str | None) -> Level:
    """Return the level that a line belongs to, "all" without a column of levels; raises BadRow."""
    if column is None:
        return "all"
    value = cell_text(line, column)
    if value.lower() not in LEVELS:
        raise BadRow(f"{value!r} in the column {column!r}, where train, val or test is expected")
    return LEVELS[value.lower()]


def _by_level(found: list[tuple[Level, Row]], path: Path) -> dict[Level, list[Row]]:
    given = dict.fromkeys(row.name for _, row in found)
    names = clean_names(given, repr(str(path)))
    refuse_case_alone(given, repr(str(path)))
    levels: dict[Level, list[Row]] = {}
    for level, row in found:
        levels.setdefault(level, []).append(Row(row.source, names[row.name], row.domain))
    return levels
