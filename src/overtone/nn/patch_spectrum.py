"""The K learned frequencies of a grid's patches: what SHFIN's layers mix through."""

from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from overtone.spectral.k_hot import ESTIMATORS, Estimator, straight_through, top_k
from overtone.spectral.patch_dft import analysis_synthesis, frequencies


class PatchSpectrum(nn.Module):
    """K coefficients of each patch of a grid, and back (SHFIN, arXiv 1801.01451v3, sections 2.1, 2.2 and 2.4).

    For a patch X (N, C) of the grid, with A and S the real matrices of its Fourier transform and its inverse:

        Z = A X                                               the K kept coefficients (2K, C): eq. 1 and 2
        X^ = S M                                              of what a layer makes of them: eq. 6

    Which K frequencies are kept is learned: one score a frequency, shared by all patches. In training the K largest of
    the scores with Gumbel noise are kept, with a straight-through gradient (eq. 3); at evaluation, the K largest
    scores. `anneal` sets temperature and noise and is to be called before every step; without it, choices are learned
    without noise. The real half-spectrum and the shared scores are reconstructions: see docs/shfin.md.
    """

    A: Tensor
    S: Tensor
    noise: Tensor

    def __init__(
        self,
        dim: int,
        patch: int | tuple[int, ...],
        kept: int,
        axes: int = 2,
        shift: bool = False,
        estimator: Estimator = "bisected",
    ) -> None:
        """Take the channels C, the patch's size along each of the grid's axes, and K.

        A patch with a size for each axis says itself how many `axes` there are. `shift` moves the patches by half of
        their size, so that two layers in a row mix across their borders. Raises ValueError for what is out of range.
        """
        super().__init__()
        self.patch = (patch,) * axes if isinstance(patch, int) else tuple(patch)
        self.dim, self.kept, self.shift = dim, kept, shift
        require_whole(dim=dim, kept=kept)
        if min(dim, axes, *self.patch) < 1:
            raise ValueError(f"dim, axes and patch must be 1 or more, got {dim}, {axes} and {patch}")
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
        self.estimator: Estimator = estimator
        self.f = frequencies(self.patch)
        if not 1 <= kept <= len(self.f):
            raise ValueError(
                f"kept must be from 1 to {len(self.f)}, the independent frequencies of a {self.patch} patch, got {kept}"
            )
        self.scores = nn.Parameter(torch.zeros(len(self.f)))  # ties go to the first: the lowest frequencies
        self.theta = nn.Parameter(torch.full((len(self.f),), 2.0))
        self.tau = 1.0
        for name in ("A", "S", "noise"):
            self.register_buffer(name, None, persistent=False)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        """Compute A and S, which follow from the patch and so are no part of the state, and take the noise away."""
        self._compute_matrices()
        self.noise = torch.zeros_like(self.scores)

    def _compute_matrices(self) -> None:
        A, S = analysis_synthesis(self.patch, self.f, torch.float64)
        self.A, self.S = A.to(self.scores), S.permute(1, 2, 0).contiguous().to(self.scores)

    def anneal(self, tau: float, noise: float, generator: torch.Generator) -> None:
        """Set the temperature, and draw Gumbel noise of the given scale for the next step.

        The noise is drawn here and not while computing: so a step is a function of its inputs, and draws the same on
        every process whose generator has the same seed.
        """
        self.tau = tau
        uniform = torch.rand(len(self.f), generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        self.noise.copy_(noise * -(-uniform.log()).log())

    @property
    def chosen(self) -> Int[Tensor, "K d"]:
        """The kept frequencies at evaluation, in cycles a patch."""
        return self.f[top_k(self.scores.detach().cpu(), self.kept)]

    def chosen_map(self) -> np.ndarray:
        """Return a map of the patch's frequencies, zero in the middle, 1 where kept, a bin and its twin alike."""
        kept = np.zeros(self.patch, dtype=np.uint8)
        for f in self.chosen.tolist():
            for sign in (1, -1):
                kept[tuple((sign * v + s // 2) % s for v, s in zip(f, self.patch, strict=True))] = 1
        return kept

    def without_padding(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Return x with zeros where `mask` is False; ValueError for another shape."""
        self._require(x, mask)
        return x if mask is None else x.masked_fill(~mask[..., None], 0)  # not times 0: padding may hold NaN

    def analyse(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> tuple[Int[Tensor, " K"], Float[Tensor, "patches rows dim"]]:
        """Return which frequencies are kept, and their coefficients Z, real and imaginary parts as rows in turn."""
        x = self.without_padding(x, mask)
        if self.training:
            rows, g = straight_through(self.scores + self.noise, self.kept, self.tau, self.estimator)
        else:
            rows, g = top_k(self.scores, self.kept), None
        Z = self.A[rows].flatten(0, 1).to(x.dtype) @ self._divide(x)
        return rows, Z if g is None else Z * g.repeat_interleave(2)[:, None].to(x.dtype)

    def synthesise(
        self, rows: Int[Tensor, " K"], M: Float[Tensor, "patches rows dim"], shape: torch.Size
    ) -> Float[Tensor, "batch *grid dim"]:
        """Return the grid, of this shape, that the coefficients M of the frequencies `rows` make: S M."""
        return self._join(self.S[rows].flatten(0, 1).T.to(M.dtype) @ M, shape)

    def _require(self, x: Tensor, mask: Tensor | None) -> None:
        if x.ndim != len(self.patch) + 2 or x.shape[-1] != self.dim:
            axes = ", ".join(["batch", *(f"axis {i + 1}" for i in range(len(self.patch))), f"dim = {self.dim}"])
            raise ValueError(f"x must be ({axes}), got {tuple(x.shape)}")
        if mask is not None and (mask.shape != x.shape[:-1] or mask.dtype != torch.bool):
            raise ValueError(f"mask must be bool {tuple(x.shape[:-1])}, got {mask.dtype} {tuple(mask.shape)}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PatchSpectrum":
        """Move and convert, but round no scores and gates to half precision: other frequencies would be chosen."""
        precise = self.scores.data, self.theta.data, self.noise
        super()._apply(fn, recurse)
        if self.scores.dtype.itemsize > precise[0].dtype.itemsize:
            self._compute_matrices()  # they were rounded
        if self.scores.dtype.itemsize < 4:
            device = self.scores.device
            self.scores.data, self.theta.data, self.noise = (t.to(device, torch.float32) for t in precise)
        return self

    def _counts(self, grid: Sequence[int]) -> list[int]:
        """Return the number of patches along each axis of the grid."""
        sides = zip(grid, self.patch, strict=True)
        return [(n + (s // 2 if self.shift else 0) + s - 1) // s for n, s in sides]

    def _divide(self, x: Float[Tensor, "batch *grid dim"]) -> Float[Tensor, "patches N dim"]:
        """Return the patches of the grid, padded with zeros."""
        grid = self._counts(x.shape[1:-1])
        before = [s // 2 if self.shift else 0 for s in self.patch]
        after = [g * s - b - n for g, s, b, n in zip(grid, self.patch, before, x.shape[1:-1], strict=True)]
        if any(before) or any(after):
            x = pad(x, [0, 0, *(size for sides in zip(before[::-1], after[::-1], strict=True) for size in sides)])
        d = len(grid)
        x = x.reshape(x.shape[0], *(size for pair in zip(grid, self.patch, strict=True) for size in pair), self.dim)
        x = x.permute(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1)
        return x.flatten(d + 1, 2 * d).flatten(0, d)

    def _join(self, patches: Float[Tensor, "patches N dim"], shape: torch.Size) -> Float[Tensor, "batch *grid dim"]:
        """Put the patches of a map of this shape back, and cut the padding off."""
        grid = self._counts(shape[1:-1])
        d = len(grid)
        x = patches.view(shape[0], *grid, *self.patch, self.dim)
        x = x.permute(0, *(axis for i in range(d) for axis in (1 + i, 1 + d + i)), 1 + 2 * d)
        x = x.reshape(shape[0], *(g * s for g, s in zip(grid, self.patch, strict=True)), self.dim)
        for axis, (size, s) in enumerate(zip(shape[1:-1], self.patch, strict=True), start=1):
            x = x.narrow(axis, s // 2 if self.shift else 0, size)
        return x

    def extra_repr(self) -> str:
        """Return the sizes, for print(module)."""
        return f"dim={self.dim}, patch={self.patch}, kept={self.kept} of {len(self.f)}, shift={self.shift}"


def require_whole(**numbers: int) -> None:
    """Raise ValueError for what is no whole number."""
    for name, value in numbers.items():
        if not isinstance(value, Integral):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
