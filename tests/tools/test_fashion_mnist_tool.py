"""The script that makes one file of the Debian package's four, and the reader that finds it."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from tools.fashion_mnist import FILES, convert, read_idx

from overtone.data import load
from overtone.data.fashion_mnist import CLASSES, fashion_mnist_file


def write_idx(path: Path, values: np.ndarray, kind: int = 8) -> Path:
    header = bytes((0, 0, kind, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))
    return path


@pytest.fixture
def package(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The package's files in `tmp_path`, with few pictures."""
    rng = np.random.default_rng(0)
    made = {}
    for level, count in (("train", 30), ("test", 20)):
        images = rng.integers(256, size=(count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(tmp_path / f"{FILES[level]}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{FILES[level]}-labels-idx1-ubyte.gz", labels)
        made[level] = (images, labels)
    return made


def test_the_reader_finds_what_the_script_wrote(
    package: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = convert(tmp_path, fashion_mnist_file())
    assert file == tmp_path / "cache" / "overtone" / "fashion-mnist.safetensors"
    splits = load("fashion-mnist")
    for level, images in (("train", splits.train), ("test", splits.test)):
        pixels, labels = package[level]
        assert [images.classes[record.label] for record in images.records] == [CLASSES[label] for label in labels]
        assert np.array_equal(np.stack([record.encoded for record in images.records]), pixels)
        assert images.records[3].source == f"fashion-mnist/{level}/3"
        assert np.array_equal(np.asarray(images.records[3].open())[..., 0], pixels[3])


def test_a_label_outside_the_range(tmp_path: Path, package: object) -> None:
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.full(20, 10, np.uint8))
    with pytest.raises(ValueError, match="a test label is 10, where 0 to 9 is expected"):
        convert(tmp_path, tmp_path / "out")


def test_pictures_without_their_labels(tmp_path: Path, package: object) -> None:
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros(29, np.uint8))
    with pytest.raises(ValueError, match=r"train pictures \(30, 28, 28\) do not go with labels \(29,\)"):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    values = np.zeros((3, 4), np.uint8)
    assert read_idx(write_idx(tmp_path / "a.gz", values)).shape == (3, 4)
    with pytest.raises(ValueError, match="not a whole IDX file of unsigned bytes"):
        read_idx(write_idx(tmp_path / "float.gz", values, kind=13))
    cut = gzip.decompress((tmp_path / "a.gz").read_bytes())[:-1]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(cut))
    with pytest.raises(ValueError, match="not a whole IDX file"):
        read_idx(tmp_path / "cut.gz")
