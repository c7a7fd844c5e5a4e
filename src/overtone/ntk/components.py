"""What a network learns first: the parts of a signal over the steps of its training, predicted and observed."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from overtone.ntk.dynamics import predict, spectrum
from overtone.ntk.finite import empirical


@dataclass(frozen=True, eq=False)
class Learning:
    """How much of each part is learned after so many steps of gradient descent: 0 none, 1 all."""

    steps: tuple[int, ...]
    predicted: Float[Tensor, "times parts"]
    observed: Float[Tensor, "times parts"]
    eigenvalues: Float[Tensor, " n"]
    """Of the tangent kernel on the positions before training, largest first."""


def learn_components(
    module: nn.Module, x: Float[Tensor, "n d"], parts: Float[Tensor, "n parts"], steps: Sequence[int]
) -> Learning:
    """Train a copy of `module` on the sum of orthogonal `parts`, and predict the same from its tangent kernel.

    Training is gradient descent on 1/2 sum_i |f(x_i) - y_i|^2 at the rate 1 / l_1, l_1 the kernel's largest
    eigenvalue; the prediction is `predict`'s from the kernel at the start. Part p is learned to p^T f / p^T p. Make
    module and data `.double()`: small eigenvalues are as small as float32's rounding.

    Raises ValueError for parts that are not orthogonal, or steps that do not rise.
    """
    gram = parts.T @ parts
    if (gram - gram.diag().diag()).abs().max() > 1e-6 * gram.max():
        raise ValueError("parts must be orthogonal to each other: what is learned of one would count for another")
    if list(steps) != sorted(set(steps)) or min(steps, default=0) < 0:
        raise ValueError(f"steps must rise from 0 or more, got {list(steps)}")
    y, share = parts.sum(1), parts / gram.diag()
    K = empirical(module, x, x)
    eigenvalues, _ = spectrum(K)
    rate = 1 / float(eigenvalues[0])
    f0 = module(x).detach().flatten()
    times = rate * torch.tensor(list(steps), dtype=torch.float64)
    predicted = predict(K, K, y, times, (f0, f0)) @ share.double()
    observed = torch.stack([f @ share for f in _outputs_after(deepcopy(module), x, y, rate, steps)])
    return Learning(tuple(steps), predicted, observed, eigenvalues)


def _outputs_after(
    module: nn.Module, x: Float[Tensor, "n d"], y: Float[Tensor, " n"], rate: float, steps: Sequence[int]
) -> list[Float[Tensor, " n"]]:
    outputs, optimizer = [], torch.optim.SGD(module.parameters(), lr=rate)
    for step in range(max(steps, default=0) + 1):
        f = module(x).flatten()
        if step in steps:
            outputs.append(f.detach())
        optimizer.zero_grad()
        (f - y).square().sum().div(2).backward()
        optimizer.step()
    return outputs
