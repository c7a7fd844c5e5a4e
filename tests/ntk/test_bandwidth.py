"""Bandwidths chosen without training: the fast scores against dense ones, and what a choice must not depend on."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from overtone.nn import FourierFeatures, grid
from overtone.ntk import BANDWIDTH_METHODS, Bandwidth, analytic, bandwidth, select_bandwidth
from overtone.ntk.bandwidth import JITTER, RULE, TIME

seeds = st.integers(0, 9999)
GRIDS = [(9,), (10,), (5, 8), (5, 6, 7)]
SCORED = ["loo", "gcv"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(*sizes: int, std: float, seed: int = 0) -> Tensor:
    """Return a random function of this bandwidth on a grid, of any number of axes."""
    gamma = FourierFeatures.random(len(sizes), 300, std, seed=seed).double()
    v = grid(*sizes, dtype=torch.float64)
    return (gamma(v) @ noise(gamma.out_dim, seed=seed)).view(sizes)


def unit_kernels(squares: np.ndarray, std: float, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return start covariance and tangent kernel by k1 and k0 of the unit sphere."""
    S = np.exp(-2 * np.pi**2 * std**2 * squares)
    T = S
    for _ in range(depth):
        t = np.arccos(np.clip(S, -1, 1))
        S, T = (np.sin(t) + (np.pi - t) * np.cos(t)) / np.pi, T * (1 - t / np.pi)
        T = S + T
    return S, T


def mirrored(y: np.ndarray) -> np.ndarray:
    for axis in range(y.ndim):
        y = np.concatenate([y, np.flip(y, axis)], axis)
    return y


def circular_squares(sizes: tuple[int, ...]) -> np.ndarray:
    """Return squared distances between all cells of the mirrored grid, around the circle of 2 units an axis."""
    cells = np.stack(np.meshgrid(*[np.arange(2 * n) for n in sizes], indexing="ij"), -1).reshape(-1, len(sizes))
    apart = np.abs(cells[:, None] - cells[None])
    apart = np.minimum(apart, 2 * np.array(sizes) - apart)
    return ((apart / np.array(sizes)) ** 2).sum(-1)


@pytest.mark.parametrize("sizes", GRIDS[:3])
@pytest.mark.parametrize("depth", [1, 3])
def test_grid_scores_are_those_of_the_mirrored_signal(sizes: tuple[int, ...], depth: int) -> None:
    """Dense: leave one out by solving, GCV by the matrix exponential, on the kernel matrix of the mirrored grid."""
    y = noise(*sizes)
    stds = [1.5, 3.0]
    loo, gcv = (select_bandwidth(y, stds, method, depth=depth, dims=len(sizes)).curve for method in SCORED)
    whole = mirrored((y - y.mean()).numpy()).ravel()
    for std, ours_loo, ours_gcv in zip(stds, loo.tolist(), gcv.tolist(), strict=True):
        K = unit_kernels(circular_squares(sizes), std, depth)[1] / (depth + 1)
        assert np.linalg.eigvalsh(K)[0] > -1e-9  # else eigenvalues are cut at 0, and nothing is comparable
        inverse = np.linalg.inv(K + JITTER * np.eye(len(K)))
        assert ours_loo == pytest.approx(np.mean((inverse @ whole / np.diag(inverse)) ** 2), rel=1e-6)
        left = scipy.linalg.expm(-TIME * K)
        assert ours_gcv == pytest.approx(np.mean((left @ whole) ** 2) / np.mean(np.diag(left)) ** 2, rel=1e-6)


@pytest.mark.parametrize("sizes", GRIDS)
def test_fresh_compares_the_expected_spectrum_of_random_networks(sizes: tuple[int, ...]) -> None:
    """The expected power of a random function of covariance C at frequency k is e_k^H C e_k."""
    y, std, depth = noise(*sizes), 1.3, 2
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in sizes], indexing="ij"), -1).reshape(-1, len(sizes))
    C = unit_kernels((((cells[:, None] - cells[None]) / np.array(sizes)) ** 2).sum(-1), std, depth)[0]
    waves = np.exp(-2j * np.pi * (cells / np.array(sizes)) @ cells.T)
    network = np.sqrt(np.einsum("ck,cd,dk->k", waves.conj(), C, waves).real)
    signal = np.abs(np.fft.fftn(y.numpy())).ravel()
    shell = np.minimum(cells, np.array(sizes) - cells).sum(-1)
    shells = np.arange(1, shell.max() + 1)
    weights = [np.array([spectrum[shell == s].sum() for s in shells]) for spectrum in (network, signal)]
    expected = scipy.stats.wasserstein_distance(shells, shells, *weights)
    chosen = select_bandwidth(y, [std], "fresh", dims=len(sizes), depth=depth)
    assert chosen.curve.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", SCORED)
