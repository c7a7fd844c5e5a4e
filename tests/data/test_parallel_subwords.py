"""Subwords learned from both languages: what is encoded comes back, saved or not."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from overtone.data.parallel import Sentences, train_subwords
from overtone.data.parallel.subwords import SMALLEST

TEXTS = Sentences(
    ["The house on the hill is older than the church.", "She translates the translated translations."] * 4,
    ["Das Haus auf dem Hügel ist älter als die Kirche.", "Sie übersetzt die übersetzten Übersetzungen."] * 4,
)
WHITE = re.compile(r"\s+")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subwords")
    train_subwords(TEXTS, 330, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(saved: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(saved)


def test_size_and_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer) == 330
    names = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert names == (0, 1, 2, 3)
    assert tokenizer("")["input_ids"] == [2]


def test_common_words_of_both_languages_are_few_subwords(tokenizer: PreTrainedTokenizerBase) -> None:
    """Twelve bytes and nine with an umlaut of two: merged, each is far fewer, wherever in a sentence it stands."""
    for word in (" translat", " übersetzt"):
        assert len(tokenizer(word)["input_ids"]) - 1 <= 3
    assert tokenizer("the house the")["input_ids"][0] == tokenizer("the house the")["input_ids"][-2]


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30))
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """In NFC and with single spaces; no text is out of the vocabulary."""
    ids = tokenizer(text)["input_ids"]
    assert ids[-1] == 2
    assert 3 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == WHITE.sub(" ", unicodedata.normalize("NFC", text)).strip()


def test_the_names_of_special_tokens_are_text_within_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "put </s> or <pad> there"
    ids = tokenizer(text)["input_ids"]
    assert ids.count(2) == 1
    assert 0 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_same_sentences_give_the_same_files(saved: Path, tmp_path: Path) -> None:
    returned = train_subwords(TEXTS, 330, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (saved / "tokenizer.json").read_bytes()
    assert returned("Das Haus")["input_ids"] == AutoTokenizer.from_pretrained(saved)("Das Haus")["input_ids"]


def test_padding_and_cutting(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer(["the house on the hill", "the"], padding=True, truncation=True, max_length=4)
    assert [len(ids) for ids in batch["input_ids"]] == [4, 4]
    assert batch["input_ids"][0][-1] == 2  # a cut sentence ends too
    assert batch["input_ids"][1][-1] == 0
    assert batch["attention_mask"][1][-1] == 0


def test_a_small_text_has_a_small_vocabulary(tmp_path: Path) -> None:
    assert SMALLEST < len(train_subwords(Sentences(["ab ab", "ab"]), 32_000, tmp_path)) < 270


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"size: at least 260, .* not 259"):
        train_subwords(TEXTS, 259, tmp_path)
    with pytest.raises(ValueError, match="none to learn subwords from"):
        train_subwords(Sentences([]), 300, tmp_path)
