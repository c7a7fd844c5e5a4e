"""The deviation of random Fourier features that suits a signal, chosen without training a network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from overtone.nn import grid
from overtone.ntk.dynamics import leave_one_out, spectrum
from overtone.ntk.infinite import relu_kernels

Method = Literal["default", "loo", "fresh", "gcv"]
BANDWIDTH_METHODS: dict[str, str] = {
    "default": "0.04 x samples per axis, whatever the signal (ours)",
    "loo": "least leave-one-out error of regression with the network's kernel (ours)",
    "fresh": "the network that starts with the signal's spectrum (FreSh, arXiv 2410.05050; here of infinite width)",
    "gcv": "least generalised cross-validation error of the kernel's training at a fixed time (ours)",
}
RULE = 0.04  # cycles a sample: that of the deviation 10 for 256 training samples an axis (Tancik et al. 2020)
# Both, in units of K(x, x), say that training stops before all is learned, and that a network of few features does
# worse with fine ones than the kernel of infinitely many. They are those of the least regret on nine pictures that are
# not in the documents' table (benchmarks/bandwidth.py --jitters).
TIME = 0.25
JITTER = 1.0
FRESH_BINS = 64  # as published
TILES = {1: 2048, 2: 256, 3: 40}  # largest piece along an axis, by number of axes
PATCH, PATCHES = 768, 4  # largest piece of scattered points, and how many of them


@dataclass(frozen=True)
class Bandwidth:
    """A chosen deviation, and what every candidate scored. Networks differ little near the minimum of a flat curve."""

    std: float  # for FourierFeatures.random, in cycles per unit
    candidates: Float[Tensor, " candidates"]
    curve: Float[Tensor, " candidates"]  # the lower the better
    method: Method


def select_bandwidth(
    signal: Shaped[Tensor, "*shape"],
    candidates: Sequence[float] | Float[Tensor, " candidates"] | None = None,
    method: Method = "loo",
    positions: Float[Tensor, "n d"] | None = None,
    dims: int | None = None,
    depth: int = 3,
) -> Bandwidth:
    """Choose the deviation of `FourierFeatures.random` for a network of `depth` hidden ReLU layers to fit a signal.

    A signal on a regular grid of one to three axes has them last, `dims` of them (all, if not given), and channels
    before; each axis spans one unit, as in `grid`. Scattered values (n) or (n, channels) come with their `positions`,
    whose unit is that of the answer. NaN is a missing sample. Candidates are half octaves from 1/4 to 4 times the
    default, unless given. The curve is in squared units of the signal for loo and gcv, in bins of |k|_1 for fresh, and
    in squared octaves from the rule for default.

    The kernel is that of infinitely many features, r(D) = exp(-2 pi^2 std^2 |D|^2) for the encodings and then that of
    the ReLU layers (`relu_kernels`). Large signals are scored in pieces, which cost the same whatever the size.

    Raises ValueError for an unknown method, candidates that are none or not positive, shapes that are no grid, and
    signals with fewer than two samples or infinite ones.
    """
    if method not in BANDWIDTH_METHODS:
        raise ValueError(f"method is one of {', '.join(BANDWIDTH_METHODS)}, not {method!r}")
    samples = _on_grid(signal, dims) if positions is None else _scattered(signal, positions)
    stds = _checked(candidates, samples.rate)
    curve = torch.stack([getattr(samples, method)(std, depth) for std in stds])
    best = stds[curve == curve.min()].min()  # of a constant signal, all score 0
    return Bandwidth(best.item(), stds, curve, method)


class _Samples:
    """Samples of a signal; `rate` is the number of samples a unit along an axis, the mean over axes."""

    rate: float

    def default(self, std: Tensor, depth: int) -> Tensor:
        """Return the squared distance to the rule, in octaves."""
        return (std / (RULE * self.rate)).log2().square()


class _Grid(_Samples):
    """A signal on a grid, in tiles, mirrored at their borders: there the kernel is diagonal in the cosine basis."""

    def __init__(self, values: Float[Tensor, "channels *sizes"]) -> None:
        self.sizes = torch.tensor(values.shape[1:], dtype=torch.float64)
        self.rate = self.sizes.log().mean().exp().item()
        self.values = values - values.flatten(1).mean(1).view(-1, *[1] * len(self.sizes))
        self.tile = [min(n, TILES[len(self.sizes)]) for n in values.shape[1:]]
        for axis, n in enumerate(self.tile):  # (channels, *tiles, *tile)
            self.values = self.values.unfold(axis + 1, n, n)
        self.values = self.values.flatten(0, -len(self.tile) - 1)
        self.power = _each_axis(self.values, [_cosine_transform(n) for n in self.tile]).square().mean(0)
        self.cosines = [_cosines(n) * _mirrored(n + 1) for n in self.tile]

    def loo(self, std: Tensor, depth: int) -> Tensor:
        """Return the mean squared error of each sample's prediction from the others by ridge regression."""
        return self._error(1 / (self._eigenvalues(std, depth) + JITTER))

    def gcv(self, std: Tensor, depth: int) -> Tensor:
        """Return the same estimate (Golub, Heath & Wahba 1979) for training that stops at TIME."""
        return self._error(torch.exp(-TIME * self._eigenvalues(std, depth)))

    def fresh(self, std: Tensor, depth: int) -> Tensor:
        """Return the Wasserstein distance between the signal's spectrum and a network's at its start, by |k|_1."""
        axes = list(range(1, 1 + len(self.tile)))
        signal = torch.fft.fftn(self.values, dim=axes).abs().mean(0)
        network = torch.fft.fftn(self._periodogram_lags(std, depth)).real.clamp_min(0).sqrt()
        ours, theirs = (_by_frequency(magnitude) for magnitude in (signal, network))
        return (ours.cumsum(0) - theirs.cumsum(0)).abs().sum()

    def _error(self, left: Float[Tensor, "*frequencies"]) -> Tensor:
        """Return the mean square of what is left of the signal, over the squared mean of what is left."""
        inside = left[tuple(slice(n) for n in self.tile)]
        share = _each_axis(left, [_mirrored(n + 1)[None] / (2 * n) for n in self.tile]).squeeze()
        return (self.power * inside.square()).mean() / share.square()

    def _eigenvalues(self, std: Tensor, depth: int) -> Float[Tensor, "*frequencies"]:
        """Return the kernel's eigenvalues on the mirrored tile at 0..n half cycles an axis, in units of K(x, x)."""
        K = self._kernels([torch.arange(n + 1) for n in self.tile], std, depth)[1] / (depth + 1)
        return _each_axis(K, self.cosines).clamp_min(0)

    def _periodogram_lags(self, std: Tensor, depth: int) -> Float[Tensor, "*tile"]:
        """Return the covariance between outputs at the start as the transform of a tile sees it, E |F|^2 = its FFT.

        Of n samples, n - D are D apart, and the D that are n - D apart add to them.
        """
        lags = [torch.cat([torch.arange(n), n - torch.arange(n)]) for n in self.tile]
        S = self._kernels(lags, std, depth)[0]
        fold = [torch.cat([torch.diag(n - torch.arange(n)), torch.diag(torch.arange(n))], 1) for n in self.tile]
        return _each_axis(S, [matrix.double() for matrix in fold])

    def _kernels(self, lags: Sequence[Tensor], std: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        steps = [lag / size for lag, size in zip(lags, self.sizes, strict=True)]
        squares = torch.stack(torch.meshgrid(*steps, indexing="ij")).square().sum(0)
        return _of_distances(squares, std, depth)


class _Scatter(_Samples):
    """Scattered samples, and neighbourhoods of them where they are many: these have the density of the whole."""

    def __init__(self, values: Float[Tensor, "n channels"], positions: Float[Tensor, "n d"]) -> None:
        extent = positions.amax(0) - positions.amin(0)
        extent = extent[extent > 0]
        if not len(extent):
            raise ValueError(f"all {len(positions)} positions are the same: there is no frequency to choose")
        self.rate = (len(positions) / extent.prod().item()) ** (1 / len(extent))
        values = values - values.mean(0)
        centres = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:PATCHES]
        near = torch.cdist(positions[centres], positions).argsort(dim=1)[:, :PATCH]
        near = near if len(values) > PATCH else near[:1]
        self.pieces = [(values[index], torch.cdist(positions[index], positions[index]).square()) for index in near]

    def loo(self, std: Tensor, depth: int) -> Tensor:
        """Return the mean squared error of each sample's prediction from the others by ridge regression."""
        errors = [leave_one_out(_of_distances(D, std, depth)[1], y, JITTER) for y, D in self.pieces]
        return torch.stack([error.square().mean() for error in errors]).mean()

    def gcv(self, std: Tensor, depth: int) -> Tensor:
        """Return the same estimate (Golub, Heath & Wahba 1979) for training that stops at TIME."""
        errors = []
        for y, D in self.pieces:
            eigenvalues, V = spectrum(_of_distances(D, std, depth)[1] / (depth + 1))
            left = torch.exp(-TIME * eigenvalues)
            errors.append((left[:, None] * (V.T @ y)).square().mean() / left.mean().square())
        return torch.stack(errors).mean()

    def fresh(self, std: Tensor, depth: int) -> Tensor:
        """Refuse: the published spectrum is a grid's."""
        raise ValueError("method='fresh' takes a full regular grid; use loo for scattered or missing samples")


