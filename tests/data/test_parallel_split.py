"""Parts of parallel text: drawn under a seed, without a sentence in two of them."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overtone.data.parallel import ParallelSplits, Sentences, load_test_sentences
from overtone.data.parallel.source import ParallelSource
from overtone.data.parallel.split import PERCENT, arrange
from overtone.errors import UserError

LACKS = "the folder has no {} files"


def numbered(start: int, end: int) -> Sentences:
    return Sentences([f"source {n}" for n in range(start, end)], [f"target {n}" for n in range(start, end)])


def parts(splits: ParallelSplits) -> list[Sentences]:
    return [splits.train, splits.val, splits.test]


def test_missing_parts_are_drawn_under_the_seed() -> None:
    found = ParallelSource({"all": numbered(0, 1000)}, LACKS)
    first, again, other = (arrange(found, "x", seed, "en", "de") for seed in (1, 1, 2))
    assert [len(part) for part in parts(first)] == [900, 50, 50]
    assert parts(first) == parts(again)
    assert first.test != other.test
    assert sorted(itertools.chain(*(part.source for part in parts(first)))) == sorted(numbered(0, 1000).source)
    assert (
        "test sentences",
        "50 pairs held out",
        "made here with seed 1: the folder has no test files",
    ) in first.choices
    assert round(1000 * PERCENT / 100) == 50


def test_given_parts_stay_whole_and_what_they_share_is_not_learned_from() -> None:
    levels = {"train": numbered(0, 100), "val": numbered(90, 110), "test": numbered(95, 105)}
    splits = arrange(ParallelSource(levels, LACKS), "x", 0, "en", "de")  # type: ignore[arg-type]
    assert splits.test == numbered(95, 105)
    assert splits.val.source == [*numbered(90, 95).source, *numbered(105, 110).source]
    assert splits.train == numbered(0, 90)
    values = {what: value for what, value, _ in splits.choices}
    assert values == {"validation sentences": "10 pairs left out", "training sentences": "10 pairs left out"}


def test_to_be_judged_on_are_the_test_sentences_or_all_where_none_are_set_apart(tmp_path: Path) -> None:
    for part, sentences in (("train", numbered(0, 3)), ("test", numbered(3, 5))):
        (tmp_path / f"{part}.en").write_text("\n".join(sentences.source) + "\n")
        (tmp_path / f"{part}.de").write_text("\n".join(sentences.target) + "\n")
    assert load_test_sentences(str(tmp_path)).sentences == numbered(3, 5)
    table = tmp_path / "few.tsv"
    pairs = zip(numbered(0, 3).source, numbered(0, 3).target, strict=True)
    table.write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    found = load_test_sentences(str(table))  # too few to hold any out, which nothing asks for
    assert found.sentences == numbered(0, 3)
    assert ("test sentences", "all, 3 pairs") in [choice[:2] for choice in found.choices]
    empty = tmp_path / "empty"
    empty.mkdir()
    for language in ("en", "de"):
        (empty / f"train.{language}").write_text("\n\n")
    with pytest.raises(UserError, match="No sentence with its translation"):
        load_test_sentences(str(empty))


def test_the_same_pair_is_learned_from_once() -> None:
    pairs = Sentences([*numbered(0, 50).source] * 2, [*numbered(0, 50).target] * 2)
    levels = {"train": pairs, "val": numbered(50, 60), "test": numbered(60, 70)}
    splits = arrange(ParallelSource(levels, LACKS), "x", 0, "en", "de")  # type: ignore[arg-type]
    assert splits.train == numbered(0, 50)
    assert splits.choices[0][:2] == ("duplicates", "50 training pairs left out")


def test_test_sentences_alone() -> None:
    splits = arrange(ParallelSource({"test": numbered(0, 5)}, LACKS), "x", 0, "en", "de")
    assert (len(splits.train), len(splits.val), splits.test) == (0, 0, numbered(0, 5))
    assert splits.choices[-1] == ("training sentences", "none", "the folder has no train files")


def test_too_few_sentences() -> None:
    with pytest.raises(UserError, match="9 pairs of sentences in 'x': with fewer than 10"):
        arrange(ParallelSource({"all": numbered(0, 9)}, LACKS), "x", 0, "en", "de")
    with pytest.raises(UserError, match="No sentence with its translation in 'x'"):
        arrange(ParallelSource({"all": Sentences([])}, LACKS), "x", 0, "en", "de")
    same = Sentences(["again"] * 20, [f"target {n}" for n in range(20)])
    with pytest.raises(UserError, match="Nothing is left to learn from in 'x': each of 20 pairs"):
        arrange(ParallelSource({"all": same}, LACKS), "x", 0, "en", "de")


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=10, max_size=80, unique=True),
    seed=st.integers(0, 100),
)
def test_no_sentence_is_in_two_parts(pairs: list[tuple[int, int]], seed: int) -> None:
    """Pairs of few sentences, each of which comes several times, in either language."""
    found = ParallelSource({"all": Sentences([f"s{a}" for a, _ in pairs], [f"t{b}" for _, b in pairs])}, LACKS)
    try:
        splits = arrange(found, "x", seed, "en", "de")
    except UserError as error:  # one sentence in all pairs: whatever is held out takes all of them
        assert "each of" in str(error)  # noqa: PT017
        return
    for one, other in itertools.combinations(parts(splits), 2):
        assert set(one.source).isdisjoint(other.source)
        assert set(one.target).isdisjoint(other.target)
    assert len(splits.test) == max(1, round(len(pairs) * PERCENT / 100))


def test_sentences_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="target: 1 sentences do not go with 2 of source"):
        Sentences(["a", "b"], ["c"])
    assert Sentences(["a", "b"]).select([1, 0, 1]) == Sentences(["b", "a", "b"], ())
