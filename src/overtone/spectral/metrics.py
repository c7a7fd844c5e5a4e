"""What users look at in embeddings: how much of the space is used, and how two modalities lie in it.

Rows are scaled to unit length first, since a contrastive model compares directions alone. What cannot be held is
measured from a `Sketch` of it, by the same formulas.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from overtone.spectral.moments import Matches, Moments, Spectrum, moments_of
from overtone.spectral.singular import Partition, checked, partition_values, safe_root, with_float64

PAIRS_AMONG = 4096  # rows, evenly spaced, whose pairs `uniformity` is over: 8 million
COLLAPSED = 0.99  # energy of the first direction above which nothing else counts

METRICS = {
    "samples": "rows m; shares drift with it",
    "width": "dimensions n",
    "cone": "mean cosine of two different rows, in [-1, 1]",
    "mean_energy": "|mean x|^2, the share of the energy in the mean direction, in [0, 1]",
    "uniformity": "log E exp(-2 |x - x'|^2) over pairs of rows, 0 or less (Wang & Isola 2020)",
    "collapsed": "1 if the first singular direction has more than 99 % of the energy, else 0 (ours)",
    "rankme": "RankMe exp(-sum p log p), p = s / sum s + 1e-7 (Garrido et al. 2023), in dimensions",
    "participation_ratio": "(sum l)^2 / sum l^2, l = s^2, in dimensions",
    "top_energy": "l_1 / sum l, in [0, 1]",
    "alpha_req": "decay a of l_i ~ i^-a (Agrawal et al. 2022), fitted over log i with weights 1 / i",
    "sigma": "noise's standard deviation an entry: median(s) / noise's median singular value",
    "edge": "singular value where noise ends: the Marchenko-Pastur edge with a Tracy-Widom margin",
    "fence": "singular value where strong signal begins: Q3 + 1.5 IQR of noise",
    "strong_count": "singular values above the fence",
    "weak_count": "singular values between edge and fence",
    "noise_count": "singular values up to the edge",
    "strong_share": "share of the min(m, n) singular values, in [0, 1]",
    "weak_share": "share of the min(m, n) singular values, in [0, 1]",
    "noise_share": "share of the min(m, n) singular values, in [0, 1]",
    "strong_energy": "share of sum s^2, in [0, 1]",
    "weak_energy": "share of sum s^2, in [0, 1]",
    "noise_energy": "share of sum s^2, in [0, 1]",
    "alignment": "E |x - y|^2 of matching rows, in [0, 4] (Wang & Isola 2020)",
    "matched_cosine": "mean cosine of matching rows, in [-1, 1]",
    "gap": "modality gap |mean x - mean y|, in [0, 2] (Liang et al. 2022)",
    "hellinger": "Hellinger distance of the two s / sum s, sqrt(1/2 sum (sqrt p - sqrt q)^2), in [0, 1]",
    "subspace_overlap": "|Va^T Vb|_F^2 / k of the first k right singular vectors, k = min(m, n) / 8, in [0, 1]",
}
"""What every metric of `embedding_metrics` means."""


@dataclass(frozen=True)
class Sketch:
    """What the metrics of a modality are made from: the moments of its rows of unit length, and some of these rows."""

    moments: Moments
    some: Float[Tensor, "some width"]  # at `rows_among`

    @cached_property
    def spectra(self) -> dict[str, Spectrum]:
        """Singular values and V by view, "raw" and "centred"."""
        return self.moments.spectra()

    @cached_property
    def parts(self) -> dict[str, Partition]:
        """The partition of each spectrum; its own mean has taken one sample from the centred one."""
        samples, width = self.moments.samples, len(self.moments.mean)
        return {
            "raw": partition_values(self.spectra["raw"][0], samples, width),
            "centred": partition_values(self.spectra["centred"][0], samples - 1, width),
        }


def rows_among(samples: int) -> range:
    """Return the rows whose pairs `uniformity` is over: all, or at most 4,096 evenly spaced ones (ours)."""
    return range(0, samples, max(1, -(-samples // PAIRS_AMONG)))


@torch.no_grad()
def embedding_metrics(image: Float[Tensor, "samples width"], text: Float[Tensor, "samples width"]) -> dict[str, float]:
    """Return every metric of matching image and text embeddings, for curves and reports; `METRICS` defines them.

    Names are "image/...", "text/..." and "pair/...". Those of a spectrum come twice: "raw/..." and, of the features
    less their mean, "centred/...". Every value is finite, also of a constant embedding and of a single row.

    Raises ValueError for embeddings that are empty, not finite or differ in shape.
    """
    if image.shape != text.shape:
        raise ValueError(f"image and text must match row by row, got {tuple(image.shape)} and {tuple(text.shape)}")
    x, y = _unit(image, "image"), _unit(text, "text")
    matches = Matches()
    matches.update(x, y)
    return sketched_pair_metrics(_sketch(x), _sketch(y), matches)


@torch.no_grad()
def modality_metrics(features: Float[Tensor, "samples width"]) -> dict[str, float]:
    """Return the metrics of one matrix of embeddings, by the names of `embedding_metrics` without "image/".

    Raises ValueError for embeddings that are empty or not finite.
    """
    return sketched_metrics(_sketch(_unit(features, "features")))


@torch.no_grad()
def sketched_metrics(sketch: Sketch) -> dict[str, float]:
    """Return what `modality_metrics` returns, of rows that are not at hand."""
    return _of_modality(sketch)


@torch.no_grad()
def sketched_pair_metrics(image: Sketch, text: Sketch, matches: Matches) -> dict[str, float]:
    """Return what `embedding_metrics` returns, of rows that are not at hand; the modalities may differ in samples."""
    smaller = min(image.moments.samples, text.moments.samples, len(image.moments.mean))
    return (
        _prefixed("image/", _of_modality(image))
        | _prefixed("text/", _of_modality(text))
        | _prefixed("pair/", matches.metrics())
        | {
            f"pair/{view}/{k}": v
            for view in image.spectra
            for k, v in _of_spectra(image.spectra[view], text.spectra[view], smaller).items()
        }
    )


def hellinger_squared(s: Float[Tensor, " n"], t: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return H^2 = 1/2 sum (sqrt p_i - sqrt q_i)^2, p = s / sum s and q = t / sum t, in [0, 1].

    Squared, since the distance itself has no gradient where the spectra are equal. Gradients are 0 for zero values.
    """
    roots = [safe_root(values) / values.sum().clamp_min(torch.finfo(values.dtype).tiny).sqrt() for values in (s, t)]
    return (roots[0] - roots[1]).square().sum() / 2