def _on_grid(signal: Tensor, dims: int | None) -> _Samples:
    sizes = signal.shape[signal.dim() - _axes(signal, dims) :]
    if sizes.numel() < 2:
        raise ValueError(f"signal has {sizes.numel()} samples; a bandwidth needs at least 2")
    values = _finite_or_nan(signal).reshape(-1, *[n for n in sizes if n > 1])
    if values.isnan().any():
        return _scattered(values.flatten(1).T, grid(*values.shape[1:], dtype=torch.float64))
    return _Grid(values)


def _axes(signal: Tensor, dims: int | None) -> int:
    """Return the number of the grid's axes, where that is beyond doubt."""
    shape = tuple(signal.shape)
    wanted = signal.dim() if dims is None else dims
    if not 1 <= wanted <= min(3, len(shape)):
        raise ValueError(f"a grid has 1 to 3 axes, not {wanted}, in a signal of shape {shape}")
    ends = {None: (0, -1), len(shape): ()}.get(dims, (-1,))  # where an axis may be channels by mistake
    if len(shape) > 1 and any(1 < shape[end] <= 4 for end in ends):
        raise ValueError(
            f"signal of shape {shape} seems to have channels: put them first, and say with dims how many axes the grid "
            "has (2 for a picture)"
        )
    return wanted


