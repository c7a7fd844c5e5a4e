"""Fashion-MNIST where it is absent or damaged; that it is read right is in tests/tools."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from overtone.data import load
from overtone.data.fashion_mnist import CLASSES, fashion_mnist_file
from overtone.data.names import clean_name
from overtone.errors import UserError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fashion_mnist_file().parent.mkdir()
    return fashion_mnist_file()


def arrays(label: int = 9) -> dict[str, np.ndarray]:
    images, labels = np.zeros((10, 28, 28), np.uint8), np.arange(10, dtype=np.uint8)
    labels[-1] = label
    return {f"{level}_{kind}": x for level in ("train", "test") for kind, x in (("images", images), ("labels", labels))}


def test_the_way_to_get_it_is_said_in_one_line(file: Path) -> None:
    with pytest.raises(UserError) as error:
        load("fashion-mnist")
    assert str(error.value) == (
        f"Fashion-MNIST is not on this machine: there is no {str(file)!r}. In Overtone's source folder, "
        "`python -m tools.fashion_mnist` makes it of Debian's package dataset-fashion-mnist."
    )


def test_class_names_are_as_the_readers_write_them(file: Path) -> None:
    save_file(arrays(), file)
    assert len(load("fashion-mnist").train) == 10
    assert [clean_name(name) for name in CLASSES] == list(CLASSES)


@pytest.mark.parametrize("fault", ["cut", "label", "missing", "shape"])
def test_a_damaged_file(fault: str, file: Path) -> None:
    held = arrays(label=10 if fault == "label" else 9)
    if fault == "missing":
        del held["test_labels"]
    if fault == "shape":
        held["test_images"] = held["test_images"][:-1]
    save_file(held, file)
    if fault == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"fashion-mnist.safetensors' is damaged .* Make it again"):
        load("fashion-mnist")


def test_it_has_no_columns(file: Path) -> None:
    with pytest.raises(UserError, match="the fashion-mnist set is none"):
        load("fashion-mnist", label_column="label")
