"""Image-text pairs that are read as they are needed, shard by shard, and divided over processes and workers."""

import itertools
import json
import os
import random
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from overtone.data.images import BadImage
from overtone.data.imageset import Record, Skipped
from overtone.data.pairs.set import Inside, Pair
from overtone.data.source import Level
from overtone.processes import process_number, processes

BUFFER = 1000  # pairs that wait, encoded, to be drawn in random order
LISTED = 1000  # bad samples of one shard that are named; the others are counted


class Shard(Protocol):
    """A part of a set that is read from its beginning, the same way each time."""

    @property
    def name(self) -> str:
        """What the user knows it by."""

    def samples(self) -> Iterator[Pair | Skipped]:
        """Yield the pairs and what cannot be used."""


@dataclass(frozen=True)
class StreamSource:
    """The shards as found: by level where the data has levels, under "all" where it has none."""

    levels: Mapping[Level, Sequence[Shard]]
    lacks: str  # how to say that a level is not there
    skipped: tuple[Skipped, ...] = ()
    choices: tuple[tuple[str, str, str], ...] = ()


class Held(Protocol):
    """What is kept for evaluation and so never learned from."""

    def holds(self, pair: Pair, picture: Image.Image) -> bool:
        """Return whether a pair is, or nearly is, one that is kept."""


class SkippedLog:
    """Bad samples as written down by whichever worker met them: a file, as workers share no memory that grows."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="overtone-skipped-", suffix=".jsonl")
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, _remove, self.path, os.getpid())

    def write(self, items: Iterable[Skipped]) -> None:
        """Add what was skipped, in one piece, so that the lines of two workers never mix."""
        if lines := "".join(json.dumps([item.source, item.reason]) + "\n" for item in items):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(lines)

    def read(self) -> tuple[Skipped, ...]:
        """Return what was skipped so far, each once however many epochs met it."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return tuple(dict.fromkeys(Skipped(*json.loads(line)) for line in lines))


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a worker, which was forked with this file's owner
        path.unlink(missing_ok=True)


class PairStream(IterableDataset[Pair]):
    """Pairs read shard by shard: the shards in random order, their pairs through a buffer, by `seed` and epoch.

    Processes (torchrun's) and the workers of a DataLoader divide the shards, or where there are fewer shards than
    workers the samples of all shards, so that each pair comes once an epoch in one of them. The numbers of pairs that
    they get may differ. The same seed, epoch and numbers of processes and workers give the same pairs again in the same
    order.

    A pair comes with its picture decoded: `pair.image.encoded` are its pixels. Samples that cannot be used are passed
    over, and listed in `skipped`.
    """

    def __init__(self, shards: Sequence[Shard], seed: int = 0, held: Held | None = None) -> None:
        if not shards:
            raise ValueError("shards is empty: a stream needs at least one")
        self.shards, self.seed, self.held = tuple(shards), seed, held
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers see what is set later
        self._log = SkippedLog()

    @property
    def epoch(self) -> int:
        """The epoch whose order is drawn next."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order in which the next iteration goes, in workers that live on too."""
        self._epoch.fill_(epoch)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be used in the shards read so far, by this process and its workers."""
        return self._log.read()

    def __iter__(self) -> Iterator[Pair]:
        return self.of_epoch(self.epoch)

    def of_epoch(self, epoch: int) -> Iterator[Pair]:
        """Yield the pairs of one epoch, whichever is chosen: for a worker that goes on to the next by itself."""
        part, parts = _part()
        drawn = f"{self.seed}/{epoch}"
        shards = random.Random(drawn).sample(self.shards, len(self.shards))
        by_shard = len(shards) >= parts
        mine = shards[part::parts] if by_shard else shards
        samples: Iterator[Pair] = (sample for shard in mine for sample in self._good(shard))
        if not by_shard:
            samples = itertools.islice(samples, part, None, parts)
        for pair in _shuffled(samples, random.Random(f"{drawn}/{part}")):
            if opened := self._open(pair):
                yield opened

    def _good(self, shard: Shard) -> Iterator[Pair]:
        """Yield a shard's pairs, and write down the rest when the shard is through or left."""
        bad: list[Skipped] = []
        more = 0
        try:
            for sample in shard.samples():
                if isinstance(sample, Pair):
                    yield sample
                elif len(bad) < LISTED:
                    bad.append(sample)
                else:
                    more += 1
        finally:
            self._log.write([*bad, *([Skipped(shard.name, f"{more:,} more bad samples")] if more else [])])

    def _open(self, pair: Pair) -> Pair | None:
        try:
            image = pair.image.open()
        except BadImage as error:
            self._log.write([Skipped(pair.source, str(error))])
            return None
        if self.held is not None and self.held.holds(pair, image):
            return None
        return Pair(Record(pair.source, 0, encoded=np.asarray(image)), pair.captions)


def _part() -> tuple[int, int]:
    """Return which part of the stream is read here, and of how many: every worker of every process reads one."""
    worker = get_worker_info()
    number, count = (worker.id, worker.num_workers) if worker else (0, 1)
    return process_number() * count + number, processes() * count


def _shuffled(pairs: Iterable[Pair], rng: random.Random) -> Iterator[Pair]:
    """Yield all pairs, each drawn from BUFFER of them."""
    buffer: list[Pair] = []
    for pair in pairs:
        buffer.append(_fetched(pair))
        if len(buffer) == BUFFER:
            place = rng.randrange(BUFFER)
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            yield buffer.pop()
    rng.shuffle(buffer)
    yield from buffer


def _fetched(pair: Pair) -> Pair:
    """Return the pair with the bytes of its picture, read now: a shard is read from its beginning to its end."""
    if not isinstance(pair.image, Inside):
        return pair
    try:
        return Pair(Record(pair.source, 0, encoded=pair.image.read()), pair.captions)
    except BadImage:
        return pair  # opening it will say why
