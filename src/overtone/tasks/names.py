"""Lists of names and sentences as a user gives them on the command line."""

from collections.abc import Sequence
from pathlib import Path

from overtone.errors import UserError


def read_list(given: str, separator: str) -> list[str] | None:
    """Return the items of "a, b, c", or of a text file with one a line; None for nothing given."""
    if not given.strip():
        return None
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines() if Path(given).is_file() else given.split(separator)
    except OSError:  # longer than a file name may be
        lines = given.split(separator)
    items = [line.strip() for line in lines if line.strip()]
    if not items:
        raise UserError(f"{given!r} names nothing. Give names separated by {separator!r}, or a file with one a line.")
    return items


def read_names(given: str) -> list[str] | None:
    """Return class names, each once, in the order given; None for nothing given."""
    names = read_list(given, ",")
    return None if names is None else list(dict.fromkeys(names))


def read_templates(given: str) -> Sequence[str] | None:
    """Return sentences that hold {} for the class name; None for nothing given."""
    templates = read_list(given, "|")
    for template in templates or ():
        if template.count("{}") != 1 or template.replace("{}", "").count("{") + template.replace("{}", "").count("}"):
            raise UserError(f'The template {template!r} must hold {{}} once, for the class name: "a photo of a {{}}."')
    return templates