def subspace_overlap(Va: Float[Tensor, "width k"], Vb: Float[Tensor, "width k"]) -> Float[Tensor, ""]:
    """Return |Va^T Vb|_F^2 / k, in [0, 1], of two orthonormal bases: 1 for one subspace, k / width for random ones.

    The projectors' distance is |Va Va^T - Vb Vb^T|_F^2 = 2k (1 - overlap): signs and order of the vectors do not count.
    """
    return (Va.T @ Vb).square().sum() / Va.shape[1]


def subspace_size(dimensions: int) -> int:
    """Return k, the dimensions of the subspaces that are compared (ours): an eighth, near SDE's strong 10 to 17 %."""
    return max(1, dimensions // 8)


def rankme(s: Float[Tensor, " n"]) -> float:
    """Return exp(-sum p log p), p = s / sum s + 1e-7 (Garrido et al. 2023), from 1 (one direction) to n (all alike)."""
    p = s.double() / s.double().sum().clamp_min(1e-300) + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def participation_ratio(s: Float[Tensor, " n"]) -> float:
    """Return (sum l)^2 / sum l^2, l = s^2, from 1 to n; 0 if all are zero."""
    energies = _energies(s)
    return 1 / float(energies.square().sum()) if energies.any() else 0.0


def top_energy(s: Float[Tensor, " n"]) -> float:
    """Return l_1 / sum l, l = s^2: the share of the largest singular value; 0 if all are zero."""
    return float(_energies(s).max())


def alpha_req(s: Float[Tensor, " n"]) -> float:
    """Return the decay a of l_i = s_i^2 ~ i^-a (Agrawal et al. 2022); 0 with fewer than two values that are not zero.

    A line is fitted to log l over log i. Weights 1 / i let every stretch of log i count alike (ours).
    """
    energies = _energies(s)
    energies = energies[energies > 0]
    if len(energies) < 2:
        return 0.0
    i = torch.arange(1, len(energies) + 1, dtype=energies.dtype, device=energies.device)
    x, y, weights = i.log(), energies.log(), (1 / i) / (1 / i).sum()
    x, y = x - (weights * x).sum(), y - (weights * y).sum()
    return -float((weights * x * y).sum() / (weights * x * x).sum())


def mean_cosine(x: Float[Tensor, "samples width"]) -> float:
    """Return the mean cosine of two different rows of unit length, (|sum x|^2 - m) / (m (m - 1)); 1 for one row."""
    x = with_float64(x)
    return _cone(len(x), x.sum(0, dtype=torch.float64), float(x.double().square().sum()))


@torch.no_grad()
def uniformity(x: Float[Tensor, "samples width"]) -> float:
    """Return log E exp(-2 |x - x'|^2) over pairs of different rows of unit length (Wang & Isola 2020); 0 for one row.

    Of more than 4,096 rows, 2,048 to 4,096 evenly spaced ones are taken (ours).
    """
    x = with_float64(x)[:: rows_among(len(x)).step]
    m = len(x)
    kernel = torch.cdist(x, x).square_().mul_(-2).exp_().fill_diagonal_(0)
    return float((kernel.sum(1).sum(dtype=torch.float64) / (m * (m - 1))).log()) if m > 1 else 0.0


def uniformity_of_sphere(width: int) -> float:
    """Return the uniformity of rows spread evenly over the sphere, log(exp(-4) 0F1(; width / 2; 4)), about -4.

    It is the least that many rows can have (Wang & Isola 2020, with t = 2).
    """
    term, series = 1.0, 1.0
    for k in range(60):  # beyond a float's precision
        term *= 4 / ((k + 1) * (width / 2 + k))
        series += term
    return math.log(series) - 4


def _of_modality(sketch: Sketch) -> dict[str, float]:
    moments, width = sketch.moments, len(sketch.moments.mean)
    metrics = {
        "samples": float(moments.samples),
        "width": float(width),
        "cone": _cone(moments.samples, moments.total, moments.squares),
        "mean_energy": float(moments.mean @ moments.mean),
        "uniformity": uniformity(sketch.some),
        "collapsed": float(top_energy(sketch.spectra["raw"][0]) > COLLAPSED),
    }
    for view, parts in sketch.parts.items():
        metrics |= _prefixed(f"{view}/", _of_spectrum(parts))
    return metrics


def _of_spectrum(parts: Partition) -> dict[str, float]:
    s = parts.values
    metrics = {"rankme": rankme(s), "participation_ratio": participation_ratio(s), "top_energy": top_energy(s)}
    metrics |= {"alpha_req": alpha_req(s), "sigma": parts.sigma, "edge": parts.edge, "fence": parts.fence}
    for name, part in (("strong", parts.strong), ("weak", parts.weak), ("noise", parts.noise)):
        metrics |= {f"{name}_count": float(part.count), f"{name}_share": part.share, f"{name}_energy": part.energy}
    return metrics


def _of_spectra(a: Spectrum, b: Spectrum, smaller: int) -> dict[str, float]:
    (s, Va), (t, Vb), k = a, b, subspace_size(smaller)
    return {
        "hellinger": float(hellinger_squared(s, t).sqrt()),
        "subspace_overlap": float(subspace_overlap(Va[:, :k], Vb[:, :k])),
    }


def _cone(m: int, total: Float[Tensor, " width"], squares: float) -> float:
    return (float(total @ total) - squares) / (m * (m - 1)) if m > 1 else 1.0


def _sketch(x: Float[Tensor, "samples width"]) -> Sketch:
    return Sketch(moments_of(x), x[:: rows_among(len(x)).step])


def _energies(s: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    energies = s.double().square()
    return energies / energies.sum().clamp_min(1e-300)


def _unit(features: Float[Tensor, "samples width"], name: str) -> Float[Tensor, "samples width"]:
    return normalize(with_float64(checked(features, name)), dim=1)


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in metrics.items()}
