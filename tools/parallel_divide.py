"""Part sentences by the source package they come from, so that those held out are of packages never learned from."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

SEED = 0
HELD_OUT = ("test", "val")
DRAWN = 2500  # pairs of each kind that are drawn for each part held out, before what others have too is taken away
LARGEST = 1500  # pairs of a source package, of which any are held out: larger ones are learned from
MOST = 120  # pairs of one source package in a part held out, so that it has many; its others are for nobody
ALIKE = 0.5  # of the three-word runs of two sentences in common: near duplicates
Kind = Literal["catalogue", "description"]


@dataclass(frozen=True)
class Sentence:
    """A sentence with its translation, and where it is from."""

    source: str
    target: str
    package: str  # the source package
    binary: str  # the package built from it that carries the text
    kind: Kind


def divide(sentences: Sequence[Sentence]) -> dict[str, list[Sentence]]:
    """Return the sentences to learn from, to choose by and to be judged on, by whole source packages.

    Of those held out, what says the same as one that is learned from is left out, and so are near duplicates: what is
    judged on is new in its wording too.
    """
    parts: dict[str, list[Sentence]] = {"train": [], "val": [], "test": []}
    names = assign(sentences)
    for sentence in sentences:
        parts[names[sentence.package]].append(sentence)
    parts = {name: unique(part) for name, part in parts.items()}
    parts |= {name: few(parts[name]) for name in HELD_OUT}
    parts["val"] = apart(parts["val"], parts["train"])
    parts["test"] = apart(parts["test"], [*parts["train"], *parts["val"]])
    return parts


def assign(sentences: Iterable[Sentence]) -> dict[str, str]:
    """Return the part of each source package; each kind fills the parts held out by itself.

    A package with catalogues counts as such with its descriptions too.
    """
    sizes: Counter[str] = Counter()
    kinds: dict[str, Kind] = {}
    for sentence in sentences:
        sizes[sentence.package] += 1
        if kinds.get(sentence.package) != "catalogue":
            kinds[sentence.package] = sentence.kind
    parts = dict.fromkeys(sorted(sizes), "train")
    for kind in ("catalogue", "description"):
        names = [name for name in parts if kinds[name] == kind]
        room = dict.fromkeys(HELD_OUT, DRAWN)
        for name in random.Random(SEED).sample(names, len(names)):
            part = next((part for part, left in room.items() if left > 0 and sizes[name] <= LARGEST), None)
            if part:
                parts[name] = part
                room[part] -= min(MOST, sizes[name])
    return parts


def unique(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Return the sentences without those that came before, whatever their case, numbers and signs."""
    return list({(key(s.source), key(s.target)): s for s in reversed(list(sentences))}.values())[::-1]


def few(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Return the sentences, of each source package MOST drawn at random."""
    places = _places([s.package] for s in sentences)
    rng = random.Random(SEED)
    drawn = (place for found in places.values() for place in rng.sample(found, min(MOST, len(found))))
    return [sentences[place] for place in sorted(drawn)]


def apart(held: Sequence[Sentence], others: Iterable[Sentence]) -> list[Sentence]:
    """Return the sentences that no other one equals, in either language, nor nearly equals in the source."""
    found = [set(_runs(s.source)) for s in held]
    by_source, by_target = _places([key(s.source)] for s in held), _places([key(s.target)] for s in held)
    by_run = _places(found)
    known: set[int] = set()
    for other in others:
        known.update(by_source.get(key(other.source), ()), by_target.get(key(other.target), ()))
        runs = set(_runs(other.source))
        shared = Counter(place for run in runs for place in by_run.get(run, ()))
        known.update(p for p, number in shared.items() if number >= ALIKE * (len(runs) + len(found[p]) - number))
    return [sentence for place, sentence in enumerate(held) if place not in known]


def key(text: str) -> str:
    """Return the letters of a text in lower case, with one space between words: what tells sentences apart."""
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))


def _places(names: Iterable[Iterable[str]]) -> dict[str, list[int]]:
    """Return the places at which each name stands."""
    places: dict[str, list[int]] = {}
    for place, owned in enumerate(names):
        for name in owned:
            places.setdefault(name, []).append(place)
    return places


def _runs(text: str) -> Iterator[str]:
    """Yield the runs of three words, the ends counted as words."""
    words = ["", *key(text).split(), ""]
    return (" ".join(words[place : place + 3]) for place in range(len(words) - 2))
