"""From what the user names to image-text pairs to learn from, to choose by and to be judged on."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from overtone.data.imageset import Skipped
from overtone.data.names import count
from overtone.data.pairs.find import find_pairs
from overtone.data.pairs.held import HeldOut, first_pairs
from overtone.data.pairs.set import Pair, PairSet, PairSource
from overtone.data.pairs.split import (
    FEWEST,
    MOST,
    PERCENT,
    Division,
    Likeness,
    Opened,
    Watch,
    hold_out,
    open_pairs,
)
from overtone.data.pairs.stream import BUFFER, PairStream, Shard, StreamSource
from overtone.data.perceptual_hash import NEAR
from overtone.data.source import Level
from overtone.errors import UserError

__all__ = ["Pair", "PairSet", "PairSplits", "PairStream", "check_pairs", "load_pairs"]

EVALUATED: dict[Level, str] = {"test": "test", "val": "validation"}
SAMPLE = 10_000  # pairs at the beginning of a stream, of which some are held out
NEAR_SAID = f"at most {NEAR} of 64 bits of dHash from a picture held out"


@dataclass(frozen=True)
class PairSplits:
    """Pairs to learn from, to choose by and to be judged on."""

    train: PairSet | PairStream
    validation: PairSet  # empty where the data is too small to hold any out
    test: PairSet  # as validation
    skipped: tuple[Skipped, ...]  # inputs that could not be used; those of a stream are in PairStream.skipped
    choices: tuple[tuple[str, str, str], ...]  # (what, value, how) of every decision made here
    opened: bool  # whether every picture of the PairSets has been opened, and the bad ones are in `skipped`


def _unwatched(done: int, of: int) -> None:
    """Watch nothing."""


def load_pairs(
    data: str,
    image_column: str | None = None,
    caption_column: str | None = None,
    seed: int = 0,
    stream: bool = False,
    watch: Watch = _unwatched,
) -> PairSplits:
    """Return the splits of `data`: "emoji", a folder of pictures each beside its .txt, a CSV, TSV or JSON-lines table,
    parquet files, webdataset shards (a .tar, a folder of them, a pattern such as shards-{000..009}.tar) or a hub id.

    Shards are streamed; with `stream`, so is a set of the hub. A level that the data lacks, validation or test, is held
    out of the training pairs under `seed`: 5 %, at most 5,000 pairs (of a stream's first 10,000), no picture or caption
    of which is learned from, nor any picture that looks the same (`perceptual_hash.NEAR`). To tell, every picture is
    opened, and `watch` is told after each how many are done and of how many; else none is: `check_pairs` does that.

    Raises UserError.
    """
    source = find_pairs(data, image_column, caption_column, stream)
    if isinstance(source, StreamSource):
        return _arrange_stream(source, data, seed, watch)
    return _arrange(source, data, seed, watch)


def check_pairs(splits: PairSplits, watch: Watch = _unwatched) -> PairSplits:
    """Open every picture of the PairSets once, unless that has been done; the bad ones go to `skipped`.

    Raises UserError when a set has pairs and none of its pictures is good.
    """
    if splits.opened:
        return splits
    skipped = list(splits.skipped)

    def good(pairs: PairSet) -> PairSet:
        opened, bad = open_pairs(pairs.pairs, watch)
        skipped.extend(bad)
        return PairSet(opened.pairs)

    train = good(splits.train) if isinstance(splits.train, PairSet) else splits.train
    validation, test = good(splits.validation), good(splits.test)
    return PairSplits(train, validation, test, tuple(skipped), splits.choices, opened=True)


def _arrange(source: PairSource, data: str, seed: int, watch: Watch) -> PairSplits:
    """Settle which pairs are learned from, chosen by and judged on."""
    train = [*source.levels.get("train", []), *source.levels.get("all", [])]
    given = {level: found for level in EVALUATED if (found := source.levels.get(level))}
    _require_contrast(train, data)
    if not (missing := [level for level in EVALUATED if level not in given]):
        return _splits(PairSet(tuple(train)), given, source.skipped, source.choices, opened=False)
    opened, skipped = _open_all({"train": train, **given}, watch)
    every = opened.pop("train")
    _require_contrast(every.pairs, data)
    division = hold_out(every.pairs, missing, seed, every.looks)
    opened |= {level: every.select(places) for level, places in division.held.items()}
    learned = every.select(division.train)
    near = Likeness(look for held in opened.values() for look in held.looks)(learned.looks)
    kept = learned.select(place for place, like in enumerate(near) if not like)
    _require_contrast(kept.pairs, data)
    choices = [*source.choices, *_held_said(division, source.lacks, seed)]
    if near.any():
        choices.append(("near duplicates", f"{count(int(near.sum()), 'training pair')} left out", NEAR_SAID))
    held = {level: part.pairs for level, part in opened.items()}
    return _splits(PairSet(kept.pairs), held, [*source.skipped, *skipped], choices, opened=True)


def _arrange_stream(source: StreamSource, data: str, seed: int, watch: Watch) -> PairSplits:
    """The same, where what is learned from is not known before it streams by: it is told from what is held out then."""
    shards = [*source.levels.get("train", []), *source.levels.get("all", [])]
    given, skipped = _evaluated(source)
    missing = [level for level in EVALUATED if level not in given]
    first = _first(shards, SAMPLE if missing else BUFFER, data, seed)
    skipped = [*source.skipped, *skipped]
    if not missing:
        return _splits(PairStream(shards, seed), given, skipped, source.choices, opened=False)
    division = hold_out(first, missing, seed)
    drawn = {level: [first[place] for place in places] for level, places in division.held.items()}
    opened, bad = _open_all({**given, **drawn}, watch)
    held = {level: part.pairs for level, part in opened.items()}
    looks = [look for part in opened.values() for look in part.looks]
    kept = HeldOut((pair for pairs in held.values() for pair in pairs), looks, division.ties)
    choices = [*source.choices, *_held_said(division, source.lacks, seed, f" of the first {len(first):,}")]
    choices.append(("near duplicates", "passed over as they stream by", NEAR_SAID))
    return _splits(PairStream(shards, seed, kept), held, [*skipped, *bad], choices, opened=True)


def _first(shards: Sequence[Shard], most: int, data: str, seed: int) -> list[Pair]:
    """Return the first good pairs of the shards in an order drawn under `seed`; raises UserError for none."""
    first, bad = first_pairs(random.Random(seed).sample(shards, len(shards)), most)
    if not first:
        fault = f" The first, {bad[0].source}: {bad[0].reason}." if bad else ""
        raise UserError(f"No sample of {data!r} can be used ({count(len(bad), 'bad sample')}).{fault}")
    _require_contrast(first, data)
    return first


def _evaluated(source: StreamSource) -> tuple[dict[Level, list[Pair]], list[Skipped]]:
    """Return the levels that are not learned from, read into memory, as far as MOST pairs of each."""
    given: dict[Level, list[Pair]] = {}
    skipped = []
    for level in EVALUATED:
        pairs, bad = first_pairs(source.levels.get(level, []), MOST)
        skipped += bad
        if pairs:
            given[level] = pairs
    return given, skipped


def _open_all(parts: Mapping[Level, Sequence[Pair]], watch: Watch) -> tuple[dict[Level, Opened], list[Skipped]]:
    opened: dict[Level, Opened] = {}
    skipped = []
    for level, pairs in parts.items():
        opened[level], bad = open_pairs(pairs, watch)
        skipped += bad
    return opened, skipped


def _splits(
    train: PairSet | PairStream,
    held: Mapping[Level, Sequence[Pair]],
    skipped: Sequence[Skipped],
    choices: Sequence[tuple[str, str, str]],
    opened: bool,
) -> PairSplits:
    val, test = (PairSet(tuple(held.get(level, ()))) for level in ("val", "test"))
    return PairSplits(train, val, test, tuple(skipped), tuple(choices), opened)


def _held_said(division: Division, lacks: str, seed: int, of: str = "") -> Iterator[tuple[str, str, str]]:
    for level, places in division.held.items():
        how = f"made here with seed {seed}: {lacks.format(level)}"
        value = f"{PERCENT} %{of}, {count(len(places), 'pair')}" if places else f"none: fewer than {FEWEST} pairs"
        yield f"{EVALUATED[level]} pairs", value, how
    yield "kept on one side", f"pairs with the same picture or with {division.ties} in common", "so that nothing leaks"


def _require_contrast(pairs: Sequence[Pair], data: str) -> None:
    """Raise UserError where there is nothing to tell apart."""
    if not pairs:
        raise UserError(f"No pair to learn from in {data!r}.")
    if len(pairs) == 1:
        raise UserError(f"One pair alone in {data!r}, {pairs[0].source!r}: to tell pictures apart takes at least two.")
    if all(pair.captions == pairs[0].captions for pair in pairs):
        raise UserError(
            f"All {len(pairs):,} captions of {data!r} are the same, {pairs[0].captions[0][:80]!r}: nothing tells their "
            "pictures apart. Is the right column named?"
        )
