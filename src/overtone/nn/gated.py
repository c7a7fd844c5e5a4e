"""SHFIN with a gate at each position, for text."""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from overtone.nn.mixers import FrequencyLayers
from overtone.nn.patch_spectrum import PatchSpectrum


class GatedSHFIN(PatchSpectrum):
    """SHFIN with AFNO's layers instead of attention between frequencies, and a gate at each position (ours).

    Attention between the coefficients of a patch makes all of them alike at first; translators learned more without
    it (docs/translation.md). Here each is transformed by itself (`FrequencyLayers`), and the gate, as in gated
    convolutions (Dauphin et al. 2017, eq. 1; Wu et al. 2019, section 3.1), chooses by a position's content what it
    takes of its patch:

        Z = A X                                               the K kept coefficients: SHFIN, eq. 1 and 2
        M = sigmoid(theta) S(W_2 relu(W_1 Z + b_1) + b_2)     Guibas et al. 2022, section 4, in place of eq. 4 and 5
        y = (sigmoid(X W_g + b) * S M) W_o
    """

    def __init__(self, dim: int, patch: int | tuple[int, ...], kept: int, blocks: int = 8, **options: Any) -> None:
        """Take the blocks of channels of AFNO's layers, and the arguments of `PatchSpectrum`."""
        super().__init__(dim, patch, kept, **options)
        self.layers = FrequencyLayers(dim, blocks)
        self.gate = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Mix; positions where `mask` is False count as zero, and stay zero. Raises ValueError for another shape."""
        x = self.without_padding(x, mask)
        rows, Z = self.analyse(x)
        M = self.layers(Z.unflatten(1, (self.kept, 2))) * self.theta[rows].sigmoid()[:, None, None].to(Z.dtype)
        mixed = self.out(self.gate(x).sigmoid() * self.synthesise(rows, M.flatten(1, 2), x.shape))
        return mixed if mask is None else mixed.masked_fill(~mask[..., None], 0)  # waves go on over the padding
