"""Sentences as subwords, and batches of as many of them as a number of tokens allows."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from overtone.processes import process_number, processes

IGNORED = -100  # a label that is no target
AT_ONCE = 10_000  # sentences that are cut into subwords at a time
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Encoded:
    """Sentences as the numbers of their subwords, each with the end mark, one behind the other."""

    ids: Int[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " sentences_and_one"]
    cut: Int[np.ndarray, " sentences"]  # subwords beyond the limit that each has lost

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, row: int) -> Int[np.ndarray, " length"]:
        """Return one sentence."""
        return self.ids[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> Int[np.ndarray, " sentences"]:
        """Return the subwords of each sentence, the end mark among them."""
        return np.diff(self.starts)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], limit: int) -> Encoded:
    """Return sentences as subwords; what goes beyond `limit` of them, without the end mark, is cut and counted."""
    found: list[np.ndarray] = []
    cut: list[int] = []
    for start in range(0, len(texts), AT_ONCE):
        for ids in tokenizer(list(texts[start : start + AT_ONCE]), add_special_tokens=False)["input_ids"]:
            found.append(np.array([*ids[:limit], tokenizer.eos_token_id], dtype=np.int32))
            cut.append(max(0, len(ids) - limit))
    starts = np.cumsum([0, *map(len, found)])
    return Encoded(np.concatenate([np.zeros(0, np.int32), *found]), starts, np.array(cut, dtype=np.int64))


def padded(sentences: Sequence[np.ndarray], filler: int) -> Int[Tensor, "sentences longest"]:
    """Return sentences as rows, filled up on the right."""
    longest = max(map(len, sentences))
    rows = np.full((len(sentences), longest), filler, dtype=np.int64)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence)] = sentence
    return torch.from_numpy(rows)


@dataclass(frozen=True)
class PairBatches:
    """Makes batches of sentences and their translations as the network takes them."""

    source: Encoded
    target: Encoded
    pad: int
    start: int  # the mark that begins a translation

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return the pairs in `rows`; the labels are IGNORED where there is padding."""
        source = padded([self.source[row] for row in rows], self.pad)
        labels = padded([self.target[row] for row in rows], IGNORED)
        begun = padded([np.append(self.start, self.target[row][:-1]) for row in rows], self.pad)
        mask = torch.arange(source.shape[1]) < torch.from_numpy(self.source.lengths[list(rows)])[:, None]
        return {"input_ids": source, "attention_mask": mask.long(), "decoder_input_ids": begun, "labels": labels}

    def rows_by_length(self, tokens: int, seed: int, epoch: int) -> list[np.ndarray]:
        """Return all rows in batches of pairs of like lengths, in an order that follows from seed and epoch.

        A batch has at most `tokens` tokens in its sentences, and in their translations, padding included; a pair that
        is longer is a batch alone.
        """
        draw = np.random.default_rng([seed, epoch])
        longest = np.maximum(self.source.lengths, self.target.lengths)
        order = np.lexsort((draw.random(len(longest)), self.target.lengths, longest))
        sizes, batches, begin = longest[order], [], 0
        while begin < len(order):
            some = sizes[begin : begin + max(1, tokens // sizes[begin])]
            fitting = int((np.arange(1, len(some) + 1) * some <= tokens).sum())  # lengths grow: the first ones fit
            end = begin + max(1, fitting)
            batches.append(order[begin:end])
            begin = end
        return [batches[i] for i in draw.permutation(len(batches))]


class TokenBatches(IterableDataset[Batch]):
    """Batches of so many tokens, epoch after epoch without an end; of several processes each has its own.

    A run that goes on begins again and leaves the batches empty that it has had.
    """

    def __init__(self, pairs: PairBatches, tokens: int, seed: int) -> None:
        """Take the tokens of a batch over all processes."""
        self.pairs, self.tokens, self.seed, self.passed = pairs, tokens // processes(), seed, 0

    def pass_over(self, steps: int) -> None:
        """Leave the first batches empty."""
        self.passed = steps

    def __iter__(self) -> Iterator[Batch]:
        own = itertools.islice(self._endless(), process_number(), None, processes())
        for step, rows in enumerate(own):
            yield {} if step < self.passed else self.pairs.batch(rows.tolist())

    def _endless(self) -> Iterator[np.ndarray]:
        return itertools.chain.from_iterable(
            self.pairs.rows_by_length(self.tokens, self.seed, epoch) for epoch in itertools.count()
        )


def on_device(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return a batch where the network is."""
    return {name: tensor.to(device) for name, tensor in batch.items()}
