"""A part held out of image-text pairs, so that nothing of it is learned from: neither its pictures nor its captions."""

import hashlib
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool
from PIL import Image

from overtone.data.images import BadImage
from overtone.data.imageset import Skipped
from overtone.data.pairs.set import Pair
from overtone.data.perceptual_hash import dhash, nearby
from overtone.data.source import Level
from overtone.data.threads import on_all_cores
from overtone.errors import UserError

PERCENT = 5  # of the pairs, for each part held out
MOST = 5000  # pairs in each: more would tell little, and cost at every evaluation
FEWEST = 4  # pairs, of which any are held out
LARGEST = 5  # a fifth of the pairs is the most that is held out where no smaller group is to be had
Watch = Callable[[int, int], None]

# What puts two pairs on one side, besides the same picture: any caption that both have, the first caption of both, or
# nothing. The first is the strictest; where captions are keywords, which tie everything to everything, the others are.
Ties = Literal["any caption", "the first caption", "no caption"]
TIES: tuple[Ties, ...] = ("any caption", "the first caption", "no caption")


@dataclass(frozen=True)
class Look:
    """What a picture looks like: 64 bits for what is like it, and a digest of its pixels for what is the same."""

    bits: int
    digest: bytes


def look(picture: Image.Image) -> Look:
    """Return the look of an RGB picture."""
    shape = f"{picture.width}x{picture.height}".encode()
    return Look(dhash(picture), hashlib.blake2b(shape + picture.tobytes(), digest_size=16).digest())


def _look_at_all(pairs: Sequence[Pair], watch: Watch) -> list[Look | str]:
    found: list[Look | str] = []
    for item in on_all_cores(_look, pairs):
        found.append(item)
        watch(len(found), len(pairs))
    return found


def _look(pair: Pair) -> Look | str:
    try:
        return look(pair.image.open())
    except BadImage as error:
        return str(error)


@dataclass(frozen=True)
class Opened:
    """Pairs whose pictures are good, and what these look like."""

    pairs: tuple[Pair, ...]
    looks: tuple[Look, ...]

    def select(self, places: Iterable[int]) -> "Opened":
        """Return the pairs at `places`."""
        places = tuple(places)
        return Opened(tuple(self.pairs[i] for i in places), tuple(self.looks[i] for i in places))


def open_pairs(pairs: Sequence[Pair], watch: Watch) -> tuple[Opened, list[Skipped]]:
    """Open every picture once, on all cores; return the good ones, and why the others are not.

    `watch` is told after each picture how many are done, and of how many. Raises UserError when none is good.
    """
    found = _look_at_all(pairs, watch)
    good = [(pair, seen) for pair, seen in zip(pairs, found, strict=True) if isinstance(seen, Look)]
    bad = [Skipped(pair.source, why) for pair, why in zip(pairs, found, strict=True) if isinstance(why, str)]
    if bad and not good:
        raise UserError(
            f"None of the {len(bad):,} pictures can be used. The first, {bad[0].source!r}: {bad[0].reason}. "
            "Check that the files are whole and are pictures."
        )
    return Opened(tuple(pair for pair, _ in good), tuple(seen for _, seen in good)), bad


@dataclass(frozen=True)
class Division:
    """Places of pairs: those to learn from, and those held out for each level; and what ties pairs together."""

    train: list[int]
    held: dict[Level, list[int]]
    ties: Ties


def hold_out(
    pairs: Sequence[Pair], levels: Sequence[Level], seed: int, looks: Sequence[Look] | None = None
) -> Division:
    """Hold out PERCENT of the pairs for each of `levels`, at most MOST and at least one, drawn under `seed`.

    Pairs that have a caption or a picture (where `looks` are given) in common stay together. A group that is larger
    than what is wanted is learned from, unless there are none but such. Where any common caption ties so many that not
    half of what is wanted can be held out, only first captions tie; and none where that too is so. Of fewer than FEWEST
    pairs none is held out.
    """
    wanted = min(MOST, max(1, round(len(pairs) * PERCENT / 100))) if len(pairs) >= FEWEST else 0
    for ties in TIES:
        held = _draw(_groups(pairs, ties, looks), levels, wanted, random.Random(seed))
        if all(2 * len(places) >= wanted for places in held.values()):
            break
    taken = {place for places in held.values() for place in places}
    return Division([i for i in range(len(pairs)) if i not in taken], held, ties)


def tying(pair: Pair, ties: Ties) -> tuple[str, ...]:
    """Return the captions by which a pair is tied to others, in small letters."""
    captions = () if ties == "no caption" else pair.captions if ties == "any caption" else pair.captions[:1]
    return tuple(caption.casefold() for caption in captions)


def _groups(pairs: Sequence[Pair], ties: Ties, looks: Sequence[Look] | None) -> list[list[int]]:
    keys: list[list[Hashable]] = [list(tying(pair, ties)) for pair in pairs]
    if looks is not None:
        for place, seen in enumerate(looks):
            keys[place].append(seen.digest)
    return tied(keys)


def tied(keys: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Return groups of places, in the order of their first ones: two that share a key, directly or over others."""
    root = list(range(len(keys)))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    first: dict[Hashable, int] = {}
    for place, owned in enumerate(keys):
        for key in owned:
            a, b = find(first.setdefault(key, place)), find(place)
            root[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for place in range(len(keys)):
        groups.setdefault(find(place), []).append(place)
    return list(groups.values())


def _draw(groups: list[list[int]], levels: Sequence[Level], wanted: int, rng: random.Random) -> dict[Level, list[int]]:
    """Fill the levels with whole groups; where small ones are too few, with larger ones."""
    held: dict[Level, list[int]] = {level: [] for level in levels}
    largest = sum(map(len, groups)) // LARGEST
    left = rng.sample(groups, len(groups))
    for enough, room in ((wanted, wanted), ((wanted + 1) // 2, largest)):
        rest = []
        for group in left:
            places = next((p for p in held.values() if len(p) < enough and len(p) + len(group) <= room), None)
            if places is None:
                rest.append(group)
            else:
                places += group
        left = rest
    return {level: sorted(places) for level, places in held.items()}


class Likeness:
    """Tells which pictures are like any of some known ones."""

    def __init__(self, known: Iterable[Look]) -> None:
        known = list(known)
        self.digests = frozenset(seen.digest for seen in known)
        self.bits = np.array([seen.bits for seen in known if seen.bits], np.uint64)

    def __call__(self, looks: Sequence[Look]) -> Bool[np.ndarray, " n"]:
        """Return which of `looks` have the same pixels as a known one, or bits that are near to one's.

        A picture that gets brighter nowhere (a plain ground) has no bits to be told by: only the same pixels count.
        """
        bits = np.array([seen.bits for seen in looks], np.uint64)
        same = np.array([seen.digest in self.digests for seen in looks], bool)
        return same | ((bits != 0) & nearby(bits, self.bits))
