"""Few-shot draws and halves as the field makes them, so that the same seed gives the same pictures.

The facts are those of Dassl (`DatasetBase.generate_fewshot_dataset`, `set_random_seed`) and of CoOp's data sets:
Python's generator is started from the seed; classes are drawn from in the order in which they first appear in the
split, first all of train, then, on with the same generator, all of val; and only then are classes divided into base and
new.
`overtone.data.few_shot` draws otherwise, so that a class's pictures do not depend on which other classes are there.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from overtone.data.imageset import ImageSet, Record
from overtone.data.published.dataset import DataSet

MOST_VALIDATION = 4  # shots: min(K, 4) a class to choose settings by


def few_shot_as_published(data: DataSet, shots: int, seed: int) -> DataSet:
    """Return the data with `shots` pictures of each class to learn from and min(shots, 4) to choose by.

    A class with fewer pictures gives some of them more than once.
    """
    generator = random.Random(seed)
    train = _drawn(data.train, shots, generator)
    val = _drawn(data.val, min(shots, MOST_VALIDATION), generator) if data.val else None
    return replace(data, train=train, val=val)


def part_of(data: DataSet, part: Literal["base", "new"]) -> DataSet:
    """Return the first half of the classes, ceil(n / 2) of them, or the second, labelled from 0."""
    start, stop = (0, data.base) if part == "base" else (data.base, len(data.test.classes))
    val = _between(data.val, start, stop) if data.val else None
    return replace(
        data,
        train=_between(data.train, start, stop),
        val=val if val and len(val) else None,
        test=_between(data.test, start, stop),
        divided_at=None,
    )


def _drawn(images: ImageSet, shots: int, generator: random.Random) -> ImageSet:
    classes: dict[int, list[Record]] = defaultdict(list)
    for record in images.records:
        classes[record.label].append(record)
    return replace(images, records=tuple(r for members in classes.values() for r in _some(members, shots, generator)))


def _some(members: Sequence[Record], shots: int, generator: random.Random) -> list[Record]:
    if len(members) < shots:
        return generator.choices(members, k=shots)
    return generator.sample(members, shots)


def _between(images: ImageSet, start: int, stop: int) -> ImageSet:
    """Return the pictures of the classes from `start` to `stop`; by number, as two may have the same name."""
    kept = (replace(r, label=r.label - start) for r in images.records if start <= r.label < stop)
    return ImageSet(tuple(kept), images.classes[start:stop])
