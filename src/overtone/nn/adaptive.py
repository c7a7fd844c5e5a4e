"""SHFIN that keeps more frequencies where there is more to keep."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

from overtone.nn.shfin import SHFIN

MEMORY = 0.99  # of the threshold's running mean


class AdaptiveSHFIN(SHFIN):
    """SHFIN whose number of frequencies follows each patch's content, `budget` of `kept` on average (ours).

    The layer's K = `kept` frequencies are candidates. A patch keeps the strongest, and those that hold at least a share
    of its energy,

        |Z_f|^2 >= share sum_g |Z_g|^2   summed over channels;

    the others are neither attended to nor put out. In training `share` is what meets the budget on those patches of the
    batch that are not zero throughout; its running mean, in the state, decides at evaluation, so that a patch's
    frequencies do not depend on what it is batched with. Values are computed for kept coefficients alone.
    """

    share: Tensor

    def __init__(self, dim: int, patch: int | tuple[int, ...], kept: int, rank: int, budget: float, **options: Any):
        """Take SHFIN's arguments and the mean number of frequencies; ValueError outside 1 to `kept`."""
        super().__init__(dim, patch, kept, rank, **options)
        if not 1 <= budget <= kept:
            raise ValueError(f"budget must be from 1 to kept = {kept}, got {budget}")
        self.budget = budget
        self.register_buffer("share", torch.tensor(0.0))

    def alive(self, Z: Float[Tensor, "patches rows dim"]) -> Bool[Tensor, "patches K"]:
        """Return which candidates each patch keeps."""
        energy = Z.detach().float().unflatten(1, (self.kept, 2)).square().sum((2, 3))
        shares = energy / energy.sum(1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
        strongest = one_hot(shares.argmax(1), self.kept).bool()
        others = shares.masked_fill(strongest | (energy == 0), -1)  # what is zero is not kept for a share of 0
        share = self._meet_the_budget(others, energy.any(1)) if self.training else self.share
        return strongest | (others >= share)

    def mix(
        self, Z: Float[Tensor, "patches rows dim"], theta: Float[Tensor, " K"]
    ) -> Float[Tensor, "patches rows dim"]:
        """Let each patch's kept coefficients attend to each other."""
        alive = self.alive(Z)
        attention = self.attention(Z).masked_fill(~alive[:, None], -torch.inf).softmax(-1)
        weights = theta.sigmoid()[:, None] * attention * alive[:, :, None]
        rows = alive.repeat_interleave(2, dim=1)
        V = torch.zeros_like(Z)
        V[rows] = self.value(Z[rows]).to(V.dtype)
        return (weights.to(V.dtype) @ V.unflatten(1, (self.kept, 2)).flatten(2)).view(Z.shape)

    @torch.no_grad()
    def _meet_the_budget(
        self, others: Float[Tensor, "patches K"], filled: Bool[Tensor, " patches"]
    ) -> Float[Tensor, ""]:
        """Return the share that so many of the batch's candidates hold beside the strongest, and remember it."""
        wanted = ((self.budget - 1) * filled.sum()).round().long()
        none = others.new_ones(1)  # the share that no other candidate holds
        share = torch.cat([none, others.flatten().sort(descending=True).values])[wanted].clamp_min(0)
        weight = torch.where(self.share > 0, 1 - MEMORY, 1.0) * filled.any()
        self.share.lerp_(share.to(self.share), weight.to(self.share))
        return share
