"""What is held out of a stream: drawn from its first samples, and told again in everything that streams by."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image

from overtone.data.imageset import Skipped
from overtone.data.pairs.set import Pair
from overtone.data.pairs.split import Likeness, Look, Ties, look, tying
from overtone.data.pairs.stream import Shard


class HeldOut:
    """Pairs that are never learned from, nor any with their captions or with pictures like theirs."""

    def __init__(self, pairs: Iterable[Pair], looks: Iterable[Look], ties: Ties) -> None:
        self.captions = frozenset(caption for pair in pairs for caption in tying(pair, ties))
        self.like, self.ties = Likeness(looks), ties

    def holds(self, pair: Pair, picture: Image.Image) -> bool:
        """Return whether a pair is, or nearly is, one of those held out."""
        return not self.captions.isdisjoint(tying(pair, self.ties)) or bool(self.like([look(picture)])[0])


def first_pairs(shards: Sequence[Shard], most: int) -> tuple[list[Pair], list[Skipped]]:
    """Return the first good pairs of some shards, at most `most`, and what was passed over on the way to them."""
    skipped: list[Skipped] = []
    return list(itertools.islice(_good(shards, skipped), most)), skipped


def _good(shards: Iterable[Shard], skipped: list[Skipped]) -> Iterator[Pair]:
    for shard in shards:
        for sample in shard.samples():
            if isinstance(sample, Pair):
                yield sample
            else:
                skipped.append(sample)
