"""Singular spectra of features, by the eigenvalues of their Gram matrix, and their parts: strong, weak and noise.

Features are F (m samples x n dimensions), F = U S V^T. What is measured is computed in float64: squaring costs half the
digits, and a Gram matrix in float32 loses what lies below 2.8e-3 of the largest value, most of the spectrum of features
that share a direction. In training, float32 does, whatever the features' precision or the autocast. Nothing goes
backward through an SVD, whose gradient is NaN at repeated or zero singular values.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from overtone.spectral.marchenko_pastur import noise_edge, noise_fence, noise_quantile

# Units in the last place of the largest eigenvalue, within which the others are rounding, up to 1,024 dimensions and in
# proportion beyond: constant features were seen to leave 30 at 64 x 200,000 and 77 at 1,500 x 1,500.
ROUNDING = 64
BULK = 16  # values that are not zero, below which those of a degenerate matrix are no bulk of noise


def gram(features: Float[Tensor, "samples width"]) -> Float[Tensor, "width width"]:
    """Return F^T F in float32 at least: m times the second moment."""
    F = in_single(features)
    with torch.autocast(F.device.type, enabled=False):
        return F.T @ F


def precise_gram(features: Float[Tensor, "samples width"]) -> Float[Tensor, "width width"]:
    """Return F^T F in float64; in float32 on an Apple GPU, which has none."""
    return gram(features if features.device.type == "mps" else features.double())


def singular_values(features: Float[Tensor, "samples width"]) -> Float[Tensor, " smaller"]:
    """Return the min(m, n) singular values, largest first, by eigvalsh of the Gram matrix of the smaller side.

    They are computed in float64; those within rounding of zero, below 7.6e-6 of the largest for features in float32,
    give 0. Gradients are those of the singular values, u_i v_i^T, finite also where some coincide, and 0 for the zero
    ones (ours).

    Raises ValueError for features that are empty or not finite.
    """
    F = checked(features, "features")
    scale = F.detach().abs().amax().clamp_min(torch.finfo(F.dtype).tiny)  # or the squares of large features overflow
    F = F / scale
    eigenvalues = torch.linalg.eigvalsh(precise_gram(F if len(F) >= F.shape[1] else F.T)).flip(0)
    return scale * safe_root(eigenvalues, F.dtype)


@torch.no_grad()
def principal_basis(
    second_moment: Float[Tensor, "width width"], rows: torch.dtype | None = None
) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
    """Return the roots of the eigenvalues, largest first, and the eigenvectors V as columns, both without a gradient.

    Of F^T F they are the singular values and the right singular vectors of F; `rows` is F's precision, if not its own.
    """
    eigenvalues, V = torch.linalg.eigh(second_moment)
    return safe_root(eigenvalues.flip(0), rows), V.flip(1)


def safe_root(x: Float[Tensor, " n"], rows: torch.dtype | None = None) -> Float[Tensor, " n"]:
    """Return sqrt x, and 0 with gradient 0 where x is within rounding of zero, measured by the largest of them.

    `rows` is the precision of what was squared to x, if not x's own: its rounding is in the roots.
    """
    zero = max(_rounding(len(x), x.dtype), _rounding(len(x), rows) ** 2 if rows else 0.0)
    real = x > zero * x.detach().amax()
    return torch.where(real, torch.where(real, x, 1).sqrt(), 0)


@dataclass(frozen=True)
class Part:
    """One of the three parts of a spectrum: how many singular values, and what shares of all values and of sum s^2."""

    count: int
    share: float
    energy: float


@dataclass(frozen=True, eq=False)
class Partition:
    """A spectrum in three parts: noise up to `edge`, weak signal up to `fence`, strong signal above.

    `values` are the min(samples, width) singular values, largest first; `sigma` is the noise's standard deviation an
    entry of F. Shares drift with the number of samples (a sample of 64 shows more strong ones than one of 500), and a
    large strong share alone is no merit: random encoders have one.
    """

    strong: Part
    weak: Part
    noise: Part
    samples: float
    width: int
    sigma: float
    edge: float
    fence: float
    values: Float[Tensor, " smaller"]


@torch.no_grad()
def partition(features: Float[Tensor, "samples width"]) -> Partition:
    """Split the singular values of features into strong signal, weak signal and noise (SDE's step 1, reconstruction).

    With the noise scale sigma = median(s) / median of noise's singular values: noise up to the Marchenko-Pastur edge,
    about sigma (sqrt m + sqrt n); weak up to the Tukey fence Q3 + 1.5 IQR of noise's quartiles; strong above it. The
    median takes at least half of the values for noise. Values that are zero are missing from it and from n, unless the
    least of the noise would be lost in rounding: an encoder of width 128 leaves 256 of 384 dimensions empty. If fewer
    than 16 are not zero, there is no noise to be seen, and all of them are strong (ours). The features are taken as
    they are, with their mean.

    Raises ValueError for features that are empty or not finite.
    """
    return partition_values(singular_values(features), *features.shape)


@torch.no_grad()
def partition_values(values: Float[Tensor, " n"], samples: float, width: int) -> Partition:
    """Split the singular values, largest first, of `samples` x `width` features; see `partition`.

    `samples` may be the effective number behind an average. Values beyond min(samples, width) are left out.
    """
    values = values[: max(1, int(min(samples, width)))]
    sigma, edge, fence = noise_limits(values, samples, width)
    strong, signal = int((values > fence).sum()), int((values > edge).sum())
    energies = values.double().square()
    total = float(energies.sum()) or 1.0

    def part(start: int, stop: int) -> Part:
        return Part(stop - start, (stop - start) / len(values), float(energies[start:stop].sum()) / total)

    return Partition(
        strong=part(0, strong),
        weak=part(strong, signal),
        noise=part(signal, len(values)),
        samples=samples,
        width=width,
        sigma=sigma,
        edge=edge,
        fence=fence,
        values=values,
    )


def noise_limits(values: Float[Tensor, " n"], samples: float, width: int) -> tuple[float, float, float]:
    """Return sigma, the edge of noise and the fence between weak and strong, of singular values, largest first.

    A standard deviation over all entries instead of sigma fails: the mean direction inflates it.
    """
    smaller, larger = sorted((max(samples, 1.0), float(width)))
    noise = values[: int(smaller)]
    filled = noise[noise > 0]
    lost = float(values[0]) * _rounding(len(values), values.dtype) ** 0.5  # what is beneath, if not more, is 0
    if len(filled) < len(noise):
        if len(filled) < BULK:
            return 0.0, 0.0, 0.0
        if _noise_scale(filled, len(filled), larger) * (larger**0.5 - len(filled) ** 0.5) > lost:
            smaller, noise = float(len(filled)), filled
    sigma = _noise_scale(noise, smaller, larger)
    return sigma, sigma * noise_edge(smaller, larger), sigma * noise_fence(smaller, larger)


def _noise_scale(values: Float[Tensor, " n"], m: float, n: float) -> float:
    return float(values.quantile(0.5)) / noise_quantile(m, n, 0.5)


def _rounding(number: int, dtype: torch.dtype) -> float:
    """Return the rounding of so many eigenvalues as a share of the largest."""
    return ROUNDING * max(1.0, number / 1024) * torch.finfo(dtype).eps


def checked(features: Float[Tensor, "samples width"], name: str) -> Float[Tensor, "samples width"]:
    """Return the features in float32 at least; raise ValueError naming them if they are empty or not finite."""
    if features.dim() != 2 or not features.numel():
        raise ValueError(
            f"{name} must be a matrix (samples, width) of one sample or more, got shape {tuple(features.shape)}"
        )
    F = in_single(features)
    bad = int((~F.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"{name} must be finite, but {bad} of {len(F)} rows hold NaN or infinity")
    return F


def with_float64(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return `x` where float64 can be had: from an Apple GPU, which has none, on the CPU."""
    return x.cpu() if x.device.type == "mps" else x


def in_single(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return `x` in float32; float64 stays."""
    if not x.is_floating_point():
        raise ValueError(f"features are floating-point tensors, not {x.dtype}")
    return x if x.dtype == torch.float64 else x.float()
