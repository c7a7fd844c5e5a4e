"""Values at scattered points: an .npz with `positions` and `values`, or a table with a line a point."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from overtone.data.names import count
from overtone.data.tables import SEPARATORS
from overtone.errors import UserError

AXES = ("x", "y", "z", "t")  # columns with these names are positions; all others are values


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n, d) and values (n, channels); one axis or one channel may be left out.

    Raises UserError for a file without both, or whose shapes do not go together.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            found = {name: held[name] for name in held.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{str(path)!r} is not an .npz of plain arrays ({error}).") from error
    if missing := [name for name in ("positions", "values") if name not in found]:
        names = ", ".join(map(repr, found)) or "nothing"
        raise UserError(f"{str(path)!r} holds no {missing[0]!r}, but {names}: scattered points need both, n rows each.")
    positions, values = (x[:, None] if x.ndim == 1 else x for x in (found["positions"], found["values"]))
    if positions.ndim != 2 or values.ndim != 2 or len(positions) != len(values):
        raise UserError(
            f"{str(path)!r}: positions are (n, axes) and values (n) or (n, channels), "
            f"not {found['positions'].shape} and {found['values'].shape}."
        )
    return positions, values


def read_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n, d) and values (n, channels) of a table; a cell that is empty or "nan" is a missing value.

    The first line names the columns: those of AXES are positions, in that order, all others are values. Raises
    UserError, with the line, for a cell that is no number, and for a table without both kinds of columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = _rows(text)
    except UnicodeDecodeError as error:
        raise UserError(f"The table {str(path)!r} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    except csv.Error as error:
        raise UserError(f"The table {str(path)!r} cannot be read: {error}. Save it as plain CSV.") from error
    names = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    axes = [names.index(axis) for axis in AXES if axis in names]
    others = [column for column in range(len(names)) if column not in axes]
    if not axes or not others:
        raise UserError(
            f"The table {str(path)!r} needs columns named {', '.join(AXES)} for positions, and others for values. "
            f"Columns found: {', '.join(map(repr, names)) or 'none'}."
        )
    table = np.array([_numbers(path, line, cells, len(names)) for line, cells in rows[1:]]).reshape(-1, len(names))
    return table[:, axes], table[:, others]


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the lines that are not blank, cut by the separator that finds the most columns in the first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(SEPARATORS, key=first.count))
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def _numbers(path: Path, line: int, cells: list[str], columns: int) -> list[float]:
    if len(cells) != columns:
        raise UserError(f"{str(path)!r} line {line}: {count(len(cells), 'cell')}, where the first line has {columns}.")
    try:
        return [float(cell) if cell.strip() else float("nan") for cell in cells]
    except ValueError as error:
        raise UserError(f"{str(path)!r} line {line}: {str(error).split(': ')[-1]} is no number.") from error
