"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), as the binary version lays them out: no pickle is ever opened."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overtone.data.imageset import Row
from overtone.data.names import clean_names
from overtone.data.source import Level, Source
from overtone.errors import UserError

SIDE, CHANNELS = 32, 3
PICTURE = CHANNELS * SIDE * SIDE  # bytes
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Layout:
    """The files of one of the two sets."""

    title: str
    folder: str
    names: str  # the file of class names
    files: dict[Level, tuple[str, ...]]
    labels: int  # label bytes before each picture; the last is the class
    pickled: str  # the Python version's folder
    archive: str


LAYOUTS = (
    Layout(
        "CIFAR-10",
        "cifar-10-batches-bin",
        "batches.meta.txt",
        {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        1,
        "cifar-10-batches-py",
        "cifar-10-binary.tar.gz",
    ),
    Layout(
        "CIFAR-100",
        "cifar-100-binary",
        "fine_label_names.txt",
        {"train": ("train.bin",), "test": ("test.bin",)},
        2,  # coarse, fine
        "cifar-100-python",
        "cifar-100-binary.tar.gz",
    ),
)


def find_cifar(path: Path) -> tuple[Layout, Path] | None:
    """Return which of the two sets stands in the folder `path`, or right below it, and where; None for neither.

    Raises UserError where only the Python version does, whose files are pickles.
    """
    for layout in LAYOUTS:
        for folder in (path, path / layout.folder):
            if (folder / layout.names).is_file() and (folder / layout.files["test"][0]).is_file():
                return layout, folder
    for layout in LAYOUTS:
        for folder in (path, path / layout.pickled):
            if folder.name == layout.pickled and folder.is_dir():
                raise UserError(
                    f"{str(folder)!r} is the Python version of {layout.title}: pickled files, which can run any code "
                    f"and are never opened here. Take the binary version, {layout.archive}, from {PAGE}"
                )
    return None


def read_cifar(layout: Layout, folder: Path) -> Source:
    """Return the pictures of one of the two sets. Raises UserError for a file that is damaged or missing."""
    lines = (folder / layout.names).read_text(encoding="utf-8").split("\n")
    names = list(clean_names((line.strip() for line in lines if line.strip()), str(folder)).values())
    levels: dict[Level, list[Row]] = {
        level: [row for file in files for row in _rows(folder / file, names, layout.labels)]
        for level, files in layout.files.items()
    }
    choice = ("data", f"{layout.title}, binary version", "recognised by its files")
    return Source(levels, f"{layout.title} has no {{}} level", choices=(choice,), published=True)


def _rows(file: Path, names: list[str], labels: int) -> list[Row]:
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(
            f"{str(file)!r} cannot be read: {error.strerror}. Unpack the archive from {PAGE} again."
        ) from error
    if not data.size or data.size % (labels + PICTURE):
        raise UserError(f"{str(file)!r} is damaged: {data.size:,} bytes are no whole number of pictures.")
    table = data.reshape(-1, labels + PICTURE)
    classes = table[:, labels - 1]
    if classes.max() >= len(names):
        raise UserError(f"{str(file)!r}: label {classes.max()}, where 0 to {len(names) - 1} is expected.")
    images = table[:, labels:].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return [
        Row(f"{file}:{number}", names[label], encoded=image)
        for number, (image, label) in enumerate(zip(images, classes.tolist(), strict=True))
    ]
