"""SHFIN with a gate at each position."""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from overtone.nn.shfin import SHFIN


class GatedSHFIN(SHFIN):
    """SHFIN whose output is gated by its input: each position chooses what it takes of its patch (ours).

    SHFIN gives the positions of a patch K of its frequencies, whatever stands there. With a gate, as in gated
    convolutions (Dauphin et al. 2017, eq. 1; Wu et al. 2019, section 3.1), it depends on the content too:

        y = (sigmoid(X W_g + b) * X^) W_o
    """

    def __init__(self, dim: int, patch: int | tuple[int, ...], kept: int, rank: int, **options: Any) -> None:
        """Take SHFIN's arguments."""
        super().__init__(dim, patch, kept, rank, **options)
        self.gate = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch *grid dim"], mask: Bool[Tensor, "batch *grid"] | None = None
    ) -> Float[Tensor, "batch *grid dim"]:
        """Mix; positions where `mask` is False count as zero, and stay zero. Raises ValueError for another shape."""
        mixed = super().forward(x, mask)
        mixed = self.out(self.gate(x).sigmoid() * mixed)
        return mixed if mask is None else mixed.masked_fill(~mask[..., None], 0)  # the gate saw what padding holds
