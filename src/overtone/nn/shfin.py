"""SHFIN: a sparse Fourier mixer, in place of convolution and attention."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from overtone.spectral.k_hot import ESTIMATORS, Estimator, straight_through, top_k
from overtone.spectral.patch_dft import analysis_synthesis, frequencies


def schedule(progress: float) -> tuple[float, float]:
    """Return temperature and noise scale where training stands, 0 to 1.

    The temperature falls from 1.0 to 0.3 over the first 30 % (SHFIN, section 3.2), the noise from 1 to 0 (ours).
    """
    done = min(progress / 0.3, 1.0)
    return 1.0 - 0.7 * done, 1.0 - done


class SHFIN(nn.Module):
    """Mix the positions of each patch through K of its frequencies (SHFIN, arXiv 1801.01451v3, sections 2.1 to 2.4).

    For a patch X (N, C) of the grid, with A and S the real matrices of its Fourier transform and its inverse:

        Z = A X                                               the K kept coefficients (2K, C): eq. 1 and 2
        M = sigmoid(theta) softmax(Re(Q K^H) / sqrt r) V      with [Q, K, V] = Z [W_q, W_k, W_v]: eq. 4 and 5
        X^ = S M                                              eq. 6

    Which K frequencies are kept is learned: one score a frequency, shared by all patches. In training the K largest of
    the scores with Gumbel noise are kept, with a straight-through gradient (eq. 3); at evaluation, the K largest
    scores. `anneal` sets temperature and noise and is to be called before every step; without it, choices are learned
    without noise. The real half-spectrum, the Hermitian product and the shared scores are reconstructions: see
    docs/shfin.md.
    """

    A: Tensor
    S: Tensor
    noise: Tensor

    def __init__(
        self,
        dim: int,
        patch: int | tuple[int, ...],
        kept: int,
        rank: int,
        axes: int = 2,
        shift: bool = False,
        estimator: Estimator = "bisected",
    ) -> None:
        """Take the channels C, the patch's size along each of the grid's axes, K and r.

        A patch with a size for each axis says itself how many `axes` there are. `shift` moves the patches by half of
        their size, so that two layers in a row mix across their borders. Raises ValueError for what is out of range.
        """
        super().__init__()
        self.patch = (patch,) * axes if isinstance(patch, int) else tuple(patch)
        self.dim, self.kept, self.shift = dim, kept, shift
        for name, value in {"dim": dim, "kept": kept, "rank": rank}.items():
            if not isinstance(value, Integral):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if min(dim, rank, axes, *self.patch) < 1:
            raise ValueError(f"dim, rank, axes and patch must be 1 or more, got {dim}, {rank}, {axes} and {patch}")
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
        self.query_key = nn.Linear(dim, 2 * rank, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.tau = 1.0
        for name in ("A", "S", "noise"):
            self.register_buffer(name, None, persistent=False)
        self.reset_buffers()

    def reset_buffers(self) -> None:
        """Compute A and S, which follow from the patch and so are no part of the state, and take the noise away."""
        A, S = analysis_synthesis(self.patch, self.f, torch.float64)
        self.A, self.S = A.to(self.scores), S.permute(1, 2, 0).contiguous().to(self.scores)
        self.noise = torch.zeros_like(self.scores)

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

    def forward(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Mix; positions where `mask` is False count as zero, and stay zero. Raises ValueError for another shape."""
        rows, Z = self.analyse(x, mask)
        S = self.S[rows].flatten(0, 1).T.to(Z.dtype)  # (N, 2K)
        mixed = self._join(S @ self.mix(Z, self.theta[rows]), x.shape)
        return mixed if mask is None else mixed.masked_fill(~mask[..., None], 0)

    def analyse(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None
    ) -> tuple[Int[Tensor, " K"], Float[Tensor, "patches rows dim"]]:
        """Return which frequencies are kept, and their coefficients Z, real and imaginary parts as rows in turn."""
        self._require(x, mask)
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)  # and not times 0: padding may hold anything, NaN too
        if self.training:
            rows, g = straight_through(self.scores + self.noise, self.kept, self.tau, self.estimator)
        else:
            rows, g = top_k(self.scores, self.kept), None
        Z = self.A[rows].flatten(0, 1).to(x.dtype) @ self._divide(x)
        return rows, Z if g is None else Z * g.repeat_interleave(2)[:, None].to(x.dtype)

    def mix(
        self, Z: Float[Tensor, "patches rows dim"], theta: Float[Tensor, " K"]
    ) -> Float[Tensor, "patches rows dim"]:
        """Let the kept coefficients of each patch attend to each other; real and imaginary parts are rows in turn."""
        weights = theta.sigmoid()[:, None] * self.attention(Z).softmax(-1)
        V = self.value(Z)
        return (weights.to(V.dtype) @ V.unflatten(1, (self.kept, 2)).flatten(2)).view(Z.shape)

    def attention(self, Z: Float[Tensor, "patches rows dim"]) -> Float[Tensor, "patches K K"]:
        """Return Re(Q K^H) / sqrt r in float32 at least: the real part is a sum over real and imaginary parts."""
        Q, K = self.query_key(Z).unflatten(1, (self.kept, 2)).unflatten(-1, (2, -1)).unbind(-2)
        precise = torch.promote_types(Q.dtype, torch.float32)
        device = "cpu" if Z.is_meta else Z.device.type  # autocast knows no meta device
        with torch.autocast(device, enabled=False):  # squares of coefficients pass float16's range
            return Q.flatten(2).to(precise) @ K.flatten(2).to(precise).mT / math.sqrt(Q.shape[-1])

    def _require(self, x: Tensor, mask: Tensor | None) -> None:
        if x.ndim != len(self.patch) + 2 or x.shape[-1] != self.dim:
            axes = ", ".join(["batch", *(f"axis {i + 1}" for i in range(len(self.patch))), f"dim = {self.dim}"])
            raise ValueError(f"x must be ({axes}), got {tuple(x.shape)}")
        if mask is not None and (mask.shape != x.shape[:-1] or mask.dtype != torch.bool):
            raise ValueError(f"mask must be bool {tuple(x.shape[:-1])}, got {mask.dtype} {tuple(mask.shape)}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SHFIN":
        """Move and convert, but round no scores and gates to half precision: other frequencies would be chosen."""
        precise = self.scores.data, self.theta.data, self.noise
        super()._apply(fn, recurse)
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


class DeepSHFIN(SHFIN):
    """SHFIN with the feed-forward on the kept coefficients: M + W_2 gelu(W_1 LayerNorm(Z + M)) instead of M (ours).

    A feed-forward on all N positions is nine tenths of a block's work; there are 2K rows of coefficients, an eighth or
    a sixth of N. Real and imaginary parts pass through the same weights, in turn.
    """

    def __init__(
        self, dim: int, patch: int | tuple[int, ...], kept: int, rank: int, ratio: float = 4.0, **options: Any
    ) -> None:
        """Take SHFIN's arguments, and the feed-forward's width as a multiple of `dim`."""
        super().__init__(dim, patch, kept, rank, **options)
        hidden = int(ratio * dim)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def mix(
        self, Z: Float[Tensor, "patches rows dim"], theta: Float[Tensor, " K"]
    ) -> Float[Tensor, "patches rows dim"]:
        """Let the kept coefficients attend to each other, then mix the channels of each."""
        M = super().mix(Z, theta)
        return M + self.feed_forward(self.norm(Z + M))
