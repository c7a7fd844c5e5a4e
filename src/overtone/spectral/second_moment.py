"""A running second moment of features, with how many samples stand behind it, over all processes."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from overtone.spectral.singular import gram, in_single, principal_basis


class SecondMoment(nn.Module):
    """An exponentially weighted mean of f f^T over batches, for bases and spectra steadier than one batch's.

    A batch's samples weigh 1 and `decay` times as much with every later batch; with decay 1 it is the plain sum of a
    stream. Width and precision are the first batch's. All of it is in the state dict.
    """

    total: Tensor  # sum w f f^T
    weight: Tensor  # sum w
    squared_weight: Tensor  # sum w^2

    def __init__(self, decay: float = 1.0) -> None:
        """Raise ValueError for a decay outside (0, 1]."""
        super().__init__()
        if not 0 < decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], got {decay}")
        self.decay = decay
        self.register_buffer("total", torch.zeros(0, 0))
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("squared_weight", torch.zeros(()))
        self.register_load_state_dict_pre_hook(take_shapes)

    @property
    def samples(self) -> float:
        """The effective number of samples (sum w)^2 / sum w^2 (Kish 1965), to put into the Marchenko-Pastur law (ours).

        Noise under exponential weights goes over the edge of this number where that is small against the width: 512
        wide and with decay 0.95, by 5 % in batches of 8, and by 0.2 % in batches of 64.
        """
        return float(self.weight**2 / self.squared_weight) if self.weight else 0.0

    @torch.no_grad()
    def update(self, features: Float[Tensor, "samples width"], distributed: bool = False) -> None:
        """Take a batch in; with `distributed`, it is this process's share of one.

        Then width x width numbers and a count are summed over the processes, never the features. A batch with a number
        that is not finite is left out, in all processes alike. Raises ValueError for features of another width.
        """
        F = in_single(features)
        batch, count = gram(F), F.new_tensor(len(F))
        if not self.total.numel():
            self.total = torch.zeros_like(batch)
        if batch.shape != self.total.shape:
            raise ValueError(f"features must be {len(self.total)} wide as those before, got {len(batch)}")
        if distributed:
            packed = sum_over_processes(torch.cat([batch.flatten(), count[None]]))
            batch, count = packed[:-1].view_as(batch), packed[-1]
        finite = batch.diagonal().isfinite().all()  # a bad column shows there; on the device, without waiting
        self.total = torch.where(finite, self.decay * self.total.to(batch) + batch, self.total.to(batch))
        self.weight = torch.where(finite, self.decay * self.weight.to(count) + count, self.weight.to(count))
        squared_weight = self.squared_weight.to(count)
        self.squared_weight = torch.where(finite, self.decay**2 * squared_weight + count, squared_weight)

    def principal_basis(self) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
        """Return the singular values of `samples` rows of this second moment, largest first, and its basis V."""
        return principal_basis(self.total * (self.weight / self.squared_weight.clamp_min(1)))


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return sum_over_processes(gradient)


def sum_over_processes(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the sum of `x` over the processes, or `x` where there is one; the gradient is summed over them too.

    So a loss that every process computes from the sum, and whose gradients DistributedDataParallel averages, has the
    gradient of one process with all the data.
    """
    return _SumOverProcesses.apply(x) if dist.is_available() and dist.is_initialized() else x


def take_shapes(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Give a module's own buffers the shapes of those that are about to be loaded: it may not have seen data yet."""
    for name, buffer in module.named_buffers(recurse=False):
        loaded = state_dict.get(prefix + name)
        if loaded is not None and loaded.shape != buffer.shape:
            setattr(module, name, torch.empty_like(loaded, device=buffer.device))