def test_scattered_scores_are_those_of_the_kernel_matrix(method: str) -> None:
    x, y, std = noise(30, 2).numpy(), noise(30, 2, seed=1).numpy(), 0.4
    K = unit_kernels(((x[:, None] - x[None]) ** 2).sum(-1), std, 3)[1] / 4
    y0 = y - y.mean(0)
    if method == "loo":
        errors = []
        for i in range(30):
            rest = [j for j in range(30) if j != i]
            weights = np.linalg.solve(K[np.ix_(rest, rest)] + JITTER * np.eye(29), y0[rest])
            errors.append(y0[i] - K[i, rest] @ weights)
        expected = np.mean(np.square(errors))
    else:
        left = scipy.linalg.expm(-TIME * K)
        expected = np.mean((left @ y0) ** 2) / np.mean(np.diag(left)) ** 2
    chosen = select_bandwidth(torch.from_numpy(y), [std], method, positions=torch.from_numpy(x))
    assert chosen.curve.item() == pytest.approx(expected, rel=1e-6)  # arccos in the reference loses half of the digits


def test_the_kernel_is_that_of_many_features() -> None:
    """The scores' kernel of infinitely many features is the analytic one composed with a long encoding."""
    v = noise(6, 2)
    gamma = FourierFeatures.random(2, 40_000, std=0.3).double()
    K = analytic(v, v, 3, encoding=gamma)
    exact = unit_kernels(torch.cdist(v, v).square().numpy(), 0.3, 3)[1]
    np.testing.assert_allclose(K, exact, atol=0.1)  # 4 deviations of 1/sqrt(40000), times the slope at r = 1


@pytest.mark.parametrize("method", BANDWIDTH_METHODS)
@pytest.mark.parametrize("sizes", [(64,), (24, 24), (20, 30), (10, 11, 12)])
def test_the_whole_curve_is_returned(method: str, sizes: tuple[int, ...]) -> None:
    chosen = select_bandwidth(noise(*sizes), method=method)
    assert isinstance(chosen, Bandwidth)
    assert chosen.method == method
    assert chosen.curve.shape == chosen.candidates.shape == (9,)
    assert chosen.curve.isfinite().all()
    assert chosen.std == chosen.candidates[chosen.curve.argmin()].item()
    centre = RULE * np.prod(sizes) ** (1 / len(sizes))
    assert_close(chosen.candidates, centre * 2 ** (torch.arange(-4, 5, dtype=torch.float64) / 2))
    if method == "default":
        assert chosen.std == pytest.approx(centre)


@pytest.mark.parametrize("method", ["loo", "fresh"])
@pytest.mark.parametrize(
    ("sizes", "low", "high"), [((256,), 2.0, 24.0), ((48, 48), 0.5, 6.0), ((16, 16, 16), 0.3, 2.0)]
)
def test_signals_of_higher_bandwidth_get_a_higher_one(
    method: str, sizes: tuple[int, ...], low: float, high: float
) -> None:
    chosen = [select_bandwidth(smooth(*sizes, std=std), method=method).std for std in (low, high)]
    assert chosen[1] > 1.9 * chosen[0]


@given(
    seed=seeds, scale=st.floats(0.01, 100), offset=st.floats(-50, 50), method=st.sampled_from(list(BANDWIDTH_METHODS))
)
@settings(max_examples=10, deadline=None)
def test_brightness_contrast_and_symmetries_change_nothing(seed: int, scale: float, offset: float, method: str) -> None:
    y = smooth(12, 12, std=1.5, seed=seed)
    base = select_bandwidth(y, method=method).curve
    power = 2 if method in SCORED else 0
    for same in (y.flip(0), y.T, -y):
        assert_close(select_bandwidth(same, method=method).curve, base, rtol=1e-8, atol=1e-10)
    moved = select_bandwidth(scale * y + offset, method=method).curve
    assert_close(moved, scale**power * base, rtol=1e-6, atol=1e-9)


