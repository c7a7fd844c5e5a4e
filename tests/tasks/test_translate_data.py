"""Sentences as subwords, and batches of tokens: nothing lost, nothing over the limit, the same again."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from overtone.data.parallel import Sentences, train_subwords
from overtone.tasks.translate_data import IGNORED, Encoded, PairBatches, TokenBatches, encode

TEXTS = ["a dog", "", "der Hund bellt", "the dog barks at the red house"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return train_subwords(Sentences(TEXTS[2:], TEXTS[2:]), 300, tmp_path_factory.mktemp("subwords"))


def encoded(lengths: list[int]) -> Encoded:
    """Sentences of so many subwords, the last being the end mark 2, the others telling which sentence it is."""
    ids = [np.array([*[10 + row] * (length - 1), 2], dtype=np.int32) for row, length in enumerate(lengths)]
    starts = np.cumsum([0, *lengths])
    return Encoded(np.concatenate(ids), starts, np.zeros(len(lengths), dtype=np.int64))


def pairs(source: list[int], target: list[int]) -> PairBatches:
    return PairBatches(encoded(source), encoded(target), pad=0, start=1)


def test_sentences_are_cut_at_the_limit_and_what_is_cut_is_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = encode(tokenizer, TEXTS, 1000)
    for row, text in enumerate(TEXTS):
        assert whole[row][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(whole[row], skip_special_tokens=True) == text
    assert whole.lengths.tolist() == [len(whole[row]) for row in range(4)]
    cut = encode(tokenizer, TEXTS, 4)
    assert cut.lengths.max() == 5
    assert cut.cut.tolist() == [max(0, n - 5) for n in whole.lengths.tolist()]
    assert cut[3].tolist() == [*whole[3][:4].tolist(), tokenizer.eos_token_id]
    assert len(encode(tokenizer, [], 4)) == 0


def test_a_batch_as_the_network_takes_it() -> None:
    batch = pairs([3, 2], [2, 4]).batch([0, 1])
    assert batch["input_ids"].tolist() == [[10, 10, 2], [11, 2, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[10, 2, IGNORED, IGNORED], [11, 11, 11, 2]]
    assert batch["decoder_input_ids"].tolist() == [[1, 10, 0, 0], [1, 11, 11, 11]]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60), st.integers(1, 200))
def test_batches_hold_every_pair_once_and_no_more_tokens_than_asked_for(
    lengths: list[tuple[int, int]], tokens: int
) -> None:
    source, target = map(list, zip(*lengths, strict=True))
    batches = pairs(source, target).rows_by_length(tokens, seed=0, epoch=0)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        padded = len(rows) * max(max(source[row], target[row]) for row in rows)
        assert padded <= tokens or len(rows) == 1


def test_batches_are_as_full_as_they_can_be() -> None:
    """Of the pairs in the order of their lengths, the next one would not fit."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, 500).tolist()
    batches = pairs(lengths, lengths).rows_by_length(200, seed=3, epoch=1)
    ordered = sorted(batches, key=lambda rows: (lengths[rows[0]], lengths[rows[-1]], -len(rows)))
    for rows, following in itertools.pairwise(ordered):
        assert (len(rows) + 1) * lengths[following[0]] > 200


def test_an_epoch_follows_from_seed_and_number() -> None:
    some = pairs([5, 6, 7, 5, 6, 7, 8, 9] * 5, [5, 6, 7, 5, 6, 7, 8, 9] * 5)

    def rows(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in some.rows_by_length(30, seed, epoch)]

    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(0, 1)
    assert rows(0, 0) != rows(1, 0)


def test_a_run_that_goes_on_gets_the_batches_that_it_has_not_had() -> None:
    some = pairs([5, 6, 7, 8] * 6, [6, 5, 8, 7] * 6)
    whole = list(itertools.islice(TokenBatches(some, 40, seed=1), 12))
    later = TokenBatches(some, 40, seed=1)
    later.pass_over(7)
    resumed = list(itertools.islice(later, 12))
    assert resumed[:7] == [{}] * 7
    for a, b in zip(whole[7:], resumed[7:], strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_processes_share_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    some = pairs([5, 6, 7, 8] * 6, [6, 5, 8, 7] * 6)
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        batches = TokenBatches(some, 80, seed=1)
        parts.append([b["input_ids"].tolist() for b in itertools.islice(batches, 6)])
        assert batches.tokens == 40
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    alone = [b["input_ids"].tolist() for b in itertools.islice(TokenBatches(some, 40, seed=1), 12)]
    assert parts == [alone[::2], alone[1::2]]


def test_the_path_of_a_tokenizer_is_not_needed(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """Saved and read, it cuts the same."""
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert np.array_equal(encode(again, TEXTS, 9).ids, encode(tokenizer, TEXTS, 9).ids)
