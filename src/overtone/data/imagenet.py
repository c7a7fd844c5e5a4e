"""ImageNet-1k in its usual layout: `train` and `val`, in each a folder a synset, such as n01440764."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from overtone.data.folders import read_folder
from overtone.data.images import EXTENSIONS, kind_of
from overtone.data.names import clean_name, count
from overtone.data.source import Source
from overtone.errors import UserError

SYNSET = re.compile(r"n[0-9]{8}")
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")  # a synset and its names a line, as Kaggle and Caffe give them
KAGGLE = Path("Data") / "CLS-LOC"  # where Kaggle's archive has the levels, below ILSVRC


def find_imagenet(path: Path) -> Path | None:
    """Return the folder in `path` whose `train` holds synsets and nothing else, or None."""
    for folder in (path, path / KAGGLE, path / "ILSVRC" / KAGGLE):
        if kind_of(folder / "train") == "folder":
            classes = [entry.name for entry in (folder / "train").iterdir() if not entry.name.startswith(".")]
            if classes and all(map(SYNSET.fullmatch, classes)):
                return folder
    return None


def read_imagenet(folder: Path) -> Source:
    """Return the pictures, under the synsets' names where a file of them stands beside the data or above it.

    Raises UserError for `val` pictures that are not sorted into synsets.
    """
    _refuse_unsorted(folder / "val")
    source = replace(read_folder(folder), published=True)
    file = next(
        (place / name for place in (folder, *folder.parents[:3]) for name in NAMES if (place / name).is_file()), None
    )
    if file is None:
        choice = ("class names", "synsets", f"there is no {' or '.join(NAMES)} with their names")
        return replace(source, choices=(*source.choices, choice))
    names = synset_names(file.read_text(encoding="utf-8"))
    levels = {
        level: [replace(row, name=names.get(row.name, row.name)) for row in rows]
        for level, rows in source.levels.items()
    }
    return replace(source, levels=levels, choices=(*source.choices, ("class names", str(file), "found with the data")))


def synset_names(text: str) -> dict[str, str]:
    """Map each synset to its first name, with the synset behind where two have the same: both cranes are cranes."""
    pairs = [line.split(None, 1) for line in text.splitlines() if SYNSET.match(line)]
    first = {pair[0]: clean_name(pair[-1].split(",")[0]) for pair in pairs}
    often = Counter(first.values())
    return {synset: name if often[name] == 1 else f"{name} ({synset})" for synset, name in first.items()}


def _refuse_unsorted(val: Path) -> None:
    if kind_of(val) != "folder":
        return
    loose = sum(entry.suffix.lower() in EXTENSIONS for entry in val.iterdir())
    if loose:
        raise UserError(
            f"{str(val)!r} has {count(loose, 'picture')} outside of any synset's folder: sort them into folders such "
            "as n01440764 first, as the train level is."
        )
