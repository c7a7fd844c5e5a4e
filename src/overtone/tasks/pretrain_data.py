"""Image-text pairs as a step of pre-training takes them: whole batches without an end, each a function of its step."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from overtone.data import ImageSet
from overtone.data.augment import Augmentation, Draws, crops, draw
from overtone.data.pairs import Pair, PairSet, PairStream
from overtone.data.pixels import MEMORY, Framing, Pixels, read_pixels
from overtone.errors import UserError
from overtone.processes import process_number, processes
from overtone.training import share

VIEWS = Augmentation(resize=True)  # no flips: captions say left and right
STORED = (
    9 / 8
)  # of what the tower takes: crops are of 8/9 of a picture's side to all of it (open_clip: of the area, 0.9)
# Epochs in a row in which a part of a stream may fill no batch. Shards are drawn anew for each: of two, one of which
# cannot be read, a part meets that one so often once in a million times
BARREN = 20
Tokenize = Callable[[Sequence[str]], Int[Tensor, "batch length"]]
Batch = dict[str, Tensor]


def framing(size: int) -> Framing:
    """Return how pictures are kept for a tower that takes `size` pixels."""
    return Framing(size=size, stored=math.ceil(STORED * size), channels=3)


def read_training(pairs: PairSet, size: int, watch: Callable[[int, int], None]) -> Pixels:
    """Return the pictures of pairs that all can be opened: in memory where they fit, else read when they are needed."""
    images, frame = ImageSet(tuple(pair.image for pair in pairs.pairs), ("picture",)), framing(size)
    if len(images) * frame.channels * frame.stored**2 > MEMORY:
        return Pixels(images, frame)
    return read_pixels(images, frame, "cpu", watch)[0]


class SetBatches(IterableDataset[Batch]):
    """Batches of a set, each of which follows from the seed and its step alone.

    An epoch is a permutation of the pairs, less those that fill no batch. A picture comes as a random crop, with one of
    its captions at random. Processes take consecutive parts of a batch, and workers batches in turn, so that training
    is the same however many there are.
    """

    def __init__(self, pairs: PairSet, pixels: Pixels, tokenize: Tokenize, batch_size: int, seed: int) -> None:
        self.pairs, self.pixels, self.tokenize = pairs, pixels, tokenize
        self.batch_size, self.seed, self.passed = batch_size, seed, 0
        self.steps = len(pairs) // batch_size  # an epoch
        self.drawn = (-1, np.empty(0, np.int64))  # the last epoch asked for, and its order

    def pass_over(self, steps: int) -> None:
        """Leave the first batches empty."""
        self.passed = steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        return map(self.batch, itertools.count(first, every))

    def order(self, epoch: int) -> Int[np.ndarray, " pairs"]:
        """Return the permutation of an epoch; kept, as that of a million pairs takes longer to draw than a batch."""
        if self.drawn[0] != epoch:
            self.drawn = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        return self.drawn[1]

    def batch(self, step: int) -> Batch:
        """Return this process's part of a step's batch."""
        if step < self.passed:
            return {}
        epoch, place = divmod(step, self.steps)
        own = share(self.batch_size)
        part = slice(process_number() * own, (process_number() + 1) * own)
        rows = torch.from_numpy(self.order(epoch)[place * self.batch_size :][: self.batch_size][part])
        drawn = draw(VIEWS, self.batch_size, self.seed, step)[torch.arange(self.batch_size)[part]]
        chosen = caption_draws(self.batch_size, self.seed, step)[part]
        pairs = [self.pairs[row] for row in rows.tolist()]
        return make_batch(self.pixels.squares(rows), drawn, pairs, chosen, self.pixels.framing, self.tokenize)


class StreamBatches(IterableDataset[Batch]):
    """Batches of a stream, epoch after epoch; each process and each worker makes its own of what it reads.

    None holds a pair twice, which would be its own negative: one that comes again before its batch is full waits for
    the next. With the same seed and numbers of processes and workers they are the same; a run that goes on reads the
    stream again from the beginning to where it was.
    """

    def __init__(self, stream: PairStream, size: int, tokenize: Tokenize, batch_size: int, seed: int) -> None:
        self.stream, self.framing, self.tokenize = stream, framing(size), tokenize
        self.own, self.seed, self.passed = share(batch_size), seed, 0

    def pass_over(self, steps: int) -> None:
        """Leave the first batches empty."""
        self.passed = steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        part = process_number() * count + number
        for step, some in enumerate(self._endless()):
            if count * step + number < self.passed:
                yield {}
                continue
            squares = torch.from_numpy(np.stack([self.framing.square(pair.image) for pair in some]))
            seed = self.seed * processes() * count + part
            drawn, chosen = draw(VIEWS, self.own, seed, step), caption_draws(self.own, seed, step)
            yield make_batch(squares, drawn, some, chosen, self.framing, self.tokenize)

    def _endless(self) -> Iterator[list[Pair]]:
        batch: dict[str, Pair] = {}
        epoch = filled = 0  # `filled`: the epoch after the last one in which a batch was
        while epoch - filled < BARREN:
            again: dict[str, Pair] = {}
            for pair in self.stream.of_epoch(epoch):
                (again if pair.source in batch else batch)[pair.source] = pair
                if len(batch) == self.own:
                    yield list(batch.values())
                    batch, again, filled = again, {}, epoch + 1
            epoch += 1
        raise UserError(self._too_little(len(batch)))

    def _too_little(self, pairs: int) -> str:
        if not pairs:
            return "A part of the stream has no pair that can be used: give more data, or fewer processes."
        whole, most = self.own * processes(), pairs * processes()
        instead = f"--batch-size {most} or fewer" if most > 1 else "fewer processes"
        return (
            f"The stream is too short for batches of {whole:,} pairs: a part of it has {pairs:,}, where {self.own:,} "
            f"are needed. Give {instead}, or more data."
        )


def caption_draws(pairs: int, seed: int, step: int) -> np.ndarray:
    """Return for each pair of a step a number in [0, 1), which tells its caption."""
    return np.random.default_rng([seed, step, 1]).random(pairs)


def make_batch(
    squares: Tensor, drawn: Draws, pairs: Sequence[Pair], chosen: np.ndarray, frame: Framing, tokenize: Tokenize
) -> Batch:
    """Return views as bytes (batch, 3, size, size), and the token ids of a caption of each."""
    captions = [pair.captions[int(u * len(pair.captions))] for pair, u in zip(pairs, chosen, strict=True)]
    return {"pixels": crops(squares, drawn, frame.size, VIEWS), "input_ids": tokenize(captions)}
