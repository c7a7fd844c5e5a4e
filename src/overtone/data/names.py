"""Names of classes: cleaned for people and text encoders, and put in the order people expect."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from overtone.errors import UserError


def clean_name(name: str) -> str:
    """Return `name` as text: `_`, `-` and runs of white space become one space, equal characters one code (NFC)."""
    return " ".join(re.sub(r"[_-]", " ", unicodedata.normalize("NFC", name)).split())


def clean_names(names: Iterable[str], place: str) -> dict[str, str]:
    """Map each distinct name to its clean form.

    Raises UserError, which names `place`, if a name is left empty or is no UTF-8, or two become the same.
    """
    cleaned: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name in names:
        clean = clean_name(name)
        if not clean:
            raise UserError(f"The class {name!r} in {place} has no letter or digit in its name: rename it.")
        try:
            clean.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"The class {name!a} in {place} has bytes in its name that are not UTF-8: rename it."
            ) from error
        if owner.setdefault(clean, name) != name:
            raise UserError(
                f"Two classes in {place} have the same name once _ and - are spaces: {owner[clean]!r} and {name!r} are "
                f"both {clean!r}. Rename one, or merge them."
            )
        cleaned[name] = clean
    return cleaned


def same_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names, each as it is among the `known` where it is one of them, and one alone, but for case, _ and -."""
    owners: dict[str, set[str]] = defaultdict(set)
    for name in known:
        owners[clean_name(name).casefold()].add(name)

    def found(name: str) -> str:
        owner = owners.get(clean_name(name).casefold(), set())
        return next(iter(owner)) if len(owner) == 1 else name

    return [found(name) for name in names]


def refuse_case_alone(names: Iterable[str], place: str) -> None:
    """Raise UserError, which names `place`, for two names that upper and lower case alone tell apart once clean."""
    owner: dict[str, str] = {}
    for name in names:
        other = owner.setdefault(clean_name(name).casefold(), name)
        if clean_name(other) != clean_name(name):
            raise UserError(
                f"Two classes in {place} differ in upper and lower case alone: {other!r} and {name!r}. Rename one, or "
                "merge them."
            )


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return a sort key by which "class 2" stands before "class 10"."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part], name


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first few names for a message, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def count(number: int, noun: str) -> str:
    """Return "1 class", "2 classes", "3,000 pictures"."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}"
