"""Kernels of infinitely wide ReLU networks."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Encoding = Callable[[Tensor], Tensor]


def analytic(
    x1: Float[Tensor, "n1 d"],
    x2: Float[Tensor, "n2 d"],
    depth: int,
    encoding: Encoding | None = None,
    weight_scale: float = math.sqrt(2),
    bias_scale: float = 0.0,
) -> Float[Tensor, "n1 n2"]:
    """Return the neural tangent kernel of an infinitely wide ReLU network between two sets of points, in float64.

    The network has `depth` hidden layers in the parametrisation of `relu_network`, and sees encoding(x): with
    FourierFeatures of m frequencies and a_j = 1, the default scales and no bias, K(x, x) = depth + 1.
    The recursion of Jacot et al. 2018 (theorem 1) starts from S0 = weight_scale^2 x.x' / d + bias_scale^2, T0 = S0.
    K is finite with finite gradients everywhere; where x = x', where it has a cusp, the cusp's gradient counts as 0.
    """
    h1, h2 = (x.double() if encoding is None else encoding(x.double()) for x in (x1, x2))
    sw2, sb2 = weight_scale**2 / h1.shape[-1], bias_scale**2
    S12 = sw2 * h1 @ h2.T + sb2
    S11, S22 = (sw2 * h.square().sum(-1) + sb2 for h in (h1, h2))
    return relu_kernels(S12, S11[:, None], S22[None], depth, weight_scale, bias_scale)[1]


def relu_kernels(
    S12: Float[Tensor, "*shape"],
    S11: Float[Tensor, "..."],
    S22: Float[Tensor, "..."],
    depth: int,
    weight_scale: float = math.sqrt(2),
    bias_scale: float = 0.0,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return the covariance S of the outputs at the start, and the tangent kernel T, after `depth` ReLU layers.

    S12 is the covariance of the first layer's outputs at x and x', S11 and S22 their variances; T starts as S12. With
    cos t = S12 / sqrt(S11 S22), a layer maps (Cho & Saul 2009, order 1; Jacot et al. 2018)

        S12 <- sw^2 sqrt(S11 S22) (sin t + (pi - t) cos t) / (2 pi) + sb^2,   T <- S12 + T sw^2 (pi - t) / (2 pi).

    For variances of 1 and the default scales these are k1 and k0 of the unit sphere: S <- k1(S), T <- k1(S) + T k0(S).

    Raises ValueError for a negative depth.
    """
    if depth < 0:
        raise ValueError(f"depth is a number of hidden layers, at least 0, not {depth}")
    sw2, sb2 = weight_scale**2, bias_scale**2
    T = S12
    for _ in range(depth):
        norm = _root(S11) * _root(S22)
        t, sine = _angle(S12, norm)
        share = (math.pi - t) / (2 * math.pi)
        S12 = sw2 * (norm * sine / (2 * math.pi) + share * S12) + sb2
        S11, S22 = sw2 / 2 * S11 + sb2, sw2 / 2 * S22 + sb2
        T = S12 + sw2 * share * T
    return S12, T


def _angle(S12: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """Return t = atan2(sin t, cos t) and sin t.

    arccos would lose half of the digits near t = 0. Angles below 1e-7, the square root of the rounding in cos t, are
    0: coincident points stay so, and the infinite slope of the root at 0 stays out of the gradients.
    """
    cosine = (S12 / torch.where(norm > 0, norm, 1)).clamp(-1, 1)  # a point whose variance is 0 has no angle: t = pi/2
    square = (1 - cosine) * (1 + cosine)
    sine = _root(torch.where(square > 64 * torch.finfo(square.dtype).eps, square, 0))
    return torch.atan2(sine, cosine), sine


def _root(x: Tensor) -> Tensor:
    """Return the square root, with gradient 0 at 0."""
    return torch.where(x > 0, torch.where(x > 0, x, 1).sqrt(), 0)