@given(seed=seeds, unit=st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_scattered_points_give_the_answer_in_their_unit(seed: int, unit: float) -> None:
    x, y = noise(40, 2, seed=seed), noise(40, seed=seed + 1)
    base, other = (select_bandwidth(y, positions=positions) for positions in (x, unit * x + 3))
    assert other.std * unit == pytest.approx(base.std, rel=1e-6)
    assert_close(other.curve, base.curve, rtol=1e-5, atol=0)
    order = torch.randperm(40)
    assert_close(select_bandwidth(y[order], positions=x[order]).curve, base.curve)


def test_a_grid_given_as_scattered_points_gets_about_the_same_choice() -> None:
    """The mirrored border is the only difference."""
    y = smooth(20, 20, std=2.0)
    on_grid = select_bandwidth(y)
    scattered = select_bandwidth(y.flatten(), positions=grid(20, 20, dtype=torch.float64))
    assert abs(math.log2(scattered.std / on_grid.std)) <= 0.6  # a step of the candidates


def test_channels_are_scored_together() -> None:
    y = noise(3, 20, 20)
    each = torch.stack([select_bandwidth(channel).curve for channel in y])
    assert_close(select_bandwidth(y, dims=2).curve, each.mean(0))
    assert_close(select_bandwidth(noise(2, 50), dims=1).curve.shape, torch.Size([9]))
    picture = (y * 50 + 128).clamp(0, 255).to(torch.uint8)
    assert_close(select_bandwidth(picture, dims=2).curve, select_bandwidth(picture.double(), dims=2).curve)


def test_missing_samples_are_left_out() -> None:
    y = smooth(25, 25, std=2.0)
    holes = y.clone()
    holes[torch.rand(25, 25, generator=torch.Generator().manual_seed(0)) < 0.3] = math.nan
    there = ~holes.isnan()
    expected = select_bandwidth(y[there], positions=grid(25, 25, dtype=torch.float64)[there.flatten()])
    chosen = select_bandwidth(holes)
    assert_close(chosen.curve, expected.curve)
    assert chosen.std == expected.std
    alone = torch.cat([y[there], torch.tensor([math.nan])])
    positions = torch.cat([grid(25, 25, dtype=torch.float64)[there.flatten()], torch.zeros(1, 2)])
    assert_close(select_bandwidth(alone, positions=positions).curve, expected.curve)


def test_large_signals_are_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile is scored with the spacing of the whole; so a periodic pattern of tiles scores as one tile does."""
    tile = smooth(32, 32, std=3.0)
    pattern = torch.cat([torch.cat([tile, tile.flip(1)], 1), torch.cat([tile.flip(0), tile.flip((0, 1))], 1)])
    whole = select_bandwidth(tile)
    monkeypatch.setitem(bandwidth.TILES, 2, 32)
    pieces = select_bandwidth(pattern, whole.candidates * 2)
    assert_close(pieces.curve, whole.curve)
    assert select_bandwidth(torch.cat([pattern, pattern[:5]])).curve.isfinite().all()  # a remainder


def test_many_scattered_points_are_scored_in_neighbourhoods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "PATCH", 200)
    x = torch.rand(2304, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gamma = FourierFeatures.random(2, 300, std=1.0).double()
    y = gamma(x) @ noise(gamma.out_dim)
    chosen = select_bandwidth(y, method="loo", positions=x)
    on_grid = select_bandwidth(smooth(48, 48, std=1.0))
    assert abs(math.log2(chosen.std / on_grid.std)) <= 1.1  # the same density and bandwidth: within two steps


@pytest.mark.parametrize("method", BANDWIDTH_METHODS)
@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_constant_signal_gets_a_clear_answer(method: str, value: float) -> None:
    chosen = select_bandwidth(torch.full((16, 16), value), [4.0, 0.5, 1.0], method)
    assert chosen.std in (0.5, 4.0) if method == "fresh" else chosen.std == 0.5
    assert chosen.curve.isfinite().all()


def test_duplicate_points_are_no_problem() -> None:
    x, y = noise(20, 3), noise(20)
    twice = torch.arange(40) % 20
    for method in SCORED:
        assert select_bandwidth(y[twice], method=method, positions=x[twice]).curve.isfinite().all()


def test_axes_of_one_sample_do_not_count() -> None:
    y = noise(40)
    for shape in ((1, 40), (40, 1), (1, 40, 1)):
        assert_close(select_bandwidth(y.view(shape)).curve, select_bandwidth(y).curve)
    flat = torch.stack([torch.linspace(0, 1, 40), torch.zeros(40)], dim=1)
    assert select_bandwidth(y, positions=flat).candidates[4].item() == pytest.approx(RULE * 40)


BAD: dict[str, Callable[[], Bandwidth]] = {
    "method is one of": lambda: select_bandwidth(noise(9), method="grid"),
    "candidates are": lambda: select_bandwidth(noise(9), []),
    "above 0": lambda: select_bandwidth(noise(9), [1.0, -1.0]),
    "above 0, not": lambda: select_bandwidth(noise(9), [math.nan]),
    "1 samples": lambda: select_bandwidth(torch.ones(1, 1)),
    "0 samples": lambda: select_bandwidth(torch.ones(0)),
    "not NaN": lambda: select_bandwidth(torch.full((5, 5), math.nan)),
    "infinite": lambda: select_bandwidth(torch.tensor([1.0, math.inf, 2.0])),
    "1 to 3 axes, not 4": lambda: select_bandwidth(noise(5, 5, 5, 5)),
    "1 to 3 axes, not 0": lambda: select_bandwidth(noise(5, 5), dims=0),
    "seems to have channels": lambda: select_bandwidth(noise(3, 20, 20)),
    r"has channels|put them first": lambda: select_bandwidth(noise(20, 20, 3), dims=2),
    "scattered values": lambda: select_bandwidth(noise(9), positions=noise(8, 2)),
    "are the same": lambda: select_bandwidth(noise(9), positions=torch.ones(9, 2)),
    "fresh": lambda: select_bandwidth(noise(9), method="fresh", positions=noise(9, 2)),
}


@pytest.mark.unchecked
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BAD[message]()
