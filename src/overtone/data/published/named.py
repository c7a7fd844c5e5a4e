"""From a name (of a published set, `emoji:food`, a folder, a table, a hub id) to its pictures."""

from collections.abc import Iterable
from pathlib import Path

from overtone.data.folders import neighbours
from overtone.data.images import kind_of
from overtone.data.imageset import ImageSet, Record, check_splits
from overtone.data.loading import NAMED, is_hub_id, load
from overtone.data.names import count
from overtone.data.published.catalogue import GUIDE, PUBLISHED, Published, find_published
from overtone.data.published.dataset import DataSet
from overtone.data.published.emoji_sets import EMOJI_SETS, emoji_data_set, is_emoji
from overtone.data.published.faults import contents, faults, missing_files
from overtone.data.published.layouts import Entry
from overtone.errors import UserError, did_you_mean

KNOWN = (*(one.name for one in PUBLISHED), *EMOJI_SETS, *(name for name in NAMED if name not in EMOJI_SETS))


def load_data_set(name: str, root: str = "") -> DataSet:
    """Return the data set called `name`: one of the fifteen, in its usual layout under `root`; `emoji`, `emoji:food` or
    `emoji@noto`; or any data that `overtone adapt` takes.

    Whatever is held out of data without test pictures is drawn once, under seed 0, so that all seeds are judged on the
    same ones. Raises UserError.
    """
    if published := find_published(name):
        return _published(published, root, name)
    if is_emoji(name):
        return emoji_data_set(name)
    return _own(name)


def _published(published: Published, root: str, name: str) -> DataSet:
    if not root:
        raise UserError(
            f"{published.name} is a published data set: say with --root in which folder the sets stand. {GUIDE} says "
            f"how to obtain them. A folder of your own by that name is './{name}'."
        )
    if kind_of(root) != "folder":
        raise UserError(f"--root {root!r}: there is no such folder.{did_you_mean(root, neighbours(Path(root)))}")
    if missing := missing_files(published, Path(root)):
        raise UserError(
            f"{published.name} is not whole in {root!r}: there is no {missing[0]!r}. "
            f"`overtone doctor {root}` lists what is missing and where it is published."
        )
    found = contents(published, Path(root))
    if wrong := faults(published, found):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{published.name} in {root!r} cannot be used: {wrong[0]}{more}. See `overtone doctor {root}`.")
    names = {entry.label: entry.name for entry in found.entries}
    classes = tuple(names[label] for label in sorted(names))
    train, val, test = (_images(found.splits.get(part, ()), classes) for part in ("train", "val", "test"))
    notes = _notes(published, len(train), len(val))
    return DataSet(published.name, train, val if len(val) else None, test, (published.template,), notes=notes)


def _notes(published: Published, train: int, val: int) -> tuple[str, ...]:
    notes = []
    if train and not val:
        notes.append(f"{published.name} has no validation pictures: no setting is chosen on it.")
    if published.layout == "imagenet":
        notes.append(
            "ImageNet's pictures are drawn from in the order of their names; the field's code takes the disk's."
        )
    return tuple(notes)


def _images(entries: Iterable[Entry], classes: tuple[str, ...]) -> ImageSet:
    return ImageSet(tuple(Record(str(entry.path), entry.label) for entry in entries), classes)


def _own(name: str) -> DataSet:
    if name not in NAMED and not is_hub_id(name) and kind_of(name) is None:
        near = did_you_mean(name, [*KNOWN, *neighbours(Path(name))])
        raise UserError(
            f"No data {name!r}: neither a data set's name nor a file or folder.{near} The names are {', '.join(KNOWN)}."
        )
    splits = check_splits(load(name))
    notes = [f"{name}: {what}: {value} ({how})." for what, value, how in splits.choices]
    if splits.skipped:
        first = splits.skipped[0]
        notes.append(
            f"{name}: {count(len(splits.skipped), 'input')} could not be used, "
            f"the first {first.source!r}: {first.reason}."
        )
    if splits.unseen:
        notes.append(f"{name}: classes without a picture to learn from are left out of the test.")
    return DataSet(name, splits.train, splits.val, splits.test, notes=tuple(notes))