def _scattered(signal: Tensor, positions: Tensor) -> _Scatter:
    values = _finite_or_nan(signal).reshape(len(signal), -1) if signal.dim() in (1, 2) else signal
    if values.dim() != 2 or positions.dim() != 2 or len(values) != len(positions):
        raise ValueError(
            f"scattered values are (n) or (n, channels) with positions (n, d), not {tuple(signal.shape)} "
            f"and {tuple(positions.shape)}"
        )
    kept = ~values.isnan().any(1)
    if kept.sum() < 2:
        raise ValueError(f"signal has {int(kept.sum())} samples that are not NaN; a bandwidth needs at least 2")
    return _Scatter(values[kept], positions.detach().double().cpu()[kept])


def _finite_or_nan(signal: Tensor) -> Float[Tensor, "*shape"]:
    if signal.isinf().any():
        raise ValueError("signal has infinite samples; mark missing ones with NaN")
    return signal.detach().double().cpu()


def _checked(candidates: Sequence[float] | Tensor | None, rate: float) -> Float[Tensor, " candidates"]:
    if candidates is None:
        return RULE * rate * 2 ** (torch.arange(-4, 5, dtype=torch.float64) / 2)
    stds = torch.as_tensor(candidates, dtype=torch.float64).flatten()
    if not len(stds) or not ((stds > 0) & stds.isfinite()).all():
        raise ValueError(
            f"candidates are deviations in cycles per unit, at least one and all above 0, not {candidates}"
        )
    return stds


def _of_distances(squares: Tensor, std: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Return start covariance and tangent kernel for encodings with r = exp(-2 pi^2 std^2 |D|^2)."""
    one = squares.new_ones(())
    return relu_kernels(torch.exp(-2 * math.pi**2 * std**2 * squares), one, one, depth)


def _by_frequency(magnitude: Float[Tensor, "*tile"]) -> Float[Tensor, " bins"]:
    """Return the sums over |k_1| + ... + |k_d| = 1..64, as parts of 1; the mean, k = 0, is left out."""
    k = [torch.fft.fftfreq(n, 1 / n).abs() for n in magnitude.shape]
    order = torch.stack(torch.meshgrid(*k, indexing="ij")).sum(0).round().long()
    sums = torch.bincount(order.flatten(), magnitude.flatten())[1 : FRESH_BINS + 1]
    return sums / sums.sum().clamp_min(torch.finfo(sums.dtype).tiny)


def _each_axis(x: Float[Tensor, "..."], matrices: Sequence[Tensor]) -> Float[Tensor, "..."]:
    """Apply one matrix along each of the last axes."""
    for axis, matrix in zip(range(-len(matrices), 0), matrices, strict=True):
        x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return x


def _cosine_transform(n: int) -> Float[Tensor, "n n"]:
    """Return the orthonormal DCT-II: the transform of a signal mirrored at its border."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi * k * (i + 0.5) / n)
    matrix[0] *= math.sqrt(0.5)
    return matrix


def _cosines(n: int) -> Float[Tensor, "n1 n1"]:
    """Return cos(pi k D / n) for k, D = 0..n."""
    k = torch.arange(n + 1, dtype=torch.float64)
    return torch.cos(math.pi * k[:, None] * k / n)


def _mirrored(count: int) -> Float[Tensor, " count"]:
    """Return how often each of 0..n stands on a circle of 2n: the ends once, the others on both sides."""
    times = torch.full((count,), 2.0, dtype=torch.float64)
    times[[0, -1]] = 1
    return times
