"""The tangent kernel of a multilayer perceptron from its activations, with no Jacobian."""

from itertools import takewhile
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from overtone.ntk.networks import NtkLinear

LINEAR = (nn.Linear, NtkLinear)
ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh, nn.Sigmoid)


class Perceptron(NamedTuple):
    """A perceptron in its parts: a fixed map of the input, then linear and elementwise layers."""

    front: nn.Sequential
    layers: list[nn.Module]


def as_perceptron(module: nn.Module, x: Tensor) -> Perceptron | None:
    """Return the parts of a multilayer perceptron on vectors, and None where `module` is something else.

    It is a sequence, nested or not, of linear and elementwise layers. What stands before the first linear layer is
    arbitrary as long as none of it is trained. No layer may occur twice or be reparametrised.
    """
    parts = _flatten(module)
    front = nn.Sequential(*takewhile(lambda part: type(part) not in LINEAR, parts))
    layers = parts[len(front) :]
    known = all(type(layer) in (*LINEAR, *ELEMENTWISE) for layer in layers)
    trained = any(parameter.requires_grad for parameter in front.parameters())
    parameters = [(name, id(value)) for layer in layers for name, value in layer.named_parameters()]
    once = len({value for _, value in parameters}) == len(parameters)
    plain = {name for name, _ in parameters} <= {"weight", "bias"}
    if not (layers and known and once and plain) or trained:
        return None
    with torch.no_grad():
        vectors = front(x[:1]).dim() == 2
    return Perceptron(front, layers) if vectors else None


@torch.no_grad()
def structured_kernel(
    perceptron: Perceptron, x1: Float[Tensor, "n1 *shape"], x2: Float[Tensor, "n2 *shape"]
) -> Float[Tensor, "n1 n2"]:
    """Return K = sum_l (cw^2 H_l H'_l^T + cb^2) o (D_l D'_l^T), the mean over outputs (ours; o is elementwise).

    H_l is the input of linear layer l and D_l the derivative of the outputs by its result: the derivative by its
    weights is the outer product of the two, which is never formed. cw and cb are the scales of NtkLinear, else 1; a
    frozen weight or bias has none.
    """
    first = _walk(perceptron, x1)
    second = first if x1 is x2 else _walk(perceptron, x2)
    K = x1.new_zeros(len(x1), len(x2), dtype=first[0].H.dtype)
    for here, there in zip(first, second, strict=True):
        cw, cb = _scales(here.layer)
        trained_weight, trained_bias = (p is not None and p.requires_grad for p in (here.layer.weight, here.layer.bias))
        inputs = cw**2 * trained_weight * (here.H @ there.H.T) + cb**2 * trained_bias
        K += inputs * (here.D.flatten(1) @ there.D.flatten(1).T)
    return K / first[-1].layer.out_features


class _Visit(NamedTuple):
    layer: nn.Linear
    H: Float[Tensor, "n in_features"]
    D: Float[Tensor, "n outputs out_features"]


def _walk(perceptron: Perceptron, x: Tensor) -> list[_Visit]:
    """Go forward for the H, then backward for the D."""
    h, inputs = perceptron.front(x), []
    for layer in perceptron.layers:
        inputs.append(h)
        h = layer(h.clone())  # in case it works in place
    D = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device).expand(len(h), -1, -1)
    visits: list[_Visit] = []
    for layer, h in zip(reversed(perceptron.layers), reversed(inputs), strict=True):
        if isinstance(layer, nn.Linear):
            visits.insert(0, _Visit(layer, h, D))
            D = D @ (_scales(layer)[0] * layer.weight)
        else:
            D = D * _derivative(layer, h)[:, None]
    return visits


def _derivative(activation: nn.Module, z: Tensor) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(activation(z.clone()).sum(), z)[0]


def _scales(layer: nn.Linear) -> tuple[float, float]:
    return (layer.weight_scale, layer.bias_scale) if isinstance(layer, NtkLinear) else (1.0, 1.0)


def _flatten(module: nn.Module) -> list[nn.Module]:
    return [part for child in module for part in _flatten(child)] if type(module) is nn.Sequential else [module]
