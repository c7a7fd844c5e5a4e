"""Features of all processes that train together, for a batch that is shared out among them."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from overtone.spectral.second_moment import sum_over_processes


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        ctx.rows = slice(first_row(len(x)), first_row(len(x)) + len(x))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_processes(gradient.contiguous())[ctx.rows]


def gathered(x: Float[Tensor, "batch width"]) -> Float[Tensor, "all width"]:
    """Return the rows of all processes, in the order of the processes; with one process, `x` itself.

    Every process must bring as many rows. The gradient of a row is the sum of what all processes' losses ask of it, so
    that gradients averaged over the processes, as DistributedDataParallel does, are those of the processes' mean loss.
    """
    return _Gather.apply(x) if together() else x


def first_row(count: int) -> int:
    """Return where this process's `count` rows begin among the gathered ones."""
    return dist.get_rank() * count if together() else 0


def together() -> bool:
    """Return whether a process group has been set up."""
    return dist.is_available() and dist.is_initialized()
