"""Fourier features: the kernel they stand for, and what keeps it exact."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.models.perceiver.modeling_perceiver import build_linear_positions, generate_fourier_features

from overtone.nn import FourierFeatures, grid

dimensions = st.integers(1, 4)
seeds = st.integers(0, 10_000)
KINDS = {
    "basic": lambda d: FourierFeatures.basic(d),
    "positional": lambda d: FourierFeatures.positional(d, 5, 20.0),
    "lattice": lambda d: FourierFeatures.lattice(d, 2, 1.0),
    "gaussian": lambda d: FourierFeatures.random(d, 16, std=3.0),
    "uniform": lambda d: FourierFeatures.random(d, 16, std=3.0, distribution="uniform"),
    "laplace": lambda d: FourierFeatures.random(d, 16, std=3.0, distribution="laplace"),
    "learned": lambda d: FourierFeatures.learned(d, 16, std=3.0),
}
LAYOUTS = KINDS | {"perceiver": lambda d: FourierFeatures.perceiver(d, 4, 16)}


def points(d: int, seed: int) -> Tensor:
    return torch.randn(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@given(d=dimensions, seed=seeds, shift=st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_inner_products_do_not_change_with_a_shift(kind: str, d: int, seed: int, shift: float) -> None:
    gamma, (v, w, direction) = KINDS[kind](d).double(), points(d, seed)
    moved = gamma(v + shift * direction) @ gamma(w + shift * direction)
    # rounding of phases of up to 2 pi 20 x 20 turns, in up to 312 features
    assert_close(moved, gamma(v) @ gamma(w), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@given(d=dimensions, seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_inner_product_is_the_sum_of_cosines(kind: str, d: int, seed: int) -> None:
    """h(D) = sum_j a_j^2 cos 2 pi b_j.D (Tancik et al. 2020, eq. 7), computed here by numpy."""
    gamma, (v, w, _) = KINDS[kind](d).double(), points(d, seed)
    b = gamma.frequencies.detach().numpy()
    a = np.ones(len(b)) if gamma.amplitudes is None else gamma.amplitudes.numpy()
    h = (a**2 * np.cos(2 * np.pi * b @ (v - w).numpy())).sum()
    assert (gamma(v) @ gamma(w)).item() == pytest.approx(h, abs=1e-9)
    assert (gamma(v) @ gamma(v)).item() == pytest.approx((a**2).sum())


def characteristic(distribution: str, std: float, D: np.ndarray) -> float:
    """Return E cos 2 pi b.D for independent components of b, from the textbooks' characteristic functions."""
    w = 2 * np.pi * D
    each = {
        "gaussian": np.exp(-((std * w) ** 2) / 2),
        "uniform": np.sinc(math.sqrt(3) * std * w / np.pi),  # on [-sqrt 3 std, sqrt 3 std]
        "laplace": 1 / (1 + (std * w) ** 2 / 2),  # of scale std / sqrt 2
    }
    return float(each[distribution].prod())


@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "laplace"])
@pytest.mark.parametrize("d", [1, 3])
def test_random_features_approximate_their_kernel_at_the_rate_of_a_mean(distribution: str, d: int) -> None:
    """The error of h(D) / m is that of a mean of m cosines: 0 on average, variance (1 + h(2D) - 2 h(D)^2) / 2m."""
    std, D, draws = 2.0, 0.06 * np.arange(1, d + 1) / d, 200
    expected = characteristic(distribution, std, D)
    variance = (1 + characteristic(distribution, std, 2 * D)) / 2 - expected**2
    v = torch.from_numpy(np.stack([D, 0 * D]))
    for m in (8, 128):
        pairs = [FourierFeatures.random(d, m, std, distribution, seed).double()(v) for seed in range(draws)]
        error = np.array([(one @ other).item() / m for one, other in pairs]) - expected
        assert abs(error.mean()) < 4 * math.sqrt(variance / m / draws)  # 4 deviations of the mean
        assert error.std() == pytest.approx(math.sqrt(variance / m), rel=0.2)  # 4 deviations of 1/sqrt(400)


