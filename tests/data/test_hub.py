"""Sets of the hub, in `datasets`' own types and files, without the network."""

import io
import itertools
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from overtone.data import hub, load
from overtone.errors import UserError

SIZES = itertools.count(4)  # no picture is like another


def file(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, next(SIZES)), colour).save(out, "PNG")
    return out.getvalue()


def table(labels: list[Any], kind: Any = None, image: str = "img", label: str = "fine_label") -> datasets.Dataset:
    features = datasets.Features({"id": datasets.Value("int32"), image: datasets.Image()})
    features[label] = kind or datasets.ClassLabel(names=["red", "lime"])
    pictures = [{"bytes": file("red" if value in (0, "red") else "lime"), "path": None} for value in labels]
    columns = {"id": list(range(len(labels))), image: pictures, label: labels}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, datasets.Dataset]:
    """What the hub has under any name; empty until a test fills it."""
    splits: dict[str, datasets.Dataset] = {}

    def load_dataset(name: str, revision: str | None = None) -> datasets.DatasetDict:
        if not splits:
            raise ConnectionError(f"Couldn't reach {name!r}\non the Hub")
        return datasets.DatasetDict(splits)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    return splits


def test_splits_are_levels_and_types_say_the_columns(served: dict[str, datasets.Dataset]) -> None:
    served |= {"train": table([0, 1, 0, 1]), "validation": table([1, 0]), "test": table([1]), "extra": table([0])}
    splits = load("owner/colours")
    assert splits.train.classes == ("lime", "red")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [4, 2, 1]  # type: ignore[arg-type]
    record = splits.train.records[2]
    assert record.source == "owner/colours/train/2"
    assert np.asarray(record.open())[0, 0].tolist() == [255, 0, 0]
    assert ("columns", "pictures from 'img', classes from 'fine_label'", "by their types and names") in splits.choices
    assert ("splits left out", "'extra'", "they are not called train, val or test") in splits.choices


def test_pictures_stay_where_they_are_until_they_are_opened(
    served: dict[str, datasets.Dataset], tmp_path: Path
) -> None:
    table([0, 1] * 5).save_to_disk(tmp_path / "arrow")
    served["train"] = datasets.load_from_disk(tmp_path / "arrow")
    record = load("owner/colours").train.records[0]
    assert isinstance(record.encoded, memoryview)
    colour = (0, 255, 0) if record.label == 0 else (255, 0, 0)
    assert Image.open(io.BytesIO(record.encoded)).getpixel((0, 0)) == colour


def test_labels_as_text(served: dict[str, datasets.Dataset]) -> None:
    served["train"] = table(["red", "lime", "red", "lime"], datasets.Value("string"), label="category")
    assert load("owner/colours@v1.0").train.classes == ("lime", "red")


def test_labels_that_are_none_are_skipped(served: dict[str, datasets.Dataset]) -> None:
    served |= {"train": table([0, 1, 0, 1, -1, None]), "test": table([-1, -1])}
    splits = load("owner/colours")
    assert len(splits.train) + len(splits.test) == 4
    assert {item.reason for item in splits.skipped} == {"no label"}
    assert len(splits.skipped) == 4


def test_a_label_outside_the_range_is_skipped(served: dict[str, datasets.Dataset]) -> None:
    numbers = table([0, 1, 0, 1, 2], datasets.Value("int64"))
    served["train"] = numbers
    names = datasets.ClassLabel(names=["red", "lime"])
    numbers.info.features["fine_label"] = names  # as a damaged set would say: `datasets` itself checks what it casts
    splits = load("owner/colours")
    assert [(item.source, item.reason) for item in splits.skipped] == [
        ("owner/colours/train/4", "label 2, where 0 to 1 is expected")
    ]


def test_columns_that_are_not_there(served: dict[str, datasets.Dataset]) -> None:
    served["train"] = table([0, 1, 0, 1])
    with pytest.raises(UserError, match=r"--image-column 'im': no column of pictures in .* Did you mean 'img'\?"):
        load("owner/colours", image_column="im")
    with pytest.raises(UserError, match=r"--label-column 'fine label': no such column .* Did you mean 'fine_label'\?"):
        load("owner/colours", label_column="fine label")
    served["train"] = table(["a", "b"] * 2, datasets.Value("string"), label="words")
    with pytest.raises(UserError, match=r"no column of labels. Its columns are 'id', 'img', 'words'"):
        load("owner/colours")
    assert load("owner/colours", image_column="img", label_column="words").train.classes == ("a", "b")
    served["train"] = table([0, 1]).remove_columns("img")
    with pytest.raises(UserError, match=r"has no column of pictures. Its columns are 'id', 'fine_label'"):
        load("owner/colours")


def test_a_set_that_cannot_be_had(served: dict[str, datasets.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^'owner/set' is neither .* from the hub: Couldn't reach 'owner/set' on the"):
        load("owner/set")
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"the hub cannot be reached, and it is not in the cache"):
        load("owner/set")


def test_a_path_is_no_hub_id(served: dict[str, datasets.Dataset], tmp_path: Path, monkeypatch: Any) -> None:
    """Where the folder is there, a name below it is a slip, and is not asked of the hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="there is no such file or folder"):
        load("photos/cats")


def test_the_hub_is_asked_once_and_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://localhost:1")
    assert not hub.hub_answers()
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy"})
    assert hub.hub_answers()
