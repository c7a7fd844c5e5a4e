"""What stands in the folder of a published data set, and what is wrong with it."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from overtone.data.names import count, some
from overtone.data.published.catalogue import CLASS_NAMES, Published
from overtone.data.published.layouts import Entry, read_entries


@dataclass(frozen=True)
class Contents:
    """The pictures of a data set by split, in the order that its files give."""

    splits: dict[str, list[Entry]]

    @property
    def entries(self) -> Iterator[Entry]:
        """All of them."""
        for entries in self.splits.values():
            yield from entries

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len({entry.label for entry in self.entries})


def missing_files(published: Published, root: Path) -> list[str]:
    """Return the files and folders, under the root, that must be there and are not."""
    folder = root / published.folder
    if not folder.is_dir():
        return [published.folder]
    names = [f"{published.folder}/{name}" for name in published.files if not (folder / name).exists()]
    if published.layout in ("synsets", "numbers") and class_names_file(published, root) is None:
        names.append(f"{published.folder}/{CLASS_NAMES}")
    return names


def class_names_file(published: Published, root: Path) -> Path | None:
    """Return the list of class names: the set's own, or ImageNet's, of which the field says to copy it."""
    places = (root / published.folder / CLASS_NAMES, root / "imagenet" / CLASS_NAMES)
    return next((place for place in places if place.is_file()), None)


def contents(published: Published, root: Path) -> Contents:
    """Return what the data set's files list; UserError where they cannot be read as what they should be."""
    return Contents(read_entries(published, root / published.folder, class_names_file(published, root)))


def faults(published: Published, found: Contents) -> list[str]:
    """Return what is wrong with the contents, each in a clause: nothing where they can be used."""
    checks = (_untested, _absent, _gaps, _two_names, _unlearned)
    return [fault for check in checks if (fault := check(published, found))]


def _untested(published: Published, found: Contents) -> str:
    return "" if found.splits["test"] else "there is no picture to test"


def _absent(published: Published, found: Contents) -> str:
    if published.layout not in ("split", "aircraft"):
        return ""  # the pictures were found by looking

    @cache
    def there(folder: str) -> frozenset[str]:
        try:
            with os.scandir(folder) as found:  # a folder at a time: asking for each picture is slow on network disks
                return frozenset(entry.name for entry in found)
        except OSError:
            return frozenset()

    entries = list(found.entries)
    absent = [entry.path for entry in entries if entry.path.name not in there(str(entry.path.parent))]
    if not absent:
        return ""
    return f"{len(absent):,} of {count(len(entries), 'picture')} are missing, the first {str(absent[0])!r}"


def _gaps(published: Published, found: Contents) -> str:
    labels = {entry.label for entry in found.entries}
    gaps = sorted(set(range(max(labels, default=-1) + 1)) - labels)
    wrong = [str(label) for label in (*sorted(label for label in labels if label < 0), *gaps)]
    if not wrong:
        return ""
    return f"labels are not 0 to {max(labels)} without a gap: {some(wrong)} {'is' if len(wrong) == 1 else 'are'} odd"


def _two_names(published: Published, found: Contents) -> str:
    names: dict[int, str] = {}
    for entry in found.entries:
        if names.setdefault(entry.label, entry.name) != entry.name:
            return f"label {entry.label} has two names, {names[entry.label]!r} and {entry.name!r}"
    return ""


def _unlearned(published: Published, found: Contents) -> str:
    """Say which classes have pictures to test and none to learn from; a set for testing alone has no such split."""
    if "train" not in found.splits:
        return ""
    learned = {entry.label for entry in found.splits["train"]}
    often = Counter(e.name for part in ("val", "test") for e in found.splits.get(part, ()) if e.label not in learned)
    if not often:
        return ""
    return f"{count(len(often), 'class')} to test {'has' if len(often) == 1 else 'have'} no picture to learn from: " + (
        some(f"{name!r} ({count(n, 'picture')})" for name, n in often.items())
    )