def test_near_zero_only_the_deviation_matters() -> None:
    """Tancik et al. 2020, section 6.1: the three kernels agree to second order in D."""
    D = np.array([0.01])
    kernels = [characteristic(distribution, 2.0, D) for distribution in ("gaussian", "uniform", "laplace")]
    assert 1 - kernels[0] > 50 * (max(kernels) - min(kernels))


@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "laplace"])
def test_draws_have_the_deviation_asked_for(distribution: str) -> None:
    b = FourierFeatures.random(2, 20_000, std=4.0, distribution=distribution, seed=3).frequencies
    assert b.isfinite().all()
    assert_close(b.std(0), torch.full((2,), 4.0), rtol=0.03, atol=0)  # 4 deviations of sqrt(kurtosis / 4n)
    assert_close(b.mean(0), torch.zeros(2), rtol=0, atol=0.12)  # 4 deviations of the mean
    assert torch.corrcoef(b.T)[0, 1].abs() < 0.03


def test_the_gaussian_draw_is_torchs() -> None:
    """Models are saved with a seed in their config: the draw for a seed must not change."""
    expected = 4 * torch.randn(5, 3, generator=torch.Generator().manual_seed(7))
    assert torch.equal(FourierFeatures.random(3, 5, std=4.0, seed=7).frequencies, expected)


def test_basic_is_cosine_and_sine_of_each_coordinate() -> None:
    v = points(3, 0)
    assert_close(
        FourierFeatures.basic(3).double()(v), torch.cat([(2 * math.pi * v).cos(), (2 * math.pi * v).sin()], dim=-1)
    )


def test_positional_bands_are_log_spaced_along_the_axes() -> None:
    b = FourierFeatures.positional(2, 4, 27.0).frequencies
    assert_close(b[:4], torch.tensor([[1.0, 0], [3, 0], [9, 0], [27, 0]]))
    assert_close(b[4:], b[:4].flip(1))
    assert torch.equal(FourierFeatures.positional(2, 1, 8.0).frequencies, FourierFeatures.basic(2).frequencies)


@given(d=dimensions, order=st.integers(1, 3), power=st.floats(0, 4))
@settings(max_examples=20, deadline=None)
def test_the_lattice_holds_each_frequency_once(d: int, order: int, power: float) -> None:
    gamma = FourierFeatures.lattice(d, order, power)
    half = {tuple(row) for row in gamma.frequencies.int().tolist()}
    both = half | {tuple(-x for x in row) for row in half}
    assert len(half) == len(gamma.frequencies) == ((2 * order + 1) ** d - 1) // 2
    assert len(both) == 2 * len(half)
    assert max(max(row) for row in both) == order
    assert gamma.amplitudes is not None
    assert_close(gamma.amplitudes, gamma.frequencies.square().sum(-1) ** (-power / 2))


def test_an_infinite_power_leaves_the_basic_encoding() -> None:
    gamma, v = FourierFeatures.lattice(2, 3, math.inf).double(), points(2, 0)
    assert_close(gamma(v) @ gamma(v).T, FourierFeatures.basic(2).double()(v) @ FourierFeatures.basic(2).double()(v).T)


@pytest.mark.parametrize(
    ("bands", "resolution"), [(6, (16, 9)), (64, (224, 224)), (1, (2, 3)), (10, (50,)), (3, (4, 5, 6))]
)
def test_perceiver_kind_equals_transformers(bands: int, resolution: tuple[int, ...]) -> None:
    d, sizes = len(resolution), [min(n, 20) for n in resolution]
    positions = build_linear_positions(sizes).reshape(1, -1, d)
    theirs = generate_fourier_features(positions, bands, resolution)[0]
    ours = FourierFeatures.perceiver(d, bands, resolution)
    assert ours.out_dim == theirs.shape[-1] == d * (2 * bands + 1)
    # one unit in the last place of the largest phase, pi 112
    assert_close(ours(positions[0]), theirs, atol=3e-5, rtol=0)
    if sizes == list(resolution):
        assert_close(ours.on_grid(*sizes), theirs, atol=3e-5, rtol=0)


