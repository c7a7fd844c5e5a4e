"""Lines of UTF-8 text, one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from overtone.errors import UserError

UTF16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that begin such files


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Yield each line of a UTF-8 text with its number, counted from 1, without its end; no more than one is in memory.

    Empty lines are yielded too, so that line n of what is made of them belongs to line n. Only line feeds end a line
    (with or without a carriage return), not the other characters at which Python splits, which stand within sentences.

    Raises UserError where the file cannot be read, and with the line's number where it is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            yield from lines_of(file, path)
    except OSError as error:
        raise UserError(f"The text {str(path)!r} cannot be read: {error.strerror}.") from error


def lines_of(file: BinaryIO, name: Path | str) -> Iterator[tuple[int, str]]:
    """Yield each line of a text that is open, as `read_lines` does; UserError if it is not UTF-8."""
    for number, line in enumerate(file, 1):
        yield number, _decode(line, name, number)


def _decode(line: bytes, path: Path | str, number: int) -> str:
    if number == 1 and line.startswith(UTF16):
        raise UserError(f"The text {str(path)!r} is UTF-16: save it as UTF-8.")
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        found = line[error.start : error.start + 1].hex()
        raise UserError(
            f"Line {number:,} of {str(path)!r} is not UTF-8 text (byte {error.start + 1:,} of the line is 0x{found}): "
            "save the file as UTF-8."
        ) from error
    return text.removeprefix("\ufeff") if number == 1 else text
