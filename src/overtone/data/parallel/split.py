"""Which sentences are learned from, chosen by and judged on, so that no sentence of one part is in another."""

import random
from collections.abc import Collection, Iterable, Sequence

from overtone.data.names import count
from overtone.data.parallel.sentences import ParallelSplits, Sentences
from overtone.data.parallel.source import ParallelSource, join
from overtone.data.source import Level
from overtone.errors import UserError

PERCENT = 5  # of the pairs, for each part held out
MOST = 3000  # pairs in each, about as many as a newstest: more would tell little, and cost at every evaluation
FEWEST = 10  # pairs, of which any can be held out
HELD: dict[Level, str] = {"test": "test sentences", "val": "validation sentences"}
Choices = list[tuple[str, str, str]]


def arrange(found: ParallelSource, data: str, seed: int, source: str, target: str) -> ParallelSplits:
    """Settle which sentences are for what; a validation or test part that the data lacks is drawn under `seed`.

    Pairs that come twice in one part are learned from once. Whole parts are kept in the order test, validation,
    training: what has a sentence, of either language, in common with an earlier part is left out of the later one.

    Raises UserError where there are too few sentences.
    """
    choices: Choices = list(found.choices)
    parts = {level: found.levels.get(level, Sentences([])) for level in HELD}
    learned = _once(join(found.levels[level] for level in ("train", "all") if level in found.levels), choices)
    _require(learned, parts.values(), data)
    had, wanted = len(learned), min(MOST, max(1, round(len(learned) * PERCENT / 100)))
    rng = random.Random(seed)
    seen: tuple[set[str], set[str]] = (set(), set())
    for level, name in HELD.items():
        if parts[level]:
            parts[level] = _apart(parts[level], seen, name, choices)
        elif learned:
            parts[level], learned = _draw(learned, seen, wanted, rng)
            how = f"made here with seed {seed}: {found.lacks.format(level)}"
            choices.append((name, f"{count(len(parts[level]), 'pair')} held out", how))
        seen[0].update(parts[level].source)
        seen[1].update(parts[level].target)
    learned = _apart(learned, seen, "training sentences", choices)
    if had and not learned:
        raise UserError(
            f"Nothing is left to learn from in {data!r}: each of {count(had, 'pair')} has a sentence in common with "
            "those to choose by or to be judged on."
        )
    if not learned:
        choices.append(("training sentences", "none", found.lacks.format("train")))
    return ParallelSplits(learned, parts["val"], parts["test"], source, target, found.skipped, tuple(choices))


def _require(learned: Sentences, given: Collection[Sentences], data: str) -> None:
    """Raise UserError for no sentences at all, or too few to hold any out where that is needed."""
    if not learned and not any(given):
        raise UserError(f"No sentence with its translation in {data!r}.")
    if 0 < len(learned) < FEWEST and not all(given):
        raise UserError(
            f"{count(len(learned), 'pair')} of sentences in {data!r}: with fewer than {FEWEST}, none can be held out "
            "to choose by and to be judged on."
        )


def _once(pairs: Sentences, choices: Choices) -> Sentences:
    """Return the pairs without those that came before."""
    first: dict[tuple[str, str], int] = {}
    for place, pair in enumerate(_pairs(pairs)):
        first.setdefault(pair, place)
    if len(first) == len(pairs):
        return pairs
    value = f"{count(len(pairs) - len(first), 'training pair')} left out"
    choices.append(("duplicates", value, "the same sentence with the same translation comes before"))
    return pairs.select(first.values())


def _draw(pairs: Sentences, seen: Sequence[set[str]], wanted: int, rng: random.Random) -> tuple[Sentences, Sentences]:
    """Return `wanted` pairs drawn from those that have nothing in common with what is `seen`, and the rest."""
    free = _free(pairs, seen)
    drawn = sorted(rng.sample(free, min(wanted, len(free))))
    held = set(drawn)
    return pairs.select(drawn), pairs.select(place for place in range(len(pairs)) if place not in held)


def _apart(pairs: Sentences, seen: Sequence[set[str]], name: str, choices: Choices) -> Sentences:
    """Return the pairs that have no sentence in common with what is `seen`."""
    free = _free(pairs, seen)
    if len(free) == len(pairs):
        return pairs
    value = f"{count(len(pairs) - len(free), 'pair')} left out"
    choices.append((name, value, "one of their sentences is held out, so that nothing leaks"))
    return pairs.select(free)


def _free(pairs: Sentences, seen: Sequence[set[str]]) -> list[int]:
    return [place for place, (a, b) in enumerate(_pairs(pairs)) if a not in seen[0] and b not in seen[1]]


def _pairs(sentences: Sentences) -> Iterable[tuple[str, str]]:
    return zip(sentences.source, sentences.target, strict=True)
