"""Tangent kernels of networks as they are."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from overtone.ntk.structured import as_perceptron, structured_kernel

Method = Literal["auto", "structured", "jacobian", "products"]
Parameters = dict[str, Tensor]
BLOCK = 2**27  # numbers of a Jacobian that are held at a time: a gigabyte in float64


def empirical(
    module: nn.Module, x1: Float[Tensor, "n1 *shape"], x2: Float[Tensor, "n2 *shape"], method: Method = "auto"
) -> Float[Tensor, "n1 n2"]:
    """Return the tangent kernel K = J(x1) J(x2)^T of a network's trainable parameters, without gradient.

    Of several outputs, K is the mean over outputs of each one's kernel. The precision is that of the module: make it
    `.double()` before taking spectra. The module must treat samples apart and be deterministic, which usually means
    eval mode.

    - structured: multilayer perceptrons only, from activations (see `structured_kernel`); by far the fastest
    - jacobian: any module, by contracting Jacobians in blocks
    - products: any module, one column at a time by `product`; holds no Jacobian, for many outputs and little memory
    - auto: structured where it can be, else jacobian

    Raises ValueError for an unknown method, and for "structured" on a module that is no multilayer perceptron.
    """
    if method not in ("auto", "structured", "jacobian", "products"):
        raise ValueError(f"method is one of auto, structured, jacobian, products, not {method!r}")
    perceptron = as_perceptron(module, x1) if method in ("auto", "structured") else None
    if perceptron is not None:
        return structured_kernel(perceptron, x1, x2)
    if method == "structured":
        raise ValueError("method='structured' takes a Sequential of Linear and elementwise layers; use 'jacobian'")
    if method == "products":
        return product(module, x1, x2, torch.eye(len(x2), device=x2.device))
    return _contract(module, x1, x2)


@torch.no_grad()
def product(
    module: nn.Module, x1: Float[Tensor, "n1 *shape"], x2: Float[Tensor, "n2 *shape"], v: Float[Tensor, "n2 k"]
) -> Float[Tensor, "n1 k"]:
    """Return K v = J(x1) (J(x2)^T v) without forming K, at the price of a few passes for each column of v.

    J(x1) w is the derivative of u -> J(x1)^T u, which is linear (Townsend's trick): torch knows more second
    derivatives of that kind than forward-mode ones.
    """
    trained, call = _functional(module)
    pull2 = vjp(lambda parameters: call(parameters, x2), trained)[1]
    start, pull1 = vjp(lambda parameters: call(parameters, x1), trained)[:2]
    push1 = vjp(lambda u: pull1(u)[0], torch.zeros_like(start))[1]
    outputs = torch.eye(start.shape[1], dtype=start.dtype, device=start.device)

    def column(output: Tensor, v_k: Tensor) -> Tensor:
        (gradient,) = pull2(v_k[:, None] * output)
        return push1(gradient)[0] @ output

    columns = vmap(column, (None, 1), out_dims=1, chunk_size=16)
    return torch.stack([columns(output, v.to(start.dtype)) for output in outputs]).mean(0)


@torch.no_grad()
def _contract(module: nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    trained, call = _functional(module)
    outputs = _outputs(module, x1[:1])
    rows = max(1, BLOCK // (outputs.shape[1] * sum(p.numel() for p in trained.values())))

    def jacobian(x: Tensor) -> list[Tensor]:
        """Return (n, outputs * numel) for each parameter."""
        J = vmap(jacrev(lambda parameters, sample: call(parameters, sample[None])[0]), (None, 0))(trained, x)
        return [J[name].flatten(1) for name in J]

    K = outputs.new_empty(len(x1), len(x2))
    for j in range(0, len(x2), rows):
        second = jacobian(x2[j : j + rows])
        for i in range(0, len(x1), rows):
            first = second if x1 is x2 and i == j else jacobian(x1[i : i + rows])
            blocks = [a @ b.T for a, b in zip(first, second, strict=True)]
            K[i : i + rows, j : j + rows] = torch.stack(blocks).sum(0)
    return K / outputs.shape[1]


def _functional(module: nn.Module) -> tuple[Parameters, Callable[[Parameters, Tensor], Tensor]]:
    """Return the trainable parameters, and the network as a function of them: (n, outputs)."""
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("the module has no trainable parameters, so no tangent kernel")
    fixed = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    fixed |= dict(module.named_buffers())

    def call(parameters: Parameters, x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no batching rule and no second derivative
            return functional_call(module, (parameters, fixed), (x,)).flatten(1)

    return trained, call


@torch.no_grad()
def _outputs(module: nn.Module, x: Tensor) -> Float[Tensor, "n outputs"]:
    return module(x).flatten(1)
