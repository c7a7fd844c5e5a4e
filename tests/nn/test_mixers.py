"""The mixers against naive float64 versions in numpy, against transformers' FNet, and by their symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import FNetConfig
from transformers.models.fnet.modeling_fnet import FNetBasicFourierTransform

from overtone.nn.mixers import AFNO, Attention, Convolution, FNet, GFNet

DIM = 6
GRIDS = [(7,), (8,), (5, 6), (6, 5), (3, 4, 5)]
grids = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 10_000)
examples = settings(max_examples=25, deadline=None)


def mixers(grid: tuple[int, ...]) -> list[nn.Module]:
    """Return one of each, with weights large enough that nothing hides behind a threshold or a zero bias."""
    torch.manual_seed(0)
    made = [FNet(DIM), GFNet(DIM, grid), AFNO(DIM, 3), Attention(DIM, 2), Convolution(DIM, 5, len(grid))]
    for module in made:
        for parameter in module.parameters():
            parameter.data.normal_(std=0.5)
    return made


def field(grid: tuple[int, ...], seed: int = 0, batch: int = 2, dim: int = DIM) -> Tensor:
    return torch.randn(batch, *grid, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def complex_of(parameter: Tensor) -> NDArray:
    array = parameter.detach().double().numpy()
    return array[..., 0] + 1j * array[..., 1]


# Naive versions


def naive_fnet(module: FNet, x: NDArray) -> NDArray:
    for axis in range(1, x.ndim):
        n = x.shape[axis]
        F = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
        x = np.moveaxis(np.tensordot(F, x, (1, axis)), 0, axis)
    return x.real


def naive_gfnet(module: GFNet, x: NDArray) -> NDArray:
    axes = tuple(range(1, x.ndim - 1))
    return np.fft.irfftn(np.fft.rfftn(x, axes=axes) * complex_of(module.K), x.shape[1:-1], axes)


def naive_afno(module: AFNO, x: NDArray) -> NDArray:
    """Every block of channels apart, at every frequency, with real and imaginary parts as in the published code."""
    axes = tuple(range(1, x.ndim - 1))
    X = np.fft.rfftn(x, axes=axes, norm="ortho")
    layers = module.layers
    size = X.shape[-1] // layers.blocks
    W1, b1, W2, b2 = (complex_of(p) for p in (layers.W1, layers.b1, layers.W2, layers.b2))
    for k in range(layers.blocks):
        channels = slice(k * size, (k + 1) * size)
        hidden = X[..., channels] @ W1[k] + b1[k]
        hidden = np.maximum(hidden.real, 0) + 1j * np.maximum(hidden.imag, 0)
        out = hidden @ W2[k] + b2[k]
        X[..., channels] = shrunk(out.real) + 1j * shrunk(out.imag)
    return np.fft.irfftn(X, x.shape[1:-1], axes, norm="ortho")


def shrunk(x: NDArray) -> NDArray:
    return np.sign(x) * np.maximum(np.abs(x) - 0.01, 0)


def naive_attention(module: Attention, x: NDArray) -> NDArray:
    weights = [p.detach().double().numpy() for p in module.parameters()]
    tokens = x.reshape(len(x), -1, x.shape[-1])
    heads = []
    q, k, v = np.split(tokens @ weights[0].T + weights[1], 3, axis=-1)
    for part in np.split(np.arange(x.shape[-1]), module.heads):
        logits = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(len(part))
        a = np.exp(logits - logits.max(-1, keepdims=True))
        heads.append(a / a.sum(-1, keepdims=True) @ v[..., part])
    return (np.concatenate(heads, -1) @ weights[2].T + weights[3]).reshape(x.shape)


def naive_convolution(module: Convolution, x: NDArray) -> NDArray:
    """A sum of shifted copies, one for each place in the kernel."""
    weight, bias = (p.detach().double().numpy() for p in module.parameters())
    kernel = weight.shape[2:]
    around = [(0, 0), *((k // 2, k // 2) for k in kernel), (0, 0)]
    padded, y = np.pad(x, around), np.zeros_like(x) + bias
    for place in np.ndindex(*kernel):
        window = tuple(slice(p, p + n) for p, n in zip(place, x.shape[1:-1], strict=True))
        y += padded[(slice(None), *window)] * weight[(slice(None), 0, *place)]
    return y


NAIVE = [naive_fnet, naive_gfnet, naive_afno, naive_attention, naive_convolution]


@given(grids, seeds)
@examples
def test_equal_to_naive_versions(grid: tuple[int, ...], seed: int) -> None:
    x = field(grid, seed)
    for module, naive in zip(mixers(grid), NAIVE, strict=True):
        # Both are float64 here; sums of at most a few hundred terms leave a few hundred units in the last place.
        np.testing.assert_allclose(module.double()(x).detach(), naive(module, x.numpy()), atol=1e-10)


@pytest.mark.parametrize("grid", GRIDS)
def test_float32_is_float64_rounded(grid: tuple[int, ...]) -> None:
    x = field(grid)
    for module in mixers(grid):
        exact = module.double()(x)
        scale = exact.abs().max().item()  # FNet's output is as large as the number of positions and channels
        assert_close(module.float()(x.float()).double(), exact, atol=2e-6 * scale, rtol=0)


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 1, 3)])
def test_gradients(grid: tuple[int, ...]) -> None:
    for module in mixers(grid):
        x = field(grid, batch=1).requires_grad_()
        assert torch.autograd.gradcheck(module.double(), x)
        y = module(x).square().sum()
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in torch.autograd.grad(y, [*module.parameters(), x]))


@pytest.mark.parametrize("length", [1, 8, 11])
def test_fnet_is_that_of_transformers(length: int) -> None:
    theirs, x = FNetBasicFourierTransform(FNetConfig(hidden_size=DIM)), field((length,)).float()
    assert_close(FNet(DIM)(x), theirs(x)[0])


# Symmetries


@given(grids, seeds, st.lists(st.integers(0, 9), min_size=3, max_size=3))
@examples
def test_a_filter_moves_with_its_input(grid: tuple[int, ...], seed: int, shift: list[int]) -> None:
    """A product of spectra is a circular convolution."""
    axes, shift = tuple(range(1, len(grid) + 1)), shift[: len(grid)]
    module, x = mixers(grid)[1].double(), field(grid, seed)
    assert_close(module(x.roll(shift, axes)), module(x).roll(shift, axes), atol=1e-10, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_filter_of_ones_changes_nothing(grid: tuple[int, ...]) -> None:
    module, x = GFNet(DIM, grid).double(), field(grid)
    module.K.data[..., 0], module.K.data[..., 1] = 1.0, 0.0
    assert_close(module(x), x, atol=1e-12, rtol=0)


def test_attention_does_not_know_the_order_of_positions() -> None:
    module, x, order = Attention(DIM, 3).double(), field((3, 4)), torch.randperm(12)
    shuffled = x.flatten(1, 2)[:, order]
    assert_close(module(shuffled), module(x).flatten(1, 2)[:, order], atol=1e-12, rtol=0)


# Another grid


@pytest.mark.parametrize("other", [(9, 12), (6, 7), (12, 5), (1, 1)])
def test_the_filter_is_interpolated_as_published(other: tuple[int, int]) -> None:
    """The published code reshapes (h, w, dim, 2) to a picture of 2 dim channels, and resizes both axes at once."""
    module, x = mixers((8, 8))[1].double(), field(other)
    picture = module.K.detach().flatten(2).permute(2, 0, 1)[None]
    size = (other[0], other[1] // 2 + 1)
    resized = nn.functional.interpolate(picture, size=size, mode="bicubic", align_corners=True)
    same = GFNet(DIM, other).double()
    same.K.data = resized[0].permute(1, 2, 0).unflatten(-1, (DIM, 2))
    assert_close(module(x), same(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("grid", "other"), [((6,), (11,)), ((4, 5, 6), (5, 3, 8))])
def test_interpolation_in_one_and_three_axes_keeps_a_constant_filter(
    grid: tuple[int, ...], other: tuple[int, ...]
) -> None:
    module, x = GFNet(DIM, grid).double(), field(other)
    module.K.data[..., 0], module.K.data[..., 1] = 3.0, 0.0
    assert_close(module(x), 3 * x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("other", [(6, 9), (3, 3)])
def test_the_rest_take_any_grid(other: tuple[int, int]) -> None:
    x = field(other)
    for module in mixers((8, 8)):
        assert module.double()(x).shape == x.shape


# Precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_in_and_out(dtype: torch.dtype) -> None:
    """Spectral mixers compute in float32 inside: the only loss is rounding input, weights and output once."""
    for module in mixers((6, 7))[:3]:
        module, x = module.to(dtype), field((6, 7)).to(dtype)
        y = module(x)
        assert y.dtype == dtype
        assert torch.equal(y, module.float()(x.float()).to(dtype))


def test_autocast_does_not_touch_spectra() -> None:
    x = field((6, 7)).float()
    for module in mixers((6, 7))[:3]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = module(x)
        assert inside.dtype == torch.float32
        assert torch.equal(inside, module(x))


def test_no_parameter_is_complex() -> None:
    for module in mixers((6, 7)):
        assert not any(parameter.is_complex() for parameter in module.parameters())


# Mistakes


@pytest.mark.parametrize("channels", [1, DIM + 1])
def test_channels_that_do_not_match(channels: int) -> None:
    x = field((4, 4), dim=channels)
    for module in mixers((4, 4)):
        with pytest.raises(ValueError, match=f"dim=6 channels in its last axis, got {channels}"):
            module.double()(x)


def test_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="dim=6 and heads=4"):
        Attention(6, 4)
    with pytest.raises(ValueError, match="dim=6 and blocks=4"):
        AFNO(6, 4)


def test_kernels_and_axes_out_of_range() -> None:
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        Convolution(6, 4)
    with pytest.raises(ValueError, match="axes must be 1, 2 or 3, got 4"):
        Convolution(6, 3, axes=4)


def test_a_filter_for_another_number_of_axes() -> None:
    with pytest.raises(ValueError, match=r"x has 1 grid axes, the filter has 2: grid=\(4, 4\)"):
        GFNet(DIM, (4, 4))(field((4,)).float())
