"""The samples of a signal as a network learns them: positions from 0 to 1 along each axis, targets from 0 to 1."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from overtone.data.signals import Signal
from overtone.models.coordinate import centres

HELD_OUT = 0.1  # of the known samples, where others are missing
LEAST_TO_HOLD = 20  # samples: of fewer, none is held out
WORST = 1e-20  # the mean square error of 200 dB: an exact fit has no finite figure


@dataclass(frozen=True)
class Samples:
    """Samples by their number: which are learned from, and which only tell how well that went."""

    signal: Signal
    train: Int[Tensor, " train"]
    held: Int[Tensor, " held"]
    grid: tuple[int, ...] = ()  # the sizes of those that are learned from, where they are a whole grid

    @property
    def rate(self) -> float:
        """The number of training samples along an axis, the mean over axes."""
        return len(self.train) ** (1 / self.signal.dims)

    def positions(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Return the positions, in float64."""
        if self.signal.positions is None:
            return centres(index, self.signal.grid)
        return torch.from_numpy((self.signal.positions[index.numpy()] - self.signal.origin) / self.signal.extent)

    def targets(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n channels"]:
        """Return the values, 0 at the signal's `low` and 1 at its `high`."""
        return self._scaled(self.signal.values, index)

    def under_mask(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n channels"]:
        """Return the same of what the signal held before a mask hid some of it."""
        assert self.signal.hidden is not None
        return self._scaled(self.signal.hidden, index)

    def _scaled(self, values: np.ndarray, index: Tensor) -> Tensor:
        rows = values.reshape(-1, self.signal.channels)[index.numpy()]
        return torch.from_numpy(((rows - self.signal.low) / (self.signal.high - self.signal.low)).astype(np.float32))


def to_fit(signal: Signal, seed: int) -> Samples:
    """Return all known samples to learn from; where some are missing or scattered, a tenth is held out."""
    known = torch.from_numpy(np.flatnonzero(signal.known))
    if signal.positions is None and len(known) == signal.known.size:
        return Samples(signal, known, known[:0], signal.grid)
    if len(known) < LEAST_TO_HOLD:
        return Samples(signal, known, known[:0])
    order = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))]
    held = round(HELD_OUT * len(known))
    return Samples(signal, order[held:].sort().values, order[:held].sort().values)


def in_halves(signal: Signal, seed: int) -> Samples:
    """Return every second sample along each axis to learn from, and the offset grid to test on (Tancik et al. 2020).

    Scattered points are halved at random.
    """
    known = torch.from_numpy(signal.known)
    if signal.positions is not None:
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        order = order[known[order]]
        return Samples(signal, order[::2].sort().values, order[1::2].sort().values)
    cells = torch.arange(len(known)).view(signal.grid)
    # An axis of one sample is in both halves.
    starts = [[start if size > 1 else 0 for size in signal.grid] for start in (0, 1)]
    train, test = (cells[tuple(slice(s, None, 2) for s in start)] for start in starts)
    grid = tuple(train.shape) if known[train].all() else ()
    return Samples(signal, train[known[train]], test[known[test]], grid)


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean square error, where values span 0 to 1; at most 200."""
    return -10 * math.log10(max(mse, WORST))
