"""ImageNet-1k in its usual layout: `train` and `val`, in each a folder a synset, such as n01440764."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from overtone.data.folders import BESIDE, read_folder
from overtone.data.images import EXTENSIONS, kind_of
from overtone.data.imageset import Row, Skipped
from overtone.data.names import clean_name, count
from overtone.data.source import Source
from overtone.errors import UserError

SYNSET = re.compile(r"n[0-9]{8}")
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")  # a synset and its names a line, as Kaggle and Caffe give them
SOLUTION = "LOC_val_solution.csv"  # Kaggle's, for its unsorted val: a picture, and a synset before each of its boxes
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

    `val` is sorted into synsets as `train` is, or its pictures are in Kaggle's LOC_val_solution.csv; else UserError.
    """
    source = replace(_with_unsorted(read_folder(folder), folder), published=True)
    file = _beside(folder, NAMES)
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
    """Map each synset to its first name, with the synset behind where two have the same but for case: both cranes are
    cranes, and a Cardigan is a dog.
    """
    pairs = [line.split(None, 1) for line in text.splitlines() if SYNSET.match(line)]
    first = {pair[0]: clean_name(pair[-1].split(",")[0]) for pair in pairs}
    often = Counter(name.casefold() for name in first.values())
    return {synset: name if often[name.casefold()] == 1 else f"{name} ({synset})" for synset, name in first.items()}


def _beside(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the file of one of these names that is in the folder or above it."""
    places = (place / name for place in (folder, *folder.parents[:3]) for name in names)
    return next((file for file in places if file.is_file()), None)


def _solved(solution: Path) -> dict[str, str]:
    """Return the synset of each picture; UserError where the file does not say it."""
    try:
        with solution.open(encoding="utf-8", newline="") as lines:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(lines)}
    except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        what = "the columns ImageId and PredictionString, in every row"
        raise UserError(f"{str(solution)!r} cannot be read ({error!r}): Kaggle's has {what}.") from error


def _with_unsorted(source: Source, folder: Path) -> Source:
    """Add the pictures that stand right in `val`, by Kaggle's list of them."""
    val = folder / "val"
    files = sorted(val.iterdir()) if kind_of(val) == "folder" else []
    loose = [file for file in files if file.suffix.lower() in EXTENSIONS]
    if not loose:
        return source
    solution = _beside(folder, [SOLUTION])
    if solution is None:
        raise UserError(
            f"{str(val)!r} has {count(len(loose), 'picture')} outside of any synset's folder: sort them into folders "
            f"such as n01440764, as the train level is, or put Kaggle's {SOLUTION} beside the data."
        )
    synsets = _solved(solution)
    rows = [Row(str(file), synsets[file.stem]) for file in loose if file.stem in synsets]
    unknown = tuple(Skipped(str(file), f"not in {SOLUTION}") for file in loose if file.stem not in synsets)
    said = [choice for choice in source.choices if choice[2] != BESIDE]
    said.append(("validation pictures", f"{len(rows):,}, by {solution}", "they are not sorted into synsets"))
    if kind_of(folder / "test") == "folder":
        said.append(("folders left out", "'test'", "its pictures have no labels"))
    return replace(source, levels=source.levels | {"val": rows}, skipped=source.skipped + unknown, choices=tuple(said))
