"""Counted multiply-adds against closed forms, and against what the papers say of known networks."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from overtone.counting import FORMULAS, in_units, multiply_adds
from overtone.nn.mixers import AFNO, Attention, Convolution, FNet, GFNet
from overtone.nn.shfin import SHFIN

sizes = st.integers(1, 9)
examples = settings(max_examples=25, deadline=None)


class Computes(nn.Module):
    """A model of one line."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def count(function: Callable[..., Tensor], *inputs: Tensor) -> int:
    return multiply_adds(Computes(function), *inputs).multiply_adds


def nothing(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor of a shape without numbers in it."""
    return torch.empty(*shape, dtype=dtype, device="meta")


def complex_of(*shape: int) -> Tensor:
    return nothing(*shape, dtype=torch.complex64)


# What torch counts right


@given(sizes, sizes, sizes, st.booleans())
@examples
def test_linear(batch: int, inputs: int, outputs: int, bias: bool) -> None:
    counted = multiply_adds(nn.Linear(inputs, outputs, bias), torch.zeros(batch, 3, inputs))
    assert counted.multiply_adds == 3 * batch * inputs * outputs
    assert counted.parameters == inputs * outputs + bias * outputs


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 1), (4, 2)])
def test_convolution(axes: int, groups: int, stride: int) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](4, 8, 3, stride=stride, padding=1, groups=groups)
    outputs = 8 * (8 // stride) ** axes
    assert multiply_adds(layer, torch.zeros(5, 4, *[8] * axes)).multiply_adds == 5 * outputs * 3**axes * 4 // groups


def test_transposed_convolution() -> None:
    """Each input meets each weight once."""
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2)
    assert multiply_adds(layer, torch.zeros(2, 4, 5, 5)).multiply_adds == 2 * 5 * 5 * layer.weight.numel()


# Attention


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_two_products_whatever_computes_it(backend: SDPBackend, causal: bool) -> None:
    q, k, v = torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 4)
    with sdpa_kernel(backend):
        counted = count(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=causal), q, k, v)
    assert counted == 2 * 3 * 7 * 7 * (4 + 4)


def test_attention_to_other_tokens() -> None:
    q, k, v = torch.zeros(2, 4, 7, 8), torch.zeros(2, 2, 5, 8), torch.zeros(2, 2, 5, 8)
    grouped = lambda *qkv: scaled_dot_product_attention(*qkv, enable_gqa=True)  # noqa: E731
    assert count(grouped, q, k, v) == 2 * 4 * 7 * 5 * 16


def test_attention_on_a_mac() -> None:
    q, k, v = nothing(2, 4, 7, 8), nothing(2, 4, 5, 8), nothing(2, 4, 5, 8)
    formula = FORMULAS[torch.ops.aten._scaled_dot_product_attention_math_for_mps]
    assert formula(q, k, v, out_val=(q, None)) == 2 * (2 * 4 * 7 * 5 * 16)


def test_torchs_fused_layers_are_seen_into() -> None:
    """At evaluation they run as one operator, which torch's counter takes for nothing."""
    length, dim = 7, 8
    counted = multiply_adds(nn.MultiheadAttention(dim, 2, batch_first=True), *[torch.zeros(3, length, dim)] * 3)
    assert counted.multiply_adds == 3 * (4 * length * dim * dim + 2 * length * length * dim)
    layer = nn.TransformerEncoderLayer(dim, 2, 32, batch_first=True).eval()
    assert multiply_adds(layer, torch.zeros(3, length, dim)).multiply_adds == counted.multiply_adds + 3 * 2 * length * (
        dim * 32
    )
    assert torch.backends.mha.get_fastpath_enabled()


# Fourier transforms


@given(st.lists(sizes, min_size=1, max_size=3), sizes)
@examples
def test_real_transforms(grid: list[int], channels: int) -> None:
    N, axes = math.prod(grid), tuple(range(1, len(grid) + 1))
    expected = round(2 * channels * N * math.log2(N))
    assert count(lambda x: torch.fft.rfftn(x, dim=axes), nothing(2, *grid, channels)) == expected
    half = complex_of(2, *grid[:-1], grid[-1] // 2 + 1, channels)
    assert count(lambda x: torch.fft.irfftn(x, s=grid, dim=axes), half) == expected


@given(st.lists(sizes, min_size=1, max_size=3), sizes)
@examples
def test_complex_transforms(grid: list[int], channels: int) -> None:
    N, axes = math.prod(grid), tuple(range(1, len(grid) + 1))
    expected = round(2 * 2 * channels * N * math.log2(N))
    for transform in (torch.fft.fftn, torch.fft.ifftn):
        assert count(lambda x, f=transform: f(x, dim=axes), complex_of(2, *grid, channels)) == expected


def test_a_power_of_two_is_the_radix_2_algorithm() -> None:
    """Of 16 numbers: 4 passes of 8 butterflies, each with one complex product."""
    assert count(torch.fft.fft, complex_of(16)) == 4 * 8 * 4


# Complex and elementwise products


@pytest.mark.parametrize(
    ("product", "left", "right", "real"),
    [
        (torch.mm, (3, 4), (4, 5), 3 * 4 * 5),
        (torch.bmm, (2, 3, 4), (2, 4, 5), 2 * 3 * 4 * 5),
        (torch.matmul, (2, 3, 4), (4,), 2 * 3 * 4),
        (torch.dot, (4,), (4,), 4),
        (torch.mul, (2, 3, 4), (3, 1), 2 * 3 * 4),
    ],
)
def test_a_complex_product_is_four_real_ones(
    product: Callable[..., Tensor], left: tuple[int, ...], right: tuple[int, ...], real: int
) -> None:
    assert count(product, nothing(*left), nothing(*right)) == real
    assert count(product, complex_of(*left), complex_of(*right)) == 4 * real


def test_products_that_are_added_to_something() -> None:
    x, y, z = torch.zeros(3), torch.zeros(3, 4), torch.zeros(4)
    assert count(torch.addmv, x, y, z) == 12
    assert count(torch.addmm, torch.zeros(5), y, torch.zeros(4, 5)) == 60
    assert count(torch.addmm, *(t.cfloat() for t in (torch.zeros(5), y, torch.zeros(4, 5)))) == 4 * 60
    assert count(torch.vdot, z.cfloat(), z.cfloat()) == 16


def test_elementwise_products() -> None:
    x, w = torch.zeros(2, 3, 4), torch.zeros(3, 4)
    assert count(torch.mul, x, w) == 24
    assert count(torch.mul, x.cfloat(), w) == count(torch.mul, x, w.cfloat()) == 2 * 24
    assert count(lambda x, w: x.clone().mul_(w), x, w) == 24


def test_what_does_not_count() -> None:
    x = torch.zeros(2, 3, 4)
    assert count(lambda x: 3 * x + x.relu() - x.softmax(-1) / 2, x) == 0
    assert count(lambda i: i * i, torch.zeros(5, dtype=torch.long)) == 0
    assert multiply_adds(nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.Dropout()), x).multiply_adds == 0


# The mixers

B, H, W, C = 2, 6, 8, 12
X = (B, H, W, C)
BINS = H * (W // 2 + 1)


def test_fnet() -> None:
    """torch transforms real numbers over several axes as complex ones: that is what runs, and so what counts."""
    assert multiply_adds(FNet(C), torch.zeros(X)).multiply_adds == round(2 * B * H * W * C * math.log2(H * W * C))


def test_gfnet() -> None:
    counted = multiply_adds(GFNet(C, (H, W)), torch.zeros(X))
    transforms = 2 * round(B * H * W * C * math.log2(H * W))
    assert counted.multiply_adds == transforms + 4 * B * BINS * C
    assert counted.parameters == 2 * BINS * C


def test_afno() -> None:
    counted = multiply_adds(AFNO(C, 3), torch.zeros(X))
    transforms = 2 * round(B * H * W * C * math.log2(H * W))
    assert counted.multiply_adds == transforms + 2 * 4 * B * BINS * C * (C // 3)
    assert counted.parameters == 2 * 2 * (C * (C // 3) + C)


def test_attention_mixer() -> None:
    L = H * W
    assert multiply_adds(Attention(C, 3), torch.zeros(X)).multiply_adds == B * (4 * L * C * C + 2 * L * L * C)


def test_convolution_mixer() -> None:
    assert multiply_adds(Convolution(C, 5), torch.zeros(X)).multiply_adds == B * H * W * C * 25


def test_shfin_is_its_matrix_products() -> None:
    """For each patch: analysis and synthesis, the three projections of K coefficients, attention twice; gate apart."""
    patch, K, r = 4, 5, 2
    P, N = B * 2 * 2, patch * patch  # patches (6 rows are padded to 8) and positions in each
    products = 2 * (2 * K * N * C) + 2 * K * C * (2 * r + C) + K * K * 2 * r + K * K * 2 * C
    assert multiply_adds(SHFIN(C, patch, K, r), torch.zeros(X)).multiply_adds == P * (products + K * K)


# Networks


@pytest.mark.parametrize(
    ("model", "config", "parameters", "giga"),
    [
        # ResNet-50: 3.8 G in He et al. 2016, with a stage's stride in its 1 x 1 convolution; here it is in the 3 x 3.
        (ResNetForImageClassification, ResNetConfig(num_labels=1000), 25_557_032, 4.09),
        # ConvNeXt-T: 28.6 M and 4.5 G (Liu et al. 2022, table 1)
        (ConvNextForImageClassification, ConvNextConfig(num_labels=1000), 28_589_128, 4.46),
        # DeiT-S, the same network: 22.1 M and 4.6 G (Touvron et al. 2021)
        (
            ViTForImageClassification,
            ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000),
            22_050_664,
            4.60,
        ),
    ],
)
def test_published_sizes(model: type[PreTrainedModel], config: object, parameters: int, giga: float) -> None:
    with torch.device("meta"):
        counted = multiply_adds(model(config), torch.empty(1, 3, 224, 224))
    assert counted.parameters == parameters
    assert counted.multiply_adds / 1e9 == pytest.approx(giga, abs=0.01)


# Where the work is, and what is left behind


def test_modules_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 2)))
    counted = multiply_adds(model, torch.zeros(3, 4))
    assert counted.by_module == {"0": 3 * 32, "2": 3 * 20, "2.0": 3 * 16, "2.1": 3 * 4}
    assert counted.multiply_adds == 3 * 52


def test_a_layer_that_runs_twice_counts_twice() -> None:
    layer = nn.Linear(4, 4)
    counted = multiply_adds(nn.Sequential(layer, layer), torch.zeros(1, 4))
    assert (counted.multiply_adds, counted.parameters) == (32, 20)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.Dropout(0.5)).train()
    model[1].eval()  # frozen, as in fine-tuning
    before = {name: value.clone() for name, value in model.state_dict().items()}
    multiply_adds(model, torch.randn(2, 3, 8, 8))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="channels"):
        multiply_adds(model, torch.randn(2, 5, 8, 8))
    assert [module.training for module in model] == [True, False, True]


def test_units() -> None:
    counts = [7, 512, 1_234, 999_499, 999_500, 10_200_000, 123_456_789, 2_000_000_000, 1_500_000_000_000]
    assert [in_units(n) for n in counts] == [
        "7", "512", "1.23 K", "999 K", "1.00 M", "10.2 M", "123 M", "2.00 G", "1.50 T",
    ]  # fmt: skip
    assert str(multiply_adds(nn.Linear(100, 10), torch.zeros(2, 100))) == "1.01 K parameters, 2.00 K multiply-adds"
