"""What is held out of pairs: nothing of it is learned from, the same again under the same seed."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_samples import encoded, file, pixels
from PIL import Image

from overtone.data.pairs import PairSet, load_pairs
from overtone.data.pairs.set import Pair, unlabelled
from overtone.data.pairs.split import Likeness, Look, hold_out, look, tied
from overtone.data.perceptual_hash import dhash

CAPTIONS = st.lists(st.lists(st.integers(0, 60).map(str), min_size=1, max_size=3, unique=True), max_size=80)


def pairs(captions: Sequence[Sequence[str]]) -> list[Pair]:
    return [Pair(unlabelled(str(n)), tuple(texts)) for n, texts in enumerate(captions)]


def owned(every: list[Pair], places: list[int], most: int) -> set[str]:
    return {caption for place in places for caption in every[place].captions[:most]}


@settings(max_examples=60, deadline=None)
@given(CAPTIONS, st.integers(0, 3))
def test_no_pair_is_lost_and_nothing_is_on_two_sides(captions: list[list[str]], seed: int) -> None:
    every = pairs(captions)
    division = hold_out(every, ["test", "val"], seed)
    sides = [division.train, *division.held.values()]
    assert sorted(place for side in sides for place in side) == list(range(len(every)))
    most = {"any caption": 3, "the first caption": 1, "no caption": 0}[division.ties]
    captions_of = [owned(every, side, most) for side in sides]
    assert sum(map(len, captions_of)) == len(set.union(*captions_of))
    if len(every) >= 4:
        assert all(division.held.values())
        assert len(division.train) >= len(every) / 2
    assert hold_out(every, ["test", "val"], seed) == division


@pytest.mark.parametrize(("count", "held"), [(1, 0), (3, 0), (4, 1), (100, 5), (1000, 50), (2000, 60)])
def test_five_percent_and_no_more_than_so_many(count: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overtone.data.pairs.split.MOST", 60)
    division = hold_out(pairs([[str(n)] for n in range(count)]), ["test", "val"], 0)
    assert [len(places) for places in division.held.values()] == [held, held]


def test_another_seed_holds_out_others() -> None:
    every = pairs([[str(n)] for n in range(100)])
    assert hold_out(every, ["test"], 0).held != hold_out(every, ["test"], 1).held


def test_what_ties_pairs_gives_way_where_it_ties_all() -> None:
    apart = pairs([[f"a {n // 2}", f"b {n}"] for n in range(100)])
    assert hold_out(apart, ["test"], 0).ties == "any caption"
    keywords = pairs([[f"a {n // 2}", "face" if n % 2 else "smile", "drawing"] for n in range(100)])
    assert hold_out(keywords, ["test"], 0).ties == "the first caption"
    labels = pairs([["a cat" if n % 2 else "a dog"] for n in range(100)])
    division = hold_out(labels, ["test"], 0)
    assert (division.ties, len(division.held["test"])) == ("no caption", 5)


def test_small_sets_in_groups_hold_out_whole_groups() -> None:
    division = hold_out(pairs([[f"concept {n // 3}"] for n in range(18)]), ["test", "val"], 0)
    assert division.ties == "any caption"
    assert [len(places) for places in division.held.values()] == [3, 3]


def test_the_same_pixels_are_on_one_side() -> None:
    looks = [Look(0, str(n // 2).encode()) for n in range(40)]
    division = hold_out(pairs([[str(n)] for n in range(40)]), ["test"], 0, looks)
    (first, second) = division.held["test"]
    assert first // 2 == second // 2


@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=20))
def test_tied_groups_are_the_connected_ones(keys: list[list[int]]) -> None:
    """Against the closure of the relation, by repeated matrix products."""
    shared = np.array([[bool(set(a) & set(b)) or i == j for j, b in enumerate(keys)] for i, a in enumerate(keys)])
    reach = np.linalg.matrix_power(shared.astype(float), len(keys)) > 0 if keys else np.empty((0, 0))
    assert tied(keys) == [list(row) for row in dict.fromkeys(tuple(np.flatnonzero(row).tolist()) for row in reach)]


def test_likeness() -> None:
    one, other = (Image.fromarray(pixels(n, 8)) for n in range(2))
    copy = Image.open(io.BytesIO(encoded(np.asarray(one.resize((90, 80))), "JPEG", quality=70)))
    mirrored = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    like = Likeness([look(one)])
    assert like([look(picture.convert("RGB")) for picture in (one, copy, mirrored, other)]).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_plain_grounds_are_like_themselves_alone() -> None:
    red, lime = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime"))
    assert dhash(red) == dhash(lime) == 0
    assert Likeness([look(red)])([look(red), look(lime)]).tolist() == [True, False]


def test_near_duplicates_of_what_is_held_out_are_not_learned_from(tmp_path: Path) -> None:
    """40 pictures, each also as a small JPEG under a caption of its own: whatever is held out, its copy is dropped."""
    for n in range(40):
        (tmp_path / f"{n:02}.png").write_bytes(encoded(pixels(n, 8)))
        small = np.asarray(Image.fromarray(pixels(n, 8)).resize((54, 48)))
        (tmp_path / f"{n:02} copy.jpg").write_bytes(encoded(small, "JPEG", quality=80))
        (tmp_path / f"{n:02}.txt").write_text(f"picture {n}")
        (tmp_path / f"{n:02} copy.txt").write_text(f"another view of {n}")
    splits = load_pairs(str(tmp_path))
    assert isinstance(splits.train, PairSet)
    held = [pair for part in (splits.validation, splits.test) for pair in part.pairs]
    shown = {Path(pair.source).stem[:2] for pair in held}
    assert len(held) == 8
    assert not shown & {Path(pair.source).stem[:2] for pair in splits.train.pairs}
    dropped = 80 - len(splits.train) - len(held)
    assert dropped == 2 * len(shown) - len(held)
    said = f"{dropped} training pairs left out" if dropped > 1 else "1 training pair left out"
    assert ("near duplicates", said, "at most 4 of 64 bits of dHash from a picture held out") in splits.choices


def test_one_seed_one_split(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}.png").write_bytes(file(n))
        (tmp_path / f"{n}.txt").write_text(f"picture {n}")
    first = load_pairs(str(tmp_path), seed=3)
    assert load_pairs(str(tmp_path), seed=3) == first
    assert load_pairs(str(tmp_path), seed=4).test != first.test
    assert ("test pairs", "5 %, 2 pairs", "made here with seed 3: the folder has no test level") in first.choices


def test_a_level_that_is_given_stays_and_the_other_is_made(tmp_path: Path) -> None:
    rows = ["image,caption,split"]
    for n in range(30):
        (tmp_path / f"{n}.png").write_bytes(file(n))
        rows.append(f"{n}.png,picture {n},{'test' if n >= 20 else 'train'}")
    (tmp_path / "copy.png").write_bytes(file(25))
    (tmp_path / "t.csv").write_text("\n".join([*rows, "copy.png,a copy of a test picture,train"]))
    splits = load_pairs(str(tmp_path / "t.csv"))
    assert isinstance(splits.train, PairSet)
    assert [Path(pair.source).stem for pair in splits.test.pairs] == [str(n) for n in range(20, 30)]
    assert (len(splits.validation), len(splits.train)) == (1, 19)
    assert "copy.png" not in {Path(pair.source).name for pair in splits.train.pairs}


def test_too_few_to_hold_any_out(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(file(n))
        (tmp_path / f"{n}.txt").write_text(f"picture {n}")
    splits = load_pairs(str(tmp_path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [3, 0, 0]  # type: ignore[arg-type]
    assert next(value for what, value, _ in splits.choices if what == "test pairs") == "none: fewer than 4 pairs"
