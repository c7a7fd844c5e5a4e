"""Pairs of the hub, whole and streamed, from `datasets`' own objects in place of what the hub would serve."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pytest
from pair_samples import file, pixels
from torch.utils.data import DataLoader

from overtone.data import hub
from overtone.data.imageset import Skipped
from overtone.data.pairs import PairSet, PairStream, load_pairs
from overtone.errors import UserError

FEATURES = datasets.Features(
    {"id": datasets.Value("int32"), "photo": datasets.Image(), "caption": datasets.List(datasets.Value("string"))}
)


def table(numbers: range, **changes: Any) -> datasets.Dataset:
    columns: dict[str, list[Any]] = {
        "id": list(numbers),
        "photo": [{"bytes": file(n), "path": f"{n}.png"} for n in numbers],
        "caption": [[f"picture {n}", f"no. {n}"] for n in numbers],
    }
    return datasets.Dataset.from_dict(columns | changes, features=FEATURES)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, datasets.Dataset]:
    """What the hub has under any name; empty until a test fills it."""
    splits: dict[str, datasets.Dataset] = {}

    def load_dataset(name: str, revision: str | None = None, streaming: bool = False) -> Any:
        if not splits:
            raise ConnectionError(f"Couldn't reach {name!r}\non the Hub")
        if not streaming:
            return datasets.DatasetDict(splits)
        return datasets.IterableDatasetDict(
            {name: split.to_iterable_dataset(num_shards=min(4, len(split))) for name, split in splits.items()}
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    return splits


def numbers(pairs: Any) -> list[int]:
    return [int(pair.captions[0].split()[1]) for pair in pairs]


def test_whole(served: dict[str, datasets.Dataset]) -> None:
    served |= {"train": table(range(6)), "validation": table(range(6, 8)), "test": table(range(8, 9))}
    served["extra"] = table(range(9, 10))
    splits = load_pairs("owner/pairs")
    assert isinstance(splits.train, PairSet)
    assert [numbers(part) for part in (splits.train, splits.validation, splits.test)] == [[*range(6)], [6, 7], [8]]  # type: ignore[attr-defined]
    pair = splits.train[4]
    assert (pair.source, pair.captions) == ("owner/pairs/train/4", ("picture 4", "no. 4"))
    assert np.array_equal(np.asarray(pair.image.open()), pixels(4))
    assert splits.choices == (
        ("columns", "pictures from 'photo', captions from 'caption'", "by their types and names"),
        ("splits left out", "'extra'", "they are not called train, val or test"),
    )


def test_whole_with_missing_cells_and_one_split_of_any_name(served: dict[str, datasets.Dataset]) -> None:
    captions = [["picture 0"], None, [""], ["picture 3"], ["picture 4"]]
    served["full"] = table(range(5), caption=captions)
    splits = load_pairs("owner/pairs@v2")
    assert {item.source: item.reason for item in splits.skipped} == {
        "owner/pairs@v2/1": "nothing in the column 'caption'",
        "owner/pairs@v2/2": "nothing in the column 'caption'",
    }
    assert numbers(splits.train) == [0, 3, 4]


def test_streamed(served: dict[str, datasets.Dataset]) -> None:
    served |= {"train": table(range(20)), "validation": table(range(20, 23)), "test": table(range(23, 25))}
    splits = load_pairs("owner/pairs", stream=True)
    assert isinstance(splits.train, PairStream)
    assert (numbers(splits.validation), numbers(splits.test)) == ([20, 21, 22], [23, 24])  # type: ignore[arg-type]
    order = numbers(splits.train)
    assert sorted(order) == list(range(20))
    assert numbers(splits.train) == order
    for workers in (1, 2):
        loader = DataLoader(splits.train, batch_size=None, num_workers=workers)
        assert sorted(numbers(loader)) == list(range(20))
    for pair in splits.train:
        assert np.array_equal(np.asarray(pair.image.open()), pixels(*numbers([pair])))


def test_streamed_without_levels(served: dict[str, datasets.Dataset]) -> None:
    served["train"] = table(range(40))
    splits = load_pairs("owner/pairs", stream=True)
    parts = [numbers(part) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [36, 2, 2]
    assert sorted(number for part in parts for number in part) == list(range(40))


def test_what_is_bad_in_a_stream(served: dict[str, datasets.Dataset]) -> None:
    photos = [{"bytes": file(n), "path": None} for n in range(8)]
    photos[1], photos[2] = None, {"bytes": b"x", "path": None}  # type: ignore[call-overload]
    captions = [[f"picture {n}"] for n in range(8)]
    captions[3] = []
    served |= {
        "train": table(range(8), photo=photos, caption=captions),
        "val": table(range(2)),
        "test": table(range(1)),
    }
    train = load_pairs("owner/pairs", stream=True).train
    assert isinstance(train, PairStream)
    assert sorted(numbers(train)) == [0, 4, 5, 6, 7]
    said = {item.source: item.reason for item in train.skipped}
    assert said.pop("owner/pairs/train/1/0").startswith("not a picture")
    assert said == {"owner/pairs/train/0/1": "no picture", "owner/pairs/train/1/1": "nothing in the column 'caption'"}


def broken(shards: list[int]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        for n in range(4):
            if (shard, n) == (1, 2):
                raise OSError("connection\nlost")
            yield {
                "id": n,
                "photo": {"bytes": file(4 * shard + n), "path": None},
                "caption": [f"picture {4 * shard + n}"],
            }


def test_a_shard_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = datasets.IterableDataset.from_generator(broken, features=FEATURES, gen_kwargs={"shards": [0, 1, 2]})
    whole = table(range(100, 102)).to_iterable_dataset()
    served = {"train": stream, "val": whole, "test": whole}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.IterableDatasetDict(served))
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    train = load_pairs("owner/pairs", stream=True).train
    assert isinstance(train, PairStream)
    assert sorted(numbers(train)) == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]
    assert train.skipped == (Skipped("owner/pairs/train/1", "breaks off: connection lost"),)


def test_a_stream_that_does_not_say_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = datasets.IterableDataset.from_generator(lambda: broken([0]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.IterableDatasetDict({"train": stream}))
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    splits = load_pairs("owner/pairs", stream=True)
    parts = [numbers(part) for part in (splits.train, splits.validation, splits.test)]
    assert sorted(number for part in parts for number in part) == [0, 1, 2, 3]


def test_what_cannot_be_had(served: dict[str, datasets.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^'owner/set' is neither .* from the hub: Couldn't reach 'owner/set' on the"):
        load_pairs("owner/set")
    with pytest.raises(UserError, match=r"^'owner/set' is not to be had from the hub: Couldn't reach"):
        load_pairs("owner/set", stream=True)
    served |= {"one": table(range(3)), "two": table(range(3))}
    with pytest.raises(UserError, match=r"No split is called train: the set has 'one', 'two'\."):
        load_pairs("owner/set")
    served |= {"train": table(range(3))}
    with pytest.raises(UserError, match=r"--caption-column 'captoin': no such column .* Did you mean 'caption'\?"):
        load_pairs("owner/set", caption_column="captoin")
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    with pytest.raises(UserError, match="the hub cannot be reached to stream it"):
        load_pairs("owner/set", stream=True)
