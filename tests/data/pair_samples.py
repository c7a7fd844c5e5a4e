"""Pictures that look unlike each other, and pairs of them laid out as people lay them out."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(number: int, scale: int = 3) -> np.ndarray:
    """Return a picture of 8 x 9 random cells, the same for the same number: each has a bit of dHash for itself."""
    cells = np.random.default_rng(number).integers(256, size=(8, 9, 3)).astype(np.uint8)
    return cells.repeat(scale, axis=0).repeat(scale, axis=1)


def encoded(image: np.ndarray, form: str = "PNG", **options: int) -> bytes:
    """Return a picture's file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, form, **options)
    return out.getvalue()


def file(number: int) -> bytes:
    """Return the PNG file of a numbered picture."""
    return encoded(pixels(number))


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar file of these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def samples(numbers: Iterable[int]) -> list[tuple[str, bytes]]:
    """Return the members of plain samples: 7.png and 7.txt."""
    return [m for n in numbers for m in ((f"{n:04}.png", file(n)), (f"{n:04}.txt", f"picture {n}".encode()))]


def write_folder(folder: Path, numbers: Iterable[int]) -> Path:
    """Write pictures, each beside its caption."""
    for name, data in samples(numbers):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
