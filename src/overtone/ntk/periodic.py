"""The same on a periodic grid, where the kernel is circulant and one FFT finds its spectrum.

A circulant kernel is given by one row, K(0, D) for every position D of the grid. It is circulant where the encoding has
period 1 (`FourierFeatures.basic`, `.lattice`) or the kernel itself is a function of periodic differences.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def periodic_spectrum(row: Float[Tensor, "*grid"]) -> Float[Tensor, "*grid"]:
    """Return the kernel's eigenvalues by frequency, in the order of fftn, in float64; below 0 is rounding, made 0."""
    return torch.fft.fftn(row.double()).real.clamp_min(0)


def periodic_predict(
    row: Float[Tensor, "*grid"],
    y: Float[Tensor, "*channels_grid"],
    time: float | Float[Tensor, "*times"],
    f0: float | Float[Tensor, "*channels_grid"] = 0.0,
) -> Float[Tensor, "*times_channels_grid"]:
    """Return what `predict` does on the training grid itself, y - exp(-K t) (y - f0), in O(n log n).

    The grid's axes are the last of y. Raises ValueError for a negative time.
    """
    t = torch.as_tensor(time, dtype=torch.float64, device=y.device)
    if (t < 0).any():
        raise ValueError(f"time is at least 0, not {t.min()}")
    axes = tuple(range(-row.dim(), 0))
    decay = torch.exp(-periodic_spectrum(row) * t[(..., *[None] * y.dim())])
    return y - torch.fft.ifftn(decay * torch.fft.fftn(y.double() - f0, dim=axes), dim=axes).real
