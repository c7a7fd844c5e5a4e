"""CIFAR's binary layout, and the refusal of the pickled one."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from overtone.data import load
from overtone.errors import UserError

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def records(count: int, labels: int, classes: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A file's bytes, its pictures as (count, row, column, channel), and their classes."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(256, size=(count, 32, 32, 3)).astype(np.uint8)
    kinds = rng.integers(classes, size=(count, labels)).astype(np.uint8)
    kinds[: min(count, classes), -1] = np.arange(min(count, classes))
    file = io.BytesIO()
    for kind, picture in zip(kinds, pictures, strict=True):
        file.write(kind.tobytes())
        for channel in range(3):  # red, then green, then blue, row by row
            file.write(picture[:, :, channel].tobytes())
    return file.getvalue(), pictures, kinds[:, -1]


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(records(12, 1, 10, number)[0])
    (folder / "test_batch.bin").write_bytes(records(11, 1, 10, 0)[0])
    (folder / "batches.meta.txt").write_text("\n".join([*TEN, "", ""]))
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_cifar_10(inside: bool, ten: Path) -> None:
    splits = load(str(ten if inside else ten.parent))
    assert splits.train.classes == tuple(TEN)
    assert (len(splits.train), len(splits.test)) == (60, 11)
    _, pictures, labels = records(12, 1, 10, 3)
    for number in (0, 11):
        record = splits.train.records[24 + number]
        assert record.source == f"{ten / 'data_batch_3.bin'}:{number}"
        assert record.label == labels[number]
        assert np.array_equal(np.asarray(record.open()), pictures[number])


def test_cifar_100_has_the_fine_label_second(tmp_path: Path) -> None:
    names = [f"thing_{i:02d}" for i in range(100)]
    (tmp_path / "fine_label_names.txt").write_text("\n".join(names))
    _, _, labels = records(120, 2, 100, 1)
    for name, seed in (("train", 1), ("test", 2)):
        (tmp_path / f"{name}.bin").write_bytes(records(120, 2, 100, seed)[0])
    splits = load(str(tmp_path))
    assert len(splits.train.classes) == 100
    assert splits.train.labels == labels.tolist()


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("folder", "file", "archive"),
    [
        ("cifar-10-batches-py", "data_batch_1", "cifar-10-binary.tar.gz"),
        ("cifar-100-python", "train", "cifar-100-binary.tar.gz"),
    ],
)
def test_the_pickled_version_is_refused_unopened(
    folder: str, file: str, archive: str, inside: bool, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / folder / file).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=f"pickled files, .* never opened here. Take the binary version, {archive}"):
        load(str(tmp_path / folder if inside else tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_the_binary_version_is_taken_where_both_are(ten: Path) -> None:
    (ten.parent / "cifar-10-batches-py").mkdir()
    assert len(load(str(ten.parent)).train) == 60


def test_files_that_are_damaged_or_missing(ten: Path) -> None:
    whole = (ten / "data_batch_2.bin").read_bytes()
    (ten / "data_batch_2.bin").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"data_batch_2.bin' is damaged: 36,875 bytes are no whole number of pictures"):
        load(str(ten))
    (ten / "data_batch_2.bin").write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(UserError, match=r"data_batch_2.bin': label 10, where 0 to 9 is expected"):
        load(str(ten))
    (ten / "data_batch_2.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_2.bin' cannot be read: No such file or directory. Unpack"):
        load(str(ten))
