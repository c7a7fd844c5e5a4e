"""Choosing exactly K of n by scores, with a gradient: relaxed K-hot vectors and the straight-through choice."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Estimator = Literal["bisected", "successive"]
ESTIMATORS: dict[str, str] = {
    "bisected": "p = sigmoid(scores / tau + nu), nu bisected so that sum p = K (reconstruction)",
    "successive": "K softmaxes, each without what the last one took (Xie and Ermon, IJCAI 2019)",
}
HALVINGS = 40  # of an interval at most a few hundred wide: down to float32's rounding


def top_k(scores: Float[Tensor, " n"], k: int) -> Int[Tensor, " k"]:
    """Return the indices of the k largest scores, the largest first; of equal scores the first."""
    # Exporters know topk, which leaves ties open, and not the stable sort: so topk of ranks, of which none are equal.
    earlier = torch.ones(len(scores), len(scores), dtype=torch.bool, device=scores.device).tril(-1)
    before = (scores > scores[:, None]) | ((scores == scores[:, None]) & earlier)
    return (-before.sum(1).float()).topk(k).indices


def bisected(scores: Float[Tensor, " n"], k: int, tau: float) -> Float[Tensor, " n"]:
    """Return p = sigmoid(scores / tau + nu) with nu such that sum p = k (ours; 0 < k < n, tau > 0).

    The gradient is that of the exact solution: dp = p (1 - p) (dx + dnu) with dnu = -sum p (1 - p) dx / sum p (1 - p).
    """
    x = scores / tau
    if k == len(x):
        return torch.ones_like(x) + 0 * x
    with torch.no_grad():
        reach = 40.0  # sigmoid(-40) < 1e-17
        low, high = -x.max() - reach, -x.min() + reach
        for _ in range(HALVINGS):
            nu = (low + high) / 2
            too_many = (x + nu).sigmoid().sum() > k
            low, high = torch.where(too_many, low, nu), torch.where(too_many, nu, high)
        p = (x + nu).sigmoid()
        slope = p * (1 - p)
    # One Newton step from the solution moves nothing and has the derivative of the implicit function.
    nu = nu - ((x + nu).sigmoid().sum() - k) / slope.sum().clamp_min(torch.finfo(x.dtype).tiny)
    return (x + nu).sigmoid()


def successive(scores: Float[Tensor, " n"], k: int, tau: float) -> Float[Tensor, " n"]:
    """Return the sum of k softmaxes, each on scores lowered by log(1 - p) of the last (Xie and Ermon, IJCAI 2019)."""
    total = torch.zeros_like(scores)
    for _ in range(k):
        p = (scores / tau).softmax(-1)
        total = total + p
        # float32 rounds p to 1 long before it is: the floor keeps log(1 - p) and its gradient finite
        scores = scores + torch.log1p(-p.clamp_max(1 - 1e-6))
    return total


def straight_through(
    scores: Float[Tensor, " n"], k: int, tau: float, estimator: Estimator
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Return the k chosen indices, and a factor for each that is 1 and has the relaxed choice's gradient.

    Only what is chosen need be computed: the others' scores learn through sum p = k (straight-through: Bengio et al.
    2013; top-K of noisy scores: Kool et al. 2019).
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))  # in bfloat16 p would not sum to k
    chosen = top_k(scores.detach(), k)
    p = (bisected if estimator == "bisected" else successive)(scores, k, tau)[chosen]
    return chosen, 1 + (p - p.detach())
