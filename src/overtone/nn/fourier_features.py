"""Fourier features: coordinates enter a network without losing detail."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierFeatures(nn.Module):
    """Map coordinates v to gamma(v) = [cos 2 pi b_j.v, sin 2 pi b_j.v], j = 1..m (Tancik et al. 2020, eq. 5, a_j = 1).

    The frequencies b (features, d), in cycles per unit of v, are a saved buffer. On a grid of n samples a unit,
    frequencies above n / 2 alias.
    """

    frequencies: Tensor

    def __init__(self, frequencies: Float[Tensor, "features d"]) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies)

    @classmethod
    def random(cls, d: int, features: int, std: float, seed: int = 0) -> "FourierFeatures":
        """Draw `features` frequencies from a Gaussian of deviation `std` (cycles per unit), the same for a seed."""
        generator = torch.Generator().manual_seed(seed)
        return cls(std * torch.randn(features, d, generator=generator))

    @property
    def out_dim(self) -> int:
        """The width of the encoding, twice the number of frequencies."""
        return 2 * self.frequencies.shape[0]

    def forward(self, v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch out_dim"]:
        """Encode coordinates."""
        with torch.autocast(v.device.type, enabled=False):  # in half precision nothing would be left of the phase
            phase = 2 * math.pi * v @ self.frequencies.T
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


def grid(*sizes: int) -> Float[Tensor, "positions d"]:
    """Return the centres of a regular grid's cells in [0, 1)^d, the last axis fastest."""
    axes = [(torch.arange(size) + 0.5) / size for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
