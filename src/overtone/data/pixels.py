"""The pictures of a set as a network takes them: squares of bytes, in memory where they fit, else read when needed."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import Dataset, get_worker_info

from overtone.data.augment import Augmentation, crops, draw, padded
from overtone.data.images import BadImage
from overtone.data.imageset import ImageSet, Record, Skipped, require_good
from overtone.data.threads import on_all_cores
from overtone.errors import UserError
from overtone.processes import processes_here

MEMORY = 2 * 2**30  # bytes of pictures that are kept in memory
MEASURED = 4096  # pictures that mean and deviation are taken from
BATCH = 128  # pictures at once, where nothing is learned


@dataclass(frozen=True)
class Framing:
    """How a picture becomes what a network takes: its middle square, brought to `stored` pixels, is kept.

    The network sees `size` x `size` of them: the middle, or in training a random part.
    """

    size: int
    stored: int
    channels: int

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that cannot be."""
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}: pictures have 1 (grey) or 3 (red, green, blue)")
        if not 1 <= self.size <= self.stored:
            raise ValueError(f"size is {self.size}: it must be from 1 to stored, which is {self.stored}")

    def square(self, picture: Record | Image.Image) -> UInt8[np.ndarray, "channels stored stored"]:
        """Return the middle square of a picture; raises BadImage for a record that cannot be opened."""
        if isinstance(picture, Record) and (ready := self._ready(picture.encoded)) is not None:
            return ready
        image = picture.open() if isinstance(picture, Record) else picture
        if image.size != (self.stored, self.stored):
            image = ImageOps.fit(image, (self.stored, self.stored), Image.Resampling.BICUBIC)
        pixels = np.asarray(image.convert("L" if self.channels == 1 else "RGB"))
        return pixels.reshape(self.stored, self.stored, self.channels).transpose(2, 0, 1)

    def _ready(self, held: object) -> np.ndarray | None:
        """Return bytes that are of this form already: a set of 60,000 small pictures is read in a second."""
        if not isinstance(held, np.ndarray) or held.dtype != np.uint8 or held.shape[:2] != (self.stored, self.stored):
            return None
        if held.ndim == 2:
            return np.broadcast_to(held, (self.channels, *held.shape))
        return held.transpose(2, 0, 1) if held.shape[2] == self.channels else None

    def middle(self, squares: UInt8[Tensor, "*batch stored stored"]) -> UInt8[Tensor, "*batch size size"]:
        """Cut what the network sees when nothing is drawn."""
        start = (self.stored - self.size) // 2
        return squares[..., start : start + self.size, start : start + self.size]


class Pixels:
    """The squares of a set's pictures, in the set's order."""

    def __init__(self, images: ImageSet, framing: Framing) -> None:
        """Raise ValueError for a label that is none of the set's classes."""
        self.images, self.framing = images, framing
        self.labels = torch.tensor(images.labels, dtype=torch.long)
        self.device = torch.device("cpu")
        for record in images.records:
            if not 0 <= record.label < len(images.classes):
                raise ValueError(
                    f"{record.source!r} has the label {record.label}, where 0 to {len(images.classes) - 1} is expected"
                )

    def __len__(self) -> int:
        return len(self.images)

    def squares(self, rows: Int[Tensor, " batch"]) -> UInt8[Tensor, "batch channels stored stored"]:
        """Return the squares of some pictures, read in threads; UserError for one that cannot be opened any more."""
        records = [self.images.records[row] for row in rows.tolist()]
        with ThreadPoolExecutor(threads()) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._square, records))))

    def _square(self, record: Record) -> UInt8[np.ndarray, "channels stored stored"]:
        try:
            return self.framing.square(record)
        except BadImage as error:
            raise UserError(
                f"The picture {record.source!r} could be read before and now cannot: {error}. When it can be again, a "
                "training goes on from its last checkpoint with --resume."
            ) from error

    def prepared(self, augmentation: Augmentation) -> UInt8[Tensor, "pictures channels padded padded"] | None:
        """Return all squares, padded once for all, where they are in memory; else None."""
        return None

    def sample(self, number: int) -> "Pixels":
        """Return at most `number` of the pictures, evenly chosen."""
        return Pixels(self.images.select(evenly(len(self), number).tolist()), self.framing)


class MemoryPixels(Pixels):
    """Squares that are all in memory: bytes, on the device that trains."""

    def __init__(self, images: ImageSet, framing: Framing, kept: UInt8[Tensor, "pictures channels h h"]) -> None:
        super().__init__(images, framing)
        self.kept = kept
        self.device = kept.device

    def squares(self, rows: Int[Tensor, " batch"]) -> UInt8[Tensor, "batch channels stored stored"]:
        """Return the squares of some pictures."""
        return self.kept[rows.to(self.device)]

    def prepared(self, augmentation: Augmentation) -> UInt8[Tensor, "pictures channels padded padded"]:
        """Return all squares, padded."""
        return padded(self.kept, augmentation)

    def sample(self, number: int) -> "Pixels":
        """Return at most `number` of the pictures, evenly chosen."""
        rows = evenly(len(self), number)
        return MemoryPixels(self.images.select(rows.tolist()), self.framing, self.kept[rows.to(self.device)])


