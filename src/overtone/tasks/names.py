"""Lists of names and sentences as a user gives them on the command line."""

from pathlib import Path

from overtone.errors import UserError


def read_list(given: str, separator: str, option: str) -> list[str] | None:
    """Return the items of "a, b, c", or of a text file with one a line; None for nothing given."""
    if not given.strip():
        return None
    lines = _lines(given, option)
    items = [item.strip() for item in (given.split(separator) if lines is None else lines) if item.strip()]
    if not items:
        raise UserError(f"{option} {given!r} names nothing. Give names separated by {separator!r}, or a file of them.")
    return items


def read_names(given: str) -> list[str] | None:
    """Return class names as the data's readers write them, each once, in the order given; None for nothing given."""
    from overtone.data.names import clean_name

    names = read_list(given, ",", "--classes")
    return None if names is None else list(dict.fromkeys(filter(None, map(clean_name, names))))


def read_templates(given: str) -> list[str] | None:
    """Return sentences that hold {} for the class name; None for nothing given."""
    templates = read_list(given, "|", "--templates")
    for template in templates or ():
        around = template.split("{}")
        if len(around) != 2 or any(brace in part for part in around for brace in "{}"):
            raise UserError(
                f'--templates: {template!r} must hold {{}} once, for the class name, as in "a photo of a {{}}."'
            )
    return templates


def _lines(path: str, option: str) -> list[str] | None:
    """Return the lines of a text file; None where there is no such file."""
    try:
        there = Path(path).is_file()
    except OSError:  # a list longer than a file's name may be
        return None
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines() if there else None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option}: the file {path!r} cannot be read as UTF-8 text: {error}.") from error
