"""What the tangent kernel says before and while a network is fitted: the bandwidth, and how the error will fall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from overtone.errors import UserError
from overtone.ntk import Bandwidth, periodic_spectrum, relu_kernels, select_bandwidth, spectrum
from overtone.ntk.bandwidth import Method
from overtone.tasks.fit_samples import WORST, Samples

TILE = {1: 2**16, 2: 512, 3: 64}  # the largest piece of a grid, by its axes: its mirror image has 2^d times as many
PATCH, PATCHES = 768, 4  # the largest piece of scattered samples, and how many of them
BINS = 1000


@dataclass(frozen=True)
class Decay:
    """The mean square error that gradient flow with a fixed kernel leaves: E(t) = sum_i power_i exp(-2 rate_i t)."""

    rates: Float[Tensor, " components"]  # eigenvalues, in units of K(x, x)
    powers: Float[Tensor, " components"]  # of the signal less its mean, along the eigenvectors

    def error(self, time: float | Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return E(t)."""
        t = torch.as_tensor(time, dtype=torch.float64)[..., None]
        return (self.powers * torch.exp(-2 * self.rates * t)).sum(-1)

    def time(self, error: float) -> float:
        """Return when the error is this low; 0 where it is lower from the start, and 1e12 for never."""
        low, high = -12.0, 12.0
        if self.error(10**low) <= error:
            return 0.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.error(10**middle) > error else (low, middle)
        return 10**high

    def pace(self, times: Float[Tensor, " looks"], errors: Float[Tensor, " looks"]) -> float:
        """Return the c for which E(c t) is nearest to the errors observed at times t, in squares of logarithms."""
        paces = torch.logspace(-12, 6, 2000, dtype=torch.float64)
        logarithms = self.error(paces[:, None] * times).clamp_min(WORST).log()
        return paces[(logarithms - errors.log()).square().mean(1).argmin()].item()


def choose_bandwidth(samples: Samples, method: Method, candidates: Sequence[float] | None) -> Bandwidth:
    """Choose the deviation of Gaussian features for the training samples, in cycles over the extent of an axis.

    Raises UserError for what `select_bandwidth` refuses.
    """
    try:
        grid = _on_grid(samples)
        if grid is None or max(samples.grid) <= 4:  # on small grids, axes and channels look alike
            values, positions = samples.targets(samples.train), samples.positions(samples.train)
            return select_bandwidth(values, candidates, method, positions=positions)
        # The order of axes is nothing to the kernel, and the longest last is none that looks like channels.
        axes = sorted(range(1, grid.dim()), key=lambda axis: grid.shape[axis])
        return select_bandwidth(grid.permute(0, *axes), candidates, method, dims=len(axes))
    except ValueError as error:
        raise UserError(f"No bandwidth can be chosen: {error}.") from error


def decay(samples: Samples, std: float, depth: int) -> Decay:
    """Return how the error falls for a network of `depth` hidden layers on Gaussian features of deviation `std`.

    On a grid the signal is mirrored at its borders, where the kernel is circulant (`ot.ntk.periodic_spectrum`); of a
    large one, the middle stands for all. Scattered samples have their kernel's eigenvectors in a few neighbourhoods.
    """
    values = _on_grid(samples)
    rates, powers = _of_scatter(samples, std, depth) if values is None else _of_grid(values, std, depth)
    edges = torch.logspace(-12, 8, BINS, dtype=rates.dtype)
    bin = torch.bucketize(rates, edges)
    powers_of = torch.bincount(bin, powers, BINS + 1)
    rates_of = torch.bincount(bin, powers * rates, BINS + 1) / powers_of.clamp_min(torch.finfo(powers.dtype).tiny)
    return Decay(rates_of, powers_of)


def _on_grid(samples: Samples) -> Float[Tensor, "channels *sizes"] | None:
    """Return the training samples where they are a whole grid."""
    return samples.targets(samples.train).double().T.reshape(-1, *samples.grid) if samples.grid else None


def _of_grid(values: Tensor, std: float, depth: int) -> tuple[Tensor, Tensor]:
    sizes = values.shape[1:]
    for axis, size in enumerate(sizes):
        tile = min(size, TILE[len(sizes)])
        values = values.narrow(axis + 1, (size - tile) // 2, tile)
    values = values - values.flatten(1).mean(1).view(-1, *[1] * len(sizes))
    lags = []
    for axis, (tile, size) in enumerate(zip(values.shape[1:], sizes, strict=True)):
        values = torch.cat([values, values.flip(axis + 1)], axis + 1)
        lags.append(torch.cat([torch.arange(tile + 1), torch.arange(tile - 1, 0, -1)]).double() / size)
    squares = torch.stack(torch.meshgrid(*lags, indexing="ij")).square().sum(0)
    axes = list(range(1, values.dim()))
    powers = (torch.fft.fftn(values, dim=axes).abs() / squares.numel()).square().mean(0)
    return periodic_spectrum(_kernel(squares, std, depth)).flatten(), powers.flatten()


def _of_scatter(samples: Samples, std: float, depth: int) -> tuple[Tensor, Tensor]:
    positions, values = samples.positions(samples.train), samples.targets(samples.train).double()
    values = values - values.mean(0)
    centre = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:PATCHES]
    near = torch.cdist(positions[centre], positions).argsort(dim=1)[:, :PATCH]
    near = near if len(values) > PATCH else near[:1]
    rates, powers = [], []
    for index in near:
        eigenvalues, V = spectrum(_kernel(torch.cdist(positions[index], positions[index]).square(), std, depth))
        rates.append(eigenvalues)
        powers.append((V.T @ values[index]).square().mean(1) / (len(index) * len(near)))
    return torch.cat(rates), torch.cat(powers)


def _kernel(squares: Tensor, std: float, depth: int) -> Tensor:
    """Return K / K(x, x) at squared distances, of infinitely many Gaussian features and ReLU layers after them."""
    one = squares.new_ones(())
    r = torch.exp(-2 * math.pi**2 * std**2 * squares)
    return relu_kernels(r, one, one, depth)[1] / (depth + 1)
