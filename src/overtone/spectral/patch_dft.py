"""The discrete Fourier transform of a small patch as two real matrices: analysis A and synthesis S.

For a patch of N positions, row pairs of A are the cosine and the minus sine of one frequency each, so that A x has the
real and the imaginary part of the transform (norm "ortho") and S A x = x when all frequencies are kept. A real signal
has conjugate pairs of bins: each pair counts as one frequency, and S weighs it twice.
"""

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def frequencies(patch: tuple[int, ...]) -> Int[Tensor, "F d"]:
    """Return the independent frequencies of a real patch in cycles a patch, in [-s/2, s/2], the lowest first.

    Of a bin and its conjugate twin only one is there: 130 of the 256 bins of a 16 x 16 patch.
    """
    signed = [range(-((s - 1) // 2), s // 2 + 1) for s in patch]
    bins = {f: tuple(_wrapped(-v, s) for v, s in zip(f, patch, strict=True)) for f in itertools.product(*signed)}
    independent = [f for f, twin in bins.items() if f >= twin]
    independent.sort(key=lambda f: (sum((v / s) ** 2 for v, s in zip(f, patch, strict=True)), f))
    return torch.tensor(independent, device="cpu")  # also where a model is laid out on the meta device


def analysis_synthesis(
    patch: tuple[int, ...], f: Int[Tensor, "F d"], dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "F 2 N"], Float[Tensor, "N F 2"]]:
    """Return A and S for frequencies `f` of a patch whose N positions run with the last axis fastest."""
    sizes = torch.tensor(patch, device=f.device)
    n = torch.cartesian_prod(*(torch.arange(s, device=f.device) for s in patch)).view(-1, len(patch))
    whole = math.lcm(*patch)
    # Turns as whole parts of a circle: exact, where an angle of many turns would round.
    turns = (f[:, None] * n * (whole // sizes)).sum(-1).remainder(whole).double() / whole
    A = torch.stack([(2 * math.pi * turns).cos(), -(2 * math.pi * turns).sin()], dim=1) / math.sqrt(len(n))
    own_twin = ((2 * f) % sizes == 0).all(-1)
    A[own_twin, 1] = 0.0
    S = (A * torch.where(own_twin, 1.0, 2.0)[:, None, None]).permute(2, 0, 1)
    return A.to(dtype), S.to(dtype)


def _wrapped(v: int, s: int) -> int:
    v %= s
    return v - s if v > s // 2 else v
