"""Draws under a seed: a few pictures a class, and a part held out for testing.

Each class is drawn with a generator of its own, started from the seed and the class's name. So what is drawn of a
class depends on its pictures alone: the same whether all classes are there or the base half, and in whatever order.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from overtone.data.imageset import ImageSet, Row
from overtone.data.names import natural_key, some
from overtone.errors import UserError

TEST_PERCENT = 20  # of each class, held out when the data has no test pictures
Key = TypeVar("Key", bound=Hashable)


def few_shot(images: ImageSet, shots: int, seed: int, per_domain: bool = False) -> ImageSet:
    """Return `shots` pictures of each class (of each class in each domain with `per_domain`), drawn under `seed`.

    Classes stand in label order, a class's pictures in the order they have in `images`. UserError names the classes
    with fewer.
    """
    if shots < 1:
        raise UserError(f"{shots} pictures a class is not enough to learn from: ask for 1 or more.")
    groups: dict[tuple[int, str | None], list[int]] = {
        (label, domain): [] for label in range(len(images.classes)) for domain in _domains(images, per_domain)
    }
    for i, record in enumerate(images.records):
        if (key := (record.label, record.domain if per_domain else None)) in groups:
            groups[key].append(i)
    _require_enough(images, groups, shots)
    drawn: list[int] = []
    for (label, domain), members in groups.items():
        rng = _generator(seed, "shots", images.classes[label], domain or "")
        drawn += sorted(members[i] for i in rng.choice(len(members), shots, replace=False))
    return images.select(drawn)


def hold_out(rows: Sequence[Row], seed: int, same: Mapping[int, int]) -> tuple[list[Row], list[Row], int]:
    """Return (kept, held out for testing, classes of one picture, which is kept).

    TEST_PERCENT of each class is held out, at least one picture, drawn under `seed`. Pictures of a class that are the
    `same` (see `overtone.data.copies`) count as one: all of them are held out, or none.
    """
    held: set[int] = set()
    single = 0
    for name, members in sorted(_grouped(row.name for row in rows).items(), key=lambda group: natural_key(group[0])):
        pictures = list(_grouped(same[id(rows[i])] for i in members).values())
        count = max(1, round(len(pictures) * TEST_PERCENT / 100)) if len(pictures) > 1 else 0
        single += not count
        drawn = _generator(seed, "test", name).choice(len(pictures), count, replace=False)
        held.update(members[i] for picture in drawn for i in pictures[picture])
    kept = [row for i, row in enumerate(rows) if i not in held]
    return kept, [row for i, row in enumerate(rows) if i in held], single


def _domains(images: ImageSet, per_domain: bool) -> tuple[str | None, ...]:
    return (images.domains or (None,)) if per_domain else (None,)


def _require_enough(images: ImageSet, groups: dict[tuple[int, str | None], list[int]], shots: int) -> None:
    short = [(key, len(members)) for key, members in groups.items() if len(members) < shots]
    if short:
        listed = [f"{images.classes[label]}{f' in {domain}' if domain else ''} ({n})" for (label, domain), n in short]
        fewest = min(n for _, n in short)
        advice = (
            f"Ask for {fewest} or fewer, or add pictures." if fewest else "Add pictures, or leave these classes out."
        )
        raise UserError(
            f"{shots} pictures a class were asked for, and {len(short)} of {len(groups)} classes have fewer to learn "
            f"from: {some(listed)}. {advice}"
        )


def _grouped(keys: Iterable[Key]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        groups[key].append(i)
    return groups


def _generator(seed: int, *words: str) -> np.random.Generator:
    """Return a generator for this seed and these words: the same on every machine, as no hash is used."""
    if seed < 0:
        raise UserError(f"A seed is 0 or more, not {seed}.")
    return np.random.default_rng([seed, *"\0".join(words).encode()])
