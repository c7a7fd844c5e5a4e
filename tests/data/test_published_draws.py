"""Draws as the field's code makes them: the same seed, the same pictures; then halves."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overtone.data.imageset import ImageSet, Record
from overtone.data.published import DataSet, few_shot_as_published, part_of


def images(labels: list[int], part: str, classes: int) -> ImageSet:
    """Pictures called train-0, train-1 and so on, in the order of a split."""
    names = tuple(f"class {label}" for label in range(classes))
    return ImageSet(tuple(Record(f"{part}-{i}", label) for i, label in enumerate(labels)), names)


def data_set(train: list[int], val: list[int] | None, classes: int) -> DataSet:
    return DataSet(
        "set",
        images(train, "train", classes),
        images(val, "val", classes) if val is not None else None,
        images(list(range(classes)), "test", classes),
    )


class Twister:
    """Python's `random` over numpy's Mersenne Twister, from the description of the algorithms and not from its code."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState([seed])  # init_by_array, as Python starts from an integer

    def word(self) -> int:
        return int(self.state.randint(0, 2**32, dtype=np.uint64))

    def below(self, n: int) -> int:
        """As many high bits as n has, again until they are less than n."""
        while (drawn := self.word() >> (32 - n.bit_length())) >= n:
            pass
        return drawn

    def sample(self, items: list[int], k: int) -> list[int]:
        """Without replacement: by swapping in a small pool, by rejecting repetitions in a large one."""
        n = len(items)
        limit = 21 + (4 ** math.ceil(math.log(k * 3, 4)) if k > 5 else 0)
        if n <= limit:
            pool, drawn = list(items), []
            for i in range(k):
                j = self.below(n - i)
                drawn.append(pool[j])
                pool[j] = pool[n - i - 1]
            return drawn
        chosen: list[int] = []
        while len(chosen) < k:
            if (j := self.below(n)) not in chosen:
                chosen.append(j)
        return [items[j] for j in chosen]

    def choices(self, items: list[int], k: int) -> list[int]:
        """With replacement, by 53 random bits each."""
        return [
            items[math.floor(((self.word() >> 5) * 2**26 + (self.word() >> 6)) / 2**53 * len(items))] for _ in range(k)
        ]


def drawn_by_dassl(labels: list[int], shots: int, twister: Twister) -> list[int]:
    """Dassl's rule: classes as they first appear; `sample` of enough pictures, `choices` of too few."""
    drawn = []
    for label in dict.fromkeys(labels):
        members = [i for i, other in enumerate(labels) if other == label]
        drawn += twister.sample(members, shots) if len(members) >= shots else twister.choices(members, shots)
    return drawn


def places(drawn: ImageSet | None) -> list[int]:
    return [int(record.source.split("-")[1]) for record in drawn.records] if drawn else []


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.lists(st.integers(0, 4), max_size=40),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(0, 2**31),
)
def test_draws_are_the_fields(train: list[int], val: list[int], shots: int, seed: int) -> None:
    drawn = few_shot_as_published(data_set(train, val, 5), shots, seed)
    twister = Twister(seed)
    assert places(drawn.train) == drawn_by_dassl(train, shots, twister)
    assert places(drawn.val) == drawn_by_dassl(val, min(shots, 4), twister)


TRAIN = [2, 0, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 3, 0, 1, 2]  # class 3 has a single picture
VAL = [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("seed", "train", "val"),
    [
        (1, [4, 0, 5, 1, 14, 6, 12, 12], [0, 4, 5, 1, 6, 2, 3, 7]),
        (2, [0, 15, 1, 5, 6, 10, 12, 12], [4, 0, 1, 5, 6, 2, 7, 3]),
        (3, [4, 15, 5, 9, 14, 10, 12, 12], [4, 0, 1, 5, 6, 2, 7, 3]),
    ],
)
def test_fixed_draws(seed: int, train: list[int], val: list[int]) -> None:
    """What `random.seed(seed)` and Dassl's rule give in CPython 3.11 for two shots, written down once."""
    drawn = few_shot_as_published(data_set(TRAIN, VAL, 4), 2, seed)
    assert (places(drawn.train), places(drawn.val)) == (train, val)


def test_base_pictures_are_those_drawn_of_all_classes() -> None:
    data = data_set(TRAIN, VAL, 4)
    drawn = few_shot_as_published(data, 2, 1)
    base, new = part_of(drawn, "base"), part_of(drawn, "new")
    assert sorted(places(base.train) + places(new.train)) == sorted(places(drawn.train))
    assert {TRAIN[i] for i in places(base.train)} == {0, 1}
    assert places(few_shot_as_published(part_of(data, "base"), 2, 1).train) != places(base.train)


@given(st.integers(2, 60), st.integers(0, 9), st.data())
def test_halves(classes: int, seed: int, data: st.DataObject) -> None:
    labels = data.draw(st.permutations(list(range(classes)) * 2))
    whole = data_set(labels, None, classes)
    base, new = part_of(whole, "base"), part_of(whole, "new")
    assert len(base.test.classes) == math.ceil(classes / 2)
    assert base.test.classes + new.test.classes == whole.test.classes
    assert Counter(new.train.labels) == dict.fromkeys(range(classes // 2), 2)
    for part, start in ((base, 0), (new, len(base.test.classes))):
        assert [labels[i] - start for i in places(part.train)] == part.train.labels


def test_halves_where_the_data_divides_itself() -> None:
    data = DataSet("set", images([0, 1, 2], "train", 3), None, images([0, 1, 2], "test", 3), divided_at=1)
    assert part_of(data, "base").test.classes == ("class 0",)
    assert part_of(data, "new").test.labels == [0, 1]