def test_perceiver_bands_are_linear_or_log_spaced_up_to_half_the_resolution() -> None:
    linear, log = (FourierFeatures.perceiver(1, 4, 16, spacing).frequencies[:, 0] * 2 for spacing in ("linear", "log"))
    assert_close(linear, torch.tensor([1.0, 10 / 3, 17 / 3, 8]))
    assert_close(log, torch.tensor([1.0, 2, 4, 8]))


def test_cosines_come_first_then_sines() -> None:
    gamma = FourierFeatures(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert_close(gamma(torch.tensor([0.25, 0.125])), torch.tensor([0.0, 0.0, 1.0, 1.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_positions_of_a_batch_are_encoded_one_by_one(kind: str) -> None:
    gamma = LAYOUTS[kind](3)
    v = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert gamma(v).shape == (2, 5, gamma.out_dim)
    assert gamma(torch.zeros(3)).shape == (gamma.out_dim,)
    assert gamma(torch.zeros(2, 0, 4, 3)).shape == (2, 0, 4, gamma.out_dim)
    # a unit in the last place: products of other shapes may add up in another order
    assert_close(gamma(v), torch.stack([torch.stack([gamma(x) for x in row]) for row in v]), atol=3e-5, rtol=0)


def test_the_seed_gives_the_frequencies_which_are_saved() -> None:
    before = torch.get_rng_state()
    one, other, third = (FourierFeatures.random(2, 500, std=4.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.frequencies, other.frequencies)
    assert not torch.equal(one.frequencies, third.frequencies)
    assert list(one.state_dict()) == ["frequencies"]
    assert not list(one.parameters())
    third.load_state_dict(one.state_dict())
    assert torch.equal(one.frequencies, third.frequencies)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_state_dict_carries_all_of_an_encoding(kind: str) -> None:
    gamma = LAYOUTS[kind](2)
    other = LAYOUTS[kind](2)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(gamma.state_dict())
    v = torch.rand(4, 2)
    assert torch.equal(other(v), gamma(v))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_kind_can_be_part_of_a_model_that_transformers_loads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes models on the meta device, but linspace on the CPU."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *args, **kwargs: linspace(*args, **{"device": "cpu"} | kwargs))
    with torch.device("meta"):
        gamma = LAYOUTS[kind](3)
    assert gamma.frequencies.shape == LAYOUTS[kind](3).frequencies.shape


def test_only_learned_frequencies_are_trained() -> None:
    trained = {kind: [name for name, _ in make(2).named_parameters()] for kind, make in LAYOUTS.items()}
    assert trained == {kind: ["frequencies"] if kind == "learned" else [] for kind in LAYOUTS}
    gamma = FourierFeatures.learned(2, 3).double()
    start = FourierFeatures.random(2, 3, std=1.0).frequencies
    assert_close(gamma.frequencies.detach(), start.double())
    torch.autograd.gradcheck(
        lambda v, b: FourierFeatures(nn.Parameter(b))(v), (points(2, 0).requires_grad_(), start.double())
    )
    gamma(points(2, 0)).square().sum().backward()
    assert gamma.frequencies.grad is not None


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_positions_keep_the_phase(kind: str, dtype: torch.dtype) -> None:
    """In float16, 2 pi b.v of 20 turns would be off by up to 0.06; only the result is rounded."""
    gamma, v = LAYOUTS[kind](2), torch.rand(50, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert gamma(v).dtype == dtype
    assert_close(gamma(v), gamma(v.float()).to(dtype), atol=0, rtol=0)
    assert gamma.to(dtype)(v).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_in_half_precision_keeps_its_frequencies(dtype: torch.dtype) -> None:
    """17.3 cycles would be 17.25 in bfloat16: half a turn off after ten units."""
    gamma = FourierFeatures(torch.tensor([[17.3, 0.1]]), torch.tensor([0.3]))
    halved = copy.deepcopy(gamma).to(dtype)
    assert torch.equal(halved.frequencies, gamma.frequencies)
    assert halved.amplitudes is not None
    assert halved.amplitudes.dtype == dtype
    assert FourierFeatures.learned(2, 3).to(dtype).frequencies.dtype == dtype  # a parameter is what the user made it


def test_float64_stays() -> None:
    gamma, v = FourierFeatures.random(2, 32, std=10.0), points(2, 0)
    assert gamma(v).dtype == torch.float64
    assert_close(gamma(v), gamma.double()(v), atol=0, rtol=0)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_autocast_does_not_touch_the_phase(kind: str) -> None:
    gamma, v = LAYOUTS[kind](2), torch.rand(50, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gamma(v)
    assert torch.equal(inside, gamma(v))


def test_frequencies_above_the_nyquist_limit_are_warned_of() -> None:
    gamma = FourierFeatures(torch.tensor([[4.0, 0], [4.1, 0], [0, 5], [-6, 1]]))
    with pytest.warns(UserWarning, match="2 of 4 frequencies are above the Nyquist limit of a grid of 8 x 16"):
        gamma.on_grid(8, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(gamma.on_grid(12, 10), gamma(grid(12, 10)))
        FourierFeatures.perceiver(2, 8, 16).on_grid(16, 16)
    with pytest.warns(UserWarning, match="16 of 16"):  # in units of 2, a perceiver's limit is a fourth of the samples
        FourierFeatures.perceiver(2, 8, 16).on_grid(1, 1)


@given(n=st.integers(2, 40), over=st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_what_is_above_the_limit_is_the_alias_of_what_is_below(n: int, over: float) -> None:
    b = torch.tensor([[n / 2 + over * n / 2]], dtype=torch.float64)
    with pytest.warns(UserWarning, match="Nyquist"):
        high = FourierFeatures(b).on_grid(n)
    low = FourierFeatures(n - b).on_grid(n)
    # cos 2 pi b (i + 1/2) / n: the half sample turns the alias' phase around
    assert_close(high, low * torch.tensor([-1.0, 1.0]), atol=1e-11, rtol=0)


def test_grid_holds_the_centres_of_the_cells() -> None:
    assert_close(grid(4), torch.tensor([[0.125], [0.375], [0.625], [0.875]]))
    expected = [[(i + 0.5) / 2, (j + 0.5) / 3] for i in range(2) for j in range(3)]  # the last axis fastest
    assert_close(grid(2, 3), torch.tensor(expected))
    assert grid(2, 3, 4).shape == (24, 3)
    assert_close(grid(6, 5).mean(0), torch.tensor([0.5, 0.5]))


def test_positions_on_a_finer_grid_are_the_same_places() -> None:
    """Pairs of a finer grid's centres have the coarse centre between them: encodings of any resolution fit together."""
    assert_close(grid(8).view(4, 2).mean(1, keepdim=True), grid(4))


BAD = {
    "d": lambda: FourierFeatures.basic(0),
    "bands": lambda: FourierFeatures.positional(2, 0, 4.0),
    "max_freq": lambda: FourierFeatures.positional(2, 3, 0.5),
    "order": lambda: FourierFeatures.lattice(2, 0, 1.0),
    "power": lambda: FourierFeatures.lattice(2, 2, -1.0),
    "features": lambda: FourierFeatures.random(2, 0, 1.0),
    "std": lambda: FourierFeatures.random(2, 4, math.nan),
    "distribution": lambda: FourierFeatures.random(2, 4, 1.0, "cauchy"),
    "spacing": lambda: FourierFeatures.perceiver(2, 4, 8, "square"),
    "resolution": lambda: FourierFeatures.perceiver(2, 4, (8, 8, 8)),
    "at least 2": lambda: FourierFeatures.perceiver(2, 4, 1),
    r"coordinates \(\.\.\., 2\), not torch.float32 \(5, 3\)": lambda: FourierFeatures.basic(2)(torch.ones(5, 3)),
    "floating-point": lambda: FourierFeatures.basic(2)(torch.ones(5, 2, dtype=torch.long)),
    "one size for each of 2 axes": lambda: FourierFeatures.basic(2).on_grid(4),
}


@pytest.mark.unchecked
@pytest.mark.parametrize("named", BAD)
def test_bad_arguments_are_named(named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BAD[named]()
