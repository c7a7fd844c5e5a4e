"""What is left of rows that came in chunks: sums of the size of a row's square, from which spectra and metrics follow.

So a million embeddings are measured without holding them. `SecondMoment` is for training: it forgets, and has no mean.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from overtone.spectral.singular import in_single, precise_gram, principal_basis

Spectrum = tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]  # singular values, largest first, and V


class Moments:
    """Count, mean and scatter sum (f - mean)(f - mean)^T of rows that come in chunks.

    Chunks are joined by the pairwise update of Chan, Golub & LeVeque (1979), where no large sum is taken from another.
    All of it is in float64, so that small singular values are told from rounding beside large ones.
    """

    samples: int = 0
    mean: Float[Tensor, " width"]
    scatter: Float[Tensor, "width width"]
    precision: torch.dtype

    @torch.no_grad()
    def update(self, features: Float[Tensor, "samples width"]) -> None:
        """Take a chunk in. Raises ValueError for rows of another width."""
        F = in_single(features)
        if not self.samples:
            self.precision = F.dtype
            self.mean = F.new_zeros(F.shape[1], dtype=torch.float64)
            self.scatter = F.new_zeros(F.shape[1], F.shape[1], dtype=torch.float64)
        if F.shape[1] != len(self.mean):
            raise ValueError(f"features must be {len(self.mean)} wide as those before, got {F.shape[1]}")
        if not len(F):
            return
        samples = self.samples + len(F)
        rounding = 8 * torch.finfo(F.dtype).eps * F.abs().amax()
        mean = F.sum(0, dtype=torch.float64) / len(F)
        # What is left of a constant is its rounding, not noise
        self.scatter += precise_gram(_without(F - mean.to(F), rounding))
        shift = mean - self.mean
        if self.samples:
            real = _without(shift, rounding)
            self.scatter += self.samples * len(F) / samples * torch.outer(real, real)
        self.mean += shift * (len(F) / samples)
        self.samples = samples

    @property
    def total(self) -> Float[Tensor, " width"]:
        """The sum of the rows."""
        return self.samples * self.mean

    @property
    def squares(self) -> float:
        """The sum of the rows' squared lengths."""
        return float(self.scatter.trace() + self.samples * self.mean.square().sum())

    @torch.no_grad()
    def spectra(self) -> dict[str, Spectrum]:
        """Return singular values and V of the rows as they are ("raw"), and of the rows less their mean ("centred").

        What is rounding in the rows' precision counts as zero; V is in this precision.
        """
        raw = self.scatter + self.samples * torch.outer(self.mean, self.mean)
        found = {}
        for view, second_moment in (("raw", raw), ("centred", self.scatter)):
            s, V = principal_basis(second_moment, self.precision)
            found[view] = s, V.to(self.precision)
        return found


class Matches:
    """How matching rows x and y of two modalities lie to each other; the rows come in chunks."""

    samples: int = 0
    squares: float = 0.0
    cosines: float = 0.0
    difference: Float[Tensor, " width"]

    @torch.no_grad()
    def update(self, x: Float[Tensor, "samples width"], y: Float[Tensor, "samples width"]) -> None:
        """Take a chunk of rows of unit length in."""
        difference = (x - y).sum(0, dtype=torch.float64)
        self.difference = self.difference + difference if self.samples else difference
        self.squares += float((x - y).square().sum(1).sum(dtype=torch.float64))
        self.cosines += float((x * y).sum(1).sum(dtype=torch.float64))
        self.samples += len(x)

    def metrics(self) -> dict[str, float]:
        """Return alignment, matched cosine and modality gap; `METRICS` defines them."""
        return {
            "alignment": self.squares / self.samples,
            "matched_cosine": self.cosines / self.samples,
            "gap": float(self.difference.norm()) / self.samples,
        }


def moments_of(features: Float[Tensor, "samples width"]) -> Moments:
    """Return the moments of rows that are all at hand."""
    moments = Moments()
    moments.update(features)
    return moments


def _without(x: Float[Tensor, "*shape"], rounding: Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    return torch.where(x.abs() > rounding, x, 0)
