"""Random views of training pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import kornia.augmentation as augment
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from overtone.data import Record
from overtone.spectral import amplitude_mix

OPEN = 64  # pictures that stay decoded
CROP = (0.5, 1.0)  # area of a random resized crop, as published (MMRL)


class Pixels(Sequence):
    """Pictures as a backbone wants them, in [0, 1], opened when asked for; the last few are kept."""

    def __init__(self, records: Sequence[Record], pixels: Callable[[Image.Image], Float[Tensor, "3 h w"]]) -> None:
        self.records = records
        self.open = lru_cache(OPEN)(lambda row: pixels(records[row].open()))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Float[Tensor, "3 h w"]:  # type: ignore[override]
        return self.open(row)


@dataclass(frozen=True)
class Views:
    """Random views of training pictures, each the same whenever it is asked for again."""

    pixels: Sequence[Float[Tensor, "3 h w"]] | Float[Tensor, "pictures 3 h w"]
    seed: int
    amplitude: bool = False  # mix in another picture's amplitude (FACT, Xu et al. 2021)

    def batch(self, pictures: Sequence[int], views: Sequence[int]) -> Float[Tensor, "batch 3 h w"]:
        """Return the given view of each picture."""
        return torch.stack([self.one(i, v) for i, v in zip(pictures, views, strict=True)])

    def one(self, picture: int, view: int) -> Float[Tensor, "3 h w"]:
        """Return one view; its random draws depend on the seed, the picture and the view alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((self.seed, picture, view)))  # not that of any accelerator
            x = self.pixels[picture][None]
            crop = augment.RandomResizedCrop((x.shape[-2], x.shape[-1]), scale=CROP)
            x = augment.RandomHorizontalFlip()(crop(x))
            if self.amplitude:
                other = self.pixels[int(torch.randint(len(self.pixels), ()))][None]
                x = amplitude_mix(x, other, torch.rand(1)).clamp(0, 1)
            return x[0]
