"""SHFIN: a sparse Fourier mixer, in place of convolution and attention."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from overtone.nn.patch_spectrum import PatchSpectrum, require_whole


def schedule(progress: float) -> tuple[float, float]:
    """Return temperature and noise scale where training stands, 0 to 1.

    The temperature falls from 1.0 to 0.3 over the first 30 % (SHFIN, section 3.2), the noise from 1 to 0 (ours).
    """
    done = min(progress / 0.3, 1.0)
    return 1.0 - 0.7 * done, 1.0 - done


class SHFIN(PatchSpectrum):
    """Mix the positions of each patch through K of its frequencies (SHFIN, arXiv 1801.01451v3, sections 2.1 to 2.4).

    For a patch X (N, C) of the grid, with A and S the real matrices of its Fourier transform and its inverse:

        Z = A X                                               the K kept coefficients (2K, C): eq. 1 and 2
        M = sigmoid(theta) softmax(Re(Q K^H) / sqrt r) V      with [Q, K, V] = Z [W_q, W_k, W_v]: eq. 4 and 5
        X^ = S M                                              eq. 6

    `PatchSpectrum` says how the K frequencies are learned. The Hermitian product is a reconstruction: docs/shfin.md.
    """

    def __init__(self, dim: int, patch: int | tuple[int, ...], kept: int, rank: int, **options: Any) -> None:
        """Take r and the arguments of `PatchSpectrum`. Raises ValueError for what is out of range."""
        super().__init__(dim, patch, kept, **options)
        require_whole(rank=rank)
        if rank < 1:
            raise ValueError(f"rank must be 1 or more, got {rank}")
        self.query_key = nn.Linear(dim, 2 * rank, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Mix; positions where `mask` is False count as zero, and stay zero. Raises ValueError for another shape."""
        rows, Z = self.analyse(x, mask)
        mixed = self.synthesise(rows, self.mix(Z, self.theta[rows]), x.shape)
        return mixed if mask is None else mixed.masked_fill(~mask[..., None], 0)

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
