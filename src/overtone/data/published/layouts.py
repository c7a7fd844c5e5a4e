"""Reading the files of a published data set: what each split holds, in the order that draws depend on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from overtone.data.images import EXTENSIONS
from overtone.data.names import count
from overtone.data.published.catalogue import Published
from overtone.errors import UserError

SPLITS = ("train", "val", "test")


class Entry(NamedTuple):
    """One picture as its split names it."""

    path: Path
    label: int
    name: str  # of its class, as it goes into a template


def read_entries(published: Published, folder: Path, class_names: Path | None) -> dict[str, list[Entry]]:
    """Return the entries of each split that the data set has; UserError for files that are not what they should be."""
    pictures = folder / published.pictures
    if published.layout == "split":
        return _split_file(published, folder / published.split, pictures)
    if published.layout == "aircraft":
        return _aircraft(published, folder, pictures)
    names = _class_names(published, class_names or folder / "classnames.txt")
    if published.layout == "imagenet":
        return {"train": _synsets(pictures / "train", names), "test": _synsets(pictures / "val", names)}
    if published.layout == "synsets":
        return {"test": _synsets(pictures, names)}
    return {"test": _numbered(pictures, list(names.values()))}


def _split_file(published: Published, file: Path, pictures: Path) -> dict[str, list[Entry]]:
    try:
        split = json.loads(_text(file))
        read = {part: [_entry(published, pictures, row) for row in split[part]] for part in SPLITS}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{str(file)!r} is no split as CoOp publishes them, train, val and test with lists of [path, label, name]: "
            f"{type(error).__name__}: {error}. Fetch it again."
        ) from error
    return _without(published, read)


def _entry(published: Published, pictures: Path, row: Any) -> Entry:
    path, label, name = row
    return Entry(pictures / str(path), int(label), published.name_of(str(name)))


def _without(published: Published, read: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """Leave out the classes that do not count, and close their gaps among the labels."""
    dropped = {e.label for entries in read.values() for e in entries if e.path.parent.name in published.dropped}
    if not dropped:
        return read
    return {
        part: [e._replace(label=e.label - sum(d < e.label for d in dropped)) for e in entries if e.label not in dropped]
        for part, entries in read.items()
    }


def _aircraft(published: Published, folder: Path, pictures: Path) -> dict[str, list[Entry]]:
    variants = [line.strip() for line in _text(folder / "variants.txt").splitlines() if line.strip()]
    labels = {name: label for label, name in enumerate(variants)}
    return {part: _variants(published, folder / f"images_variant_{part}.txt", pictures, labels) for part in SPLITS}


def _variants(published: Published, file: Path, pictures: Path, labels: Mapping[str, int]) -> list[Entry]:
    entries = []
    for line in filter(None, map(str.strip, _text(file).splitlines())):
        picture, _, name = line.partition(" ")
        if name not in labels:
            raise UserError(f"{str(file)!r} has {line!r}, and {name!r} is no line of variants.txt beside it.")
        entries.append(Entry(pictures / f"{picture}.jpg", labels[name], published.name_of(name)))
    return entries


def _class_names(published: Published, file: Path) -> dict[str, str]:
    lines = [line.strip().partition(" ") for line in _text(file).splitlines() if line.strip()]
    return {synset: published.name_of(name) for synset, _, name in lines}


def _synsets(level: Path, names: Mapping[str, str]) -> list[Entry]:
    """Return the pictures of folders called as synsets, numbered in the order of their names."""
    folders = _folders(level)
    if nameless := [folder.name for folder in folders if folder.name not in names]:
        raise UserError(f"{str(level / nameless[0])!r} has no name: {nameless[0]} is no line of classnames.txt.")
    return [Entry(p, label, names[folder.name]) for label, folder in enumerate(folders) for p in _pictures(folder)]


def _numbered(level: Path, names: list[str]) -> list[Entry]:
    """Return the pictures of folders called 0, 1, 2 and so on: places in the list of class names."""
    folders = {int(folder.name): folder for folder in _folders(level) if folder.name.isdecimal()}
    if not all(number < len(names) for number in folders):
        raise UserError(f"{str(level)!r} has a folder {max(folders)}, and classnames.txt has {len(names)} lines.")
    return [Entry(p, label, names[label]) for label in sorted(folders) for p in _pictures(folders[label])]


def _folders(level: Path) -> list[Path]:
    with os.scandir(_there(level)) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
    folders = sorted(Path(entry.path) for entry in entries if entry.is_dir())
    outside = sum(Path(entry.name).suffix.lower() in EXTENSIONS for entry in entries)
    if outside:
        raise UserError(
            f"{str(level)!r} has {count(outside, 'picture')} outside of any class's folder: sort them into "
            "folders first."
        )
    return folders


def _pictures(folder: Path) -> list[Path]:
    """Return the folder's pictures by name. The field takes them as the disk lists them, which differs by machine."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def _there(level: Path) -> Path:
    if not level.is_dir():
        raise UserError(f"There is no folder {str(level)!r}.")
    return level


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"{str(file)!r} cannot be read: {reason}.") from error
