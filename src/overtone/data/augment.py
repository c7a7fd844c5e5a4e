"""Random views of training pictures, in batches: cropped as bytes, then erased and mixed as numbers.

What is drawn for a picture follows from the seed, the epoch and the picture's place in the set, and from nothing else:
not from the batch it stands in, the process that sees it, or whether the run was interrupted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

ERASED_AREA = (0.02, 0.33)  # of a picture; these and the next are the published ones (Zhong et al. 2017)
ERASED_ASPECT = (0.3, 1 / 0.3)
UNIFORM = 8  # numbers drawn for a picture: crop's side, top and left; whether it is erased, area, aspect, top and left


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for each training picture in every epoch; the default is nothing."""

    padding: int = 0
    """Pixels around a picture, so that crops can reach beyond it."""
    border: Literal["reflect", "zero"] = "reflect"
    """What the padding holds."""
    resize: bool = False
    """Crops are of any side from the network's to the whole picture's, and brought to the network's."""
    flip: Literal["never", "random", "alternating"] = "never"
    """Mirror left and right: by the toss of a coin, or by one for the first epoch and then every second time."""
    erase: float = 0.0
    """The share of pictures in which a rectangle is set to the mean (random erasing)."""
    mix: float = 0.0
    """alpha of mixup: with lambda from Beta(alpha, alpha), lambda x + (1 - lambda) x', and the same of the labels."""

    def __post_init__(self) -> None:
        """Raise ValueError for a number out of range."""
        if self.padding < 0 or not 0 <= self.erase <= 1 or self.mix < 0:
            raise ValueError(f"padding and mix are 0 or more and erase is in [0, 1], got {self}")


@dataclass(frozen=True)
class Draws:
    """What was drawn, for every picture of a set or of a batch."""

    uniform: Float[Tensor, "pictures 8"]
    flip: Bool[Tensor, " pictures"]
    mix: Float[Tensor, " pictures"]  # lambda, 1 where nothing is mixed

    def __getitem__(self, rows: Int[Tensor, " batch"]) -> "Draws":
        return Draws(self.uniform[rows], self.flip[rows], self.mix[rows])

    def to(self, device: torch.device | str) -> "Draws":
        """Move all of them."""
        return Draws(self.uniform.to(device), self.flip.to(device), self.mix.to(device))


def draw(augmentation: Augmentation, pictures: int, seed: int, epoch: int) -> Draws:
    """Draw for all `pictures` of a set what holds in an epoch, counted from 0."""
    rng = np.random.default_rng([seed, epoch])
    uniform = torch.from_numpy(rng.random((pictures, UNIFORM), dtype=np.float32))
    mix = rng.beta(augmentation.mix, augmentation.mix, pictures) if augmentation.mix else np.ones(pictures)
    if augmentation.flip == "alternating":
        flip = np.random.default_rng(seed).random(pictures) < 0.5
        flip ^= epoch % 2 == 1
    else:
        flip = rng.random(pictures) < (0.5 if augmentation.flip == "random" else 0)
    return Draws(uniform, torch.from_numpy(flip), torch.from_numpy(mix.astype(np.float32)))


def padded(
    squares: UInt8[Tensor, "batch channels side side"], augmentation: Augmentation
) -> UInt8[Tensor, "batch channels padded padded"]:
    """Put the padding around pictures."""
    p, side = augmentation.padding, squares.shape[-1]
    if p == 0:
        return squares
    if augmentation.border == "zero":
        return torch.nn.functional.pad(squares, [p, p, p, p])
    inside = torch.arange(-p, side + p, device=squares.device).abs()  # torch's own reflection takes no bytes
    inside = (side - 1) - (side - 1 - inside).abs()
    return squares[:, :, inside][..., inside]


def crops(
    squares: UInt8[Tensor, "batch channels padded padded"], draws: Draws, size: int, augmentation: Augmentation
) -> UInt8[Tensor, "batch channels size size"]:
    """Cut a random square from each padded picture, and mirror those whose turn it is."""
    cut = _resized if augmentation.resize else _shifted
    views = cut(squares, draws.uniform[:, :3], size)
    return torch.where(draws.flip[:, None, None, None], views.flip(-1), views)


def _shifted(squares: Tensor, u: Tensor, size: int) -> Tensor:
    """Cut squares of `size` at whole pixels, every place alike."""
    room = squares.shape[-1] - size + 1
    top, left = (u[:, 1:] * room).long().clamp_max(room - 1).unbind(1)
    windows = squares.unfold(2, size, 1).unfold(3, size, 1)  # all of them, none copied
    return windows[torch.arange(len(squares), device=squares.device), :, top, left]


def _resized(squares: Tensor, u: Tensor, size: int) -> Tensor:
    """Cut squares of any side from `size` to the whole, and sample `size` x `size` pixels of each (bilinear)."""
    whole = squares.shape[-1]
    side = size + u[:, 0] * (whole - size)
    start = u[:, 1:] * (whole - side)[:, None]  # top, left
    steps = (torch.arange(size, device=u.device) + 0.5) / size
    y, x = ((start[:, i, None] + side[:, None] * steps) * 2 / whole - 1 for i in (0, 1))
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    return grid_sample(squares.float(), grid, align_corners=False).round().to(torch.uint8)


def erased(
    x: Float[Tensor, "batch channels size size"], uniform: Float[Tensor, "batch 8"], share: float
) -> Float[Tensor, "batch channels size size"]:
    """Set a random rectangle to 0, the mean of what is normalised, in a share of the pictures: random erasing."""
    whether, area, aspect, top, left = uniform[:, 3:].unbind(1)
    low, high = ERASED_AREA
    area = low + area * (high - low)
    log_low, log_high = (float(np.log(a)) for a in ERASED_ASPECT)
    aspect = (log_low + aspect * (log_high - log_low)).exp()
    rows = _span((area * aspect).sqrt(), top, x.shape[-2])
    columns = _span((area / aspect).sqrt(), left, x.shape[-1])
    inside = rows[:, :, None] & columns[:, None, :] & (whether < share)[:, None, None]
    return x.masked_fill(inside[:, None], 0)


def _span(share: Tensor, place: Tensor, size: int) -> Bool[Tensor, "batch size"]:
    """Return which of `size` pixels lie in a stretch of this share of them, at this place in [0, 1)."""
    length = (share * size).round().clamp(1, size)
    start = (place * (size - length + 1)).floor()
    at = torch.arange(size, device=share.device)
    return (at >= start[:, None]) & (at < (start + length)[:, None])


def mixed(
    x: Float[Tensor, "batch channels size size"], targets: Float[Tensor, "batch classes"], lam: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch channels size size"], Float[Tensor, "batch classes"]]:
    """Mix neighbours, the first with the second, the third with the fourth, and their labels (mixup, Zhang et al.).

    Pairs, so that processes which share a batch mix the same pictures as one process would.
    """
    rows = torch.arange(len(x), device=x.device)
    other = torch.where((rows ^ 1) < len(x), rows ^ 1, rows)
    picture, label = lam[:, None, None, None], lam[:, None]
    return picture * x + (1 - picture) * x[other], label * targets + (1 - label) * targets[other]
