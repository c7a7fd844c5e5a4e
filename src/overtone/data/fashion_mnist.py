"""Fashion-MNIST (Xiao et al. 2017), from the one file that `tools/fashion_mnist.py` makes of Debian's package."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from overtone.data.imageset import Row
from overtone.data.source import Level, Source
from overtone.errors import UserError
from overtone.files import user_cache

FASHION_MNIST = "fashion-mnist"
CLASSES = (
    "T shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28  # pixels, in one channel
HOW = "In Overtone's source folder, `python -m tools.fashion_mnist` makes it of Debian's package dataset-fashion-mnist."


def fashion_mnist_file() -> Path:
    """Return where the set stands: `overtone/fashion-mnist.safetensors` in the user's cache (XDG_CACHE_HOME)."""
    return user_cache() / "fashion-mnist.safetensors"


def read_fashion_mnist() -> Source:
    """Return the 60,000 training and the 10,000 test pictures; UserError says how to get them where they are absent."""
    file = fashion_mnist_file()
    if not file.is_file():
        raise UserError(f"Fashion-MNIST is not on this machine: there is no {str(file)!r}. {HOW}")
    try:
        held = load_file(file)
        levels: dict[Level, list[Row]] = {
            level: list(_rows(level, held[f"{level}_images"], held[f"{level}_labels"])) for level in ("train", "test")
        }
    except (SafetensorError, KeyError, IndexError, ValueError) as error:
        raise UserError(f"{str(file)!r} is damaged ({error}). Make it again. {HOW}") from error
    choice = ("data", str(file), "as published")
    return Source(levels, "Fashion-MNIST has no {} level", choices=(choice,), published=True)


def _rows(level: Level, images: np.ndarray, labels: np.ndarray) -> Iterator[Row]:
    """Return the pictures of a level; ValueError for arrays of another form."""
    if images.dtype != np.uint8 or images.shape != (len(labels), SIDE, SIDE):
        raise ValueError(f"{level} pictures are {images.shape} of {images.dtype}, labels {labels.shape}")
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        yield Row(f"{FASHION_MNIST}/{level}/{number}", CLASSES[label], encoded=image)