def read_pixels(
    images: ImageSet,
    framing: Framing,
    device: torch.device | str,
    watch: Callable[[int, int], None] = lambda done, all: None,
) -> tuple[Pixels, list[Skipped]]:
    """Open every picture once and part the good from the bad: the good ones as squares, and why the others are none.

    They are kept on `device` where they fit into MEMORY. `watch` is told after each picture how many are done, and of
    how many. Raises UserError when none is good.
    """
    shape = (len(images), framing.channels, framing.stored, framing.stored)
    kept = np.empty(shape, np.uint8) if np.prod(shape) <= MEMORY else None
    good: list[int] = []
    skipped: list[Skipped] = []
    for row, (record, square) in enumerate(zip(images.records, _read(images.records, framing), strict=True)):
        watch(row + 1, len(images))
        if isinstance(square, str):
            skipped.append(Skipped(record.source, square))
            continue
        if kept is not None:
            kept[len(good)] = square
        good.append(row)
    require_good(images, skipped)
    images = images.select(good) if skipped else images
    if kept is None:
        return Pixels(images, framing), skipped
    return MemoryPixels(images, framing, torch.from_numpy(kept[: len(good)]).to(device)), skipped


def _read(records: Sequence[Record], framing: Framing) -> Iterable[np.ndarray | str]:
    """Yield the square of each picture, or why there is none."""

    def read(record: Record) -> np.ndarray | str:
        try:
            return framing.square(record)
        except BadImage as error:
            return str(error)

    if all(isinstance(record.encoded, np.ndarray) for record in records):
        yield from map(read, records)  # nothing to decode: threads would only cost
        return
    yield from on_all_cores(read, records, threads())


def threads() -> int:
    """Return how many threads read: the processes that train on this machine, and those that read, share its cores."""
    if get_worker_info() is not None:
        return 1
    return max(1, (os.cpu_count() or 1) // processes_here())


def evenly(pictures: int, number: int) -> Int[Tensor, " rows"]:
    """Return at most `number` of the rows of so many pictures, at even distances, from the first to the last."""
    return torch.linspace(0, pictures - 1, min(pictures, number), dtype=torch.float64).round().long()


def mean_and_deviation(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, in [0, 1], over evenly chosen pictures."""
    rows = evenly(len(pixels), MEASURED)
    sums = torch.zeros(2, pixels.framing.channels, dtype=torch.float64)
    for some in rows.split(BATCH):
        x = pixels.squares(some).cpu().double() / 255
        sums += torch.stack([x.mean(dim=(2, 3)).sum(0), x.square().mean(dim=(2, 3)).sum(0)])
    mean, square = sums / len(rows)
    return tuple(mean.tolist()), tuple((square - mean**2).clamp_min(1 / 255**2).sqrt().tolist())


class Views(Dataset):
    """Training pictures in batches, each as its epoch wants it seen: see `overtone.data.augment`."""

    def __init__(self, pixels: Pixels, augmentation: Augmentation, seed: int) -> None:
        self.pixels, self.augmentation, self.seed = pixels, augmentation, seed
        self.prepared = pixels.prepared(augmentation)
        self.in_memory = self.prepared is not None
        self.epoch = -1
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.pixels)

    def set_epoch(self, epoch: int) -> None:
        """Draw for an epoch, counted from 0."""
        if epoch != self.epoch:
            self.epoch, self.draws = epoch, draw(self.augmentation, len(self), self.seed, epoch)

    def __getitems__(self, rows: list[int]) -> dict[str, Any]:
        """Return the views of some pictures, with their labels and with what was drawn that is yet to be done."""
        index = torch.tensor(rows)
        draws = self.draws[index].to(self.pixels.device)
        if self.prepared is None:
            squares = padded(self.pixels.squares(index), self.augmentation)
        else:
            squares = self.prepared[index.to(self.pixels.device)]
        views = crops(squares, draws, self.pixels.framing.size, self.augmentation)
        return {"pixels": views, "labels": self.pixels.labels[index], "uniform": draws.uniform, "mix": draws.mix}


class Normalise(nn.Module):
    """Make numbers of bytes: (x / 255 - mean) / deviation, a channel each."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: UInt8[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """Return float32."""
        return (pixels.float() / 255 - self.mean) / self.deviation
