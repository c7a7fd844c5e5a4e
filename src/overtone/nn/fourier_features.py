"""Fourier features: coordinates enter a network without losing detail."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Distribution = Literal["gaussian", "uniform", "laplace"]
Spacing = Literal["linear", "log"]


class FourierFeatures(nn.Module):
    """Map coordinates v to gamma(v) = [a_j cos 2 pi b_j.v, a_j sin 2 pi b_j.v], j = 1..m (Tancik et al. 2020, eq. 5).

    Inner products depend on differences alone: gamma(v).gamma(w) = h(v - w), h(D) = sum_j a_j^2 cos 2 pi b_j.D (eq. 7).

    The frequencies b (features, d), in cycles per unit of v, and the amplitudes a (features), where they are not all
    1, are saved buffers; frequencies given as an nn.Parameter are trained. Positions may differ from sample to sample:
    every axis of v before the last is a batch axis. Phases are computed in float32 at least, and a buffer of
    frequencies stays so where the module goes to half precision; the encoding has the precision of v.

    The Nyquist limit: n samples a unit cannot tell frequencies above n / 2 from lower ones. `on_grid` warns of them.

    Raises ValueError for arguments out of range, and for coordinates of another number of axes or of integers.
    """

    frequencies: Tensor
    amplitudes: Tensor | None

    def __init__(
        self, frequencies: Float[Tensor, "features d"], amplitudes: Float[Tensor, " features"] | None = None
    ) -> None:
        super().__init__()
        if isinstance(frequencies, nn.Parameter):
            self.frequencies = frequencies
        else:
            self.register_buffer("frequencies", frequencies)
        self.register_buffer("amplitudes", amplitudes)

    @classmethod
    def basic(cls, d: int) -> "FourierFeatures":
        """Turn each coordinate once around the circle: b_j = e_j (Tancik et al. 2020, section 5)."""
        return cls(torch.eye(_count("d", d)))

    @classmethod
    def positional(cls, d: int, bands: int, max_freq: float) -> "FourierFeatures":
        """Take `bands` frequencies max_freq^(k / (bands - 1)), k = 0..bands - 1, along each axis (NeRF's encoding).

        They are log-spaced from 1 to `max_freq`, in cycles per unit. The published code takes a cycle from each, so
        that its lowest bands lie below one cycle.
        """
        if not 1 <= max_freq < math.inf:
            raise ValueError(f"max_freq is a number of cycles per unit, at least 1, not {max_freq}")
        return cls(_along_axes(_log_spaced(max_freq, _count("bands", bands)).expand(_count("d", d), -1)))

    @classmethod
    def lattice(cls, d: int, order: int, power: float) -> "FourierFeatures":
        """Take the whole frequencies b_j = j with all |j_i| <= order, and a_j = |j|^-power (Tancik et al., section 5).

        These are the functions of period 1: the kernel of a network on them is circulant on a periodic grid. Of j and
        -j, which are the same feature, one is kept; j = 0 is left to the network's bias. That makes
        ((2 order + 1)^d - 1) / 2 features.
        """
        if not power >= 0:
            raise ValueError(f"power is the rate at which amplitudes decay, at least 0, not {power}")
        axis = torch.arange(-_count("order", order), order + 1.0)
        lattice = torch.cartesian_prod(*[axis] * _count("d", d)).view(-1, d)
        half = lattice[len(lattice) // 2 + 1 :]  # in lexical order, j = 0 is in the middle and -j mirrors j
        return cls(half, half.norm(dim=-1).pow(-power))

    @classmethod
    def random(
        cls, d: int, features: int, std: float, distribution: Distribution = "gaussian", seed: int = 0
    ) -> "FourierFeatures":
        """Draw `features` frequencies of deviation `std` (cycles per unit) along each axis, the same for a seed.

        h(D) / m tends, with m = features, to the distribution's characteristic function (Rahimi & Recht 2007):
        gaussian exp(-2 pi^2 std^2 |D|^2), uniform prod_i sinc(2 sqrt(3) std D_i), sinc(x) = sin(pi x) / (pi x),
        laplace prod_i 1 / (1 + 2 pi^2 std^2 D_i^2). Near D = 0 the three are the same.
        """
        return cls(_draw(_count("d", d), _count("features", features), std, distribution, seed))

    @classmethod
    def learned(cls, d: int, features: int, std: float = 1.0, seed: int = 0) -> "FourierFeatures":
        """Draw `features` frequencies from a Gaussian as `random` does, and train them (a parameter, not a buffer)."""
        return cls(nn.Parameter(_draw(_count("d", d), _count("features", features), std, "gaussian", seed)))

    @classmethod
    def perceiver(
        cls, d: int, bands: int, resolution: int | Sequence[int], spacing: Spacing = "linear"
    ) -> "FourierFeatures":
        """Encode x in [-1, 1]^d as [x, sin pi f_k x_i, cos pi f_k x_i], f_k from 1 to mu / 2 (Perceiver, section 3.2).

        `bands` frequencies an axis, linear as published or log-spaced; mu is the axis' `resolution` in samples. The
        width is d (2 bands + 1), in the order x, all sines, all cosines, axis by axis.
        """
        sizes = [resolution] * d if isinstance(resolution, int) else list(resolution)
        if len(sizes) != _count("d", d) or min(sizes) < 2:
            raise ValueError(f"resolution is a number of samples, at least 2, for each of d={d} axes, not {resolution}")
        if spacing not in ("linear", "log"):
            raise ValueError(f"spacing is linear or log, not {spacing!r}")
        spaced = _log_spaced if spacing == "log" else _linearly_spaced
        f = torch.stack([spaced(mu / 2, _count("bands", bands)) for mu in sizes])
        return _Perceiver(_along_axes(f / 2))

    @property
    def out_dim(self) -> int:
        """The width of the encoding, twice the number of frequencies."""
        return 2 * self.frequencies.shape[0]

    def forward(self, v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch out_dim"]:
        """Encode coordinates."""
        phase = self._phase(v)
        gamma = torch.cat([phase.cos(), phase.sin()], dim=-1)
        return (gamma if self.amplitudes is None else gamma * self.amplitudes.repeat(2)).to(v.dtype)

    def on_grid(self, *sizes: int) -> Float[Tensor, "positions out_dim"]:
        """Encode a regular grid's positions, the last axis fastest; warn of frequencies above its Nyquist limit."""
        if len(sizes) != self.frequencies.shape[1]:
            raise ValueError(f"the grid has one size for each of {self.frequencies.shape[1]} axes, not {len(sizes)}")
        limit = self._nyquist(torch.tensor(sizes)).to(self.frequencies)
        above = int((self.frequencies.detach().abs() > limit).any(-1).sum())
        if above:
            warnings.warn(
                f"{above} of {len(self.frequencies)} frequencies are above the Nyquist limit of a grid of "
                f"{' x '.join(map(str, sizes))} and alias to lower ones; lower the frequencies or refine the grid",
                stacklevel=2,
            )
        precise = torch.promote_types(self.frequencies.dtype, torch.float32)
        positions = self._positions(*sizes, dtype=precise).to(self.frequencies.device)
        return self(positions).to(self.frequencies.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FourierFeatures":
        """Move the buffers, but round no frequencies to half precision: they would be other ones."""
        precise = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype.itemsize < 4 and not isinstance(precise, nn.Parameter):
            self.frequencies = precise.to(self.frequencies.device)
        return self

    def _phase(self, v: Tensor) -> Tensor:
        """Return 2 pi b_j.v: in half precision nothing would be left of a phase of many turns.

        Axis by axis: a matrix product is lowered by autocast, and on a GPU set to TF32 keeps 10 bits.
        """
        if v.shape[-1] != self.frequencies.shape[1] or not v.is_floating_point():
            raise ValueError(
                f"v holds floating-point coordinates (..., {self.frequencies.shape[1]}), not {v.dtype} {tuple(v.shape)}"
            )
        precise = torch.promote_types(torch.promote_types(v.dtype, self.frequencies.dtype), torch.float32)
        v, b = v.to(precise), self.frequencies.to(precise)
        turns = v[..., :1] * b[:, 0]
        for axis in range(1, b.shape[1]):
            turns = turns + v[..., axis, None] * b[:, axis]
        return 2 * math.pi * turns

    def _positions(self, *sizes: int, dtype: torch.dtype) -> Tensor:
        return grid(*sizes, dtype=dtype)

    def _nyquist(self, sizes: Tensor) -> Tensor:
        return sizes / 2


class _Perceiver(FourierFeatures):
    """The Perceiver's layout, on positions that include both ends of [-1, 1]."""

    @property
    def out_dim(self) -> int:
        features, d = self.frequencies.shape
        return 2 * features + d

    def forward(self, v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch out_dim"]:
        phase = self._phase(v)
        return torch.cat([v.to(phase.dtype), phase.sin(), phase.cos()], dim=-1).to(v.dtype)

    def _positions(self, *sizes: int, dtype: torch.dtype) -> Tensor:
        return _mesh([torch.linspace(-1, 1, size, dtype=dtype) for size in sizes])

    def _nyquist(self, sizes: Tensor) -> Tensor:
        return sizes / 4  # of n samples over 2 units, as published; with both ends included it would be (n - 1) / 4


def grid(*sizes: int, dtype: torch.dtype | None = None) -> Float[Tensor, "positions d"]:
    """Return the centres of a regular grid's cells in [0, 1)^d, the last axis fastest."""
    return _mesh([(torch.arange(size, dtype=dtype or torch.get_default_dtype()) + 0.5) / size for size in sizes])


def _mesh(axes: list[Tensor]) -> Float[Tensor, "positions d"]:
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def _draw(d: int, features: int, std: float, distribution: Distribution, seed: int) -> Tensor:
    if not 0 < std < math.inf:
        raise ValueError(f"std is a deviation in cycles per unit, above 0, not {std}")
    generator, size = torch.Generator().manual_seed(seed), (features, d)
    if distribution == "gaussian":
        return std * torch.randn(size, generator=generator)
    if distribution == "uniform":
        return std * math.sqrt(3) * (2 * torch.rand(size, generator=generator) - 1)
    if distribution == "laplace":  # the difference of two exponentials of deviation 1 has deviation sqrt 2
        one, other = torch.empty(2, *size, device="cpu").exponential_(generator=generator)
        return std * math.sqrt(0.5) * (one - other)
    raise ValueError(f"distribution is one of gaussian, uniform, laplace, not {distribution!r}")


def _log_spaced(high: float, count: int) -> Float[Tensor, " count"]:
    return high ** torch.linspace(0, 1, count)


def _linearly_spaced(high: float, count: int) -> Float[Tensor, " count"]:
    return torch.linspace(1, high, count)


def _along_axes(frequencies: Float[Tensor, "d bands"]) -> Float[Tensor, "d_bands d"]:
    """Return frequency vectors along the axes, those of the first axis first."""
    d = len(frequencies)
    axes = torch.eye(d, device=frequencies.device)  # transformers, loading a model, puts linspace on the CPU
    return (axes[:, None] * frequencies[..., None]).reshape(-1, d)


def _count(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value
