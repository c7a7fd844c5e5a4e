"""Fetch Fashion-MNIST as Debian packages it, and write it as one file, where the data name `fashion-mnist` finds it.

    python -m tools.fashion_mnist               from the installed package, or else downloads it with apt-get
    python -m tools.fashion_mnist FOLDER        from the four .gz files in FOLDER

The pictures are Zalando SE's, under the MIT licence.
"""

import gzip
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tools.packages import debian

from overtone.data.fashion_mnist import CLASSES, SIDE, fashion_mnist_file
from overtone.files import write_atomically

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTE = 8  # IDX's code for the only type these files have


def convert(folder: Path, out: Path) -> Path:
    """Write the pictures and labels in `folder` as one safetensors file, and return its path."""
    held = {}
    for level, prefix in FILES.items():
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        if images.shape != (len(labels), SIDE, SIDE):
            raise ValueError(f"{folder}: {level} pictures {images.shape} do not go with labels {labels.shape}")
        if labels.max() >= len(CLASSES):
            raise ValueError(f"{folder}: a {level} label is {labels.max()}, where 0 to {len(CLASSES) - 1} is expected")
        held |= {f"{level}_images": images, f"{level}_labels": labels}
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(out, save(held))


def read_idx(path: Path) -> np.ndarray:
    """Return the array in a gzipped IDX file of unsigned bytes: two zeros, type, number of axes, their sizes, data."""
    data = gzip.decompress(path.read_bytes())
    zeros, kind, axes = data[:2], data[2], data[3]
    shape = np.frombuffer(data, ">u4", axes, offset=4).tolist()
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * axes)
    if zeros != b"\0\0" or kind != UNSIGNED_BYTE or len(values) != math.prod(shape):
        raise ValueError(f"{path}: not a whole IDX file of unsigned bytes")
    return values.reshape(shape)


def main() -> None:
    """Convert, and say where the file is."""
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
    else:
        folder = INSTALLED if INSTALLED.is_dir() else debian(PACKAGE) / INSTALLED.relative_to("/")
    print(convert(folder, fashion_mnist_file()))


if __name__ == "__main__":
    main()
