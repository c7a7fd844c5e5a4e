"""Parameters and multiply-adds of a model: torch's counter, with what it counts as nothing or wrongly put right.

The conventions (ours where no other source is named), all for one forward pass:

- A product of matrices (m, k) and (k, n) is m k n multiply-adds, and a convolution as many as its outputs times the
  products summed in each, zeros beyond the edge included: torch's counter, halved, as it counts two operations each.
- A product of complex numbers is 4 real multiplications, of a complex by a real number 2. Additions go with them.
- A real Fourier transform of N numbers is N log2 N, a complex one 2 N log2 N: the radix-2 algorithm has N / 2 log2 N
  complex products (Cooley and Tukey 1965), and half of them for real input. Sizes with large prime factors cost more.
- Attention is its two products of matrices, whichever kernel computes it, and all of both where it is causal.
- A tensor times a tensor, element by element (filters, gates, layer scale), is one for each element of the result.
- Nothing else counts: no sums, norms, activations, softmax, pooling, interpolation, products with a mere number.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

aten = torch.ops.aten


@dataclass(frozen=True)
class Counted:
    """What a model holds and what one forward pass computes."""

    parameters: int
    multiply_adds: int
    by_module: Mapping[str, int]
    """Multiply-adds by a module's name in the model, those of its children included; modules without any are absent."""

    def __str__(self) -> str:
        return f"{in_units(self.parameters)} parameters, {in_units(self.multiply_adds)} multiply-adds"


def multiply_adds(model: nn.Module, *inputs: Any) -> Counted:
    """Count the parameters of `model` and the multiply-adds of `model(*inputs)`, at evaluation and without gradients.

    The model runs once, is left in its mode, and may be on any device, "meta" included, where nothing is computed.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with evaluating(model), torch.no_grad(), _unfused(), counter:
        model(*inputs)
    counts = {name: sum(operators.values()) // 2 for name, operators in counter.get_flop_counts().items()}
    root = f"{type(model).__name__}."
    return Counted(
        sum(parameter.numel() for parameter in model.parameters()),
        counts.get("Global", 0),
        {name.removeprefix(root): count for name, count in counts.items() if name.startswith(root)},
    )


def in_units(count: int) -> str:
    """Return a count with three significant digits: 10.2 M, 2.00 G, 512."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".rstrip(".") + unit
    return f"{count:.0f}"


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a model at evaluation, then give each of its modules its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Keep torch's own transformer layers from running as one operator, in which nothing would be seen."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _formula(count: Callable[..., int]) -> Callable[..., int]:
    """Return a formula for multiply-adds as torch's counter wants it: in operations, two to each."""

    def operations(*args: Any, **kwargs: Any) -> int:
        return 2 * count(*args, **kwargs)

    operations._get_raw = True  # type: ignore[attr-defined]  # it is given tensors, not shapes
    return operations


def _real_fft(x: Tensor, dim: list[int], *args: Any, out_val: Tensor, **kwargs: Any) -> int:
    """N log2 N for each transform; N and the batch are those of whichever side is real."""
    real = out_val if x.is_complex() else x
    N = math.prod(real.shape[axis] for axis in dim)
    return round(real.numel() * math.log2(N))


def _complex_fft(x: Tensor, dim: list[int], *args: Any, **kwargs: Any) -> int:
    N = math.prod(x.shape[axis] for axis in dim)
    return round(2 * x.numel() * math.log2(N))


def _elementwise(x: Tensor, y: Any, *args: Any, out_val: Tensor, **kwargs: Any) -> int:
    if not isinstance(y, Tensor) or not (out_val.is_floating_point() or out_val.is_complex()):
        return 0  # a number, or indices
    return out_val.numel() * (1 + x.is_complex()) * (1 + y.is_complex())


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    *batch_heads, length, width = query.shape
    return math.prod(batch_heads) * length * key.shape[-2] * (width + value.shape[-1])


def _inner_product(x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> int:
    return x.numel() * (4 if x.is_complex() else 1)


def _added_product(total: Tensor, x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> int:
    return _inner_product(x, y)


def _matrix_product(operator: Any) -> Callable[..., int]:
    """Return torch's formula for a product of matrices, times 4 where they are complex."""

    def count(*args: Any, out_val: Tensor, **kwargs: Any) -> int:
        return flop_registry[operator](*args, out_val=out_val, **kwargs) // 2 * (4 if out_val.is_complex() else 1)

    return _formula(count)


FORMULAS: dict[Any, Callable[..., int]] = {
    aten._fft_r2c: _formula(_real_fft),
    aten._fft_c2r: _formula(_real_fft),
    aten._fft_c2c: _formula(_complex_fft),
    aten.mul: _formula(_elementwise),
    aten.mul_: _formula(_elementwise),
    aten._scaled_dot_product_flash_attention_for_cpu: _formula(_attention),
    aten._scaled_dot_product_attention_math_for_mps: _formula(_attention),
    aten.dot: _formula(_inner_product),
    aten.vdot: _formula(_inner_product),
    aten.mv: _formula(_inner_product),
    aten.addmv: _formula(_added_product),
    **{operator: _matrix_product(operator) for operator in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)},
}
