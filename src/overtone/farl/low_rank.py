"""What MMRL++ has in place of full matrices: a frozen or shared one, and a low-rank difference (arXiv 2505.10088)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear


class LowRankHead(nn.Module):
    """The token head P + B A: the tower's own projection, which stays as it is, and a difference of low rank.

    B starts at zero, so that the head starts as the frozen projection.
    """

    projection: Tensor

    def __init__(self, projection: Float[Tensor, "features width"], rank: int) -> None:
        super().__init__()
        features, width = projection.shape
        self.register_buffer("projection", projection.detach().clone(), persistent=False)
        self.A = nn.Parameter(torch.empty(rank, width))
        self.B = nn.Parameter(torch.zeros(features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    @property
    def weight(self) -> Float[Tensor, "features width"]:
        """The matrix in use."""
        return self.projection + self.B @ self.A

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch features"]:
        """Map into the common space."""
        return linear(x, self.weight)


class SharedMaps(nn.Module):
    """The maps W + B_i A_i of tokens into layers i: one matrix for all, and a difference of low rank for each.

    W is learned too; A_i starts at zero, and each layer has a bias of its own.
    """

    def __init__(self, width: int, out: int, layers: int, rank: int) -> None:
        super().__init__()
        start = nn.Linear(width, out)
        self.W = start.weight
        self.bias = nn.Parameter(start.bias.detach().repeat(layers, 1))
        self.B = nn.Parameter(torch.empty(layers, out, rank))
        self.A = nn.Parameter(torch.zeros(layers, rank, width))
        for B in self.B:
            nn.init.kaiming_uniform_(B, a=math.sqrt(5))

    def weights(self) -> list[tuple[Float[Tensor, "out width"], Float[Tensor, " out"]]]:
        """Return the weight and the bias of each layer."""
        return list(zip(self.W + self.B @ self.A, self.bias, strict=True))
