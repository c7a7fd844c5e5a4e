"""Analytic kernels against neural-tangents, mpmath, and wide random networks."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from overtone.nn import FourierFeatures, grid
from overtone.ntk import analytic, empirical, relu_kernels, relu_network, spectrum

SCALES = [(math.sqrt(2), 0.0), (1.5, 0.3)]
# The last row of X2 is -2 times the second of X1, the first is the first of X1.
X1 = torch.tensor([[1.76, 0.4], [0.98, 2.24], [1.87, -0.98]], dtype=torch.float64)
X2 = torch.tensor([[1.76, 0.4], [0.95, -0.15], [-1.96, -4.48]], dtype=torch.float64)
# neural-tangents 0.6.5 (jax 0.4.30, float64): stax.Dense(1, W_std, b_std) after `depth` pairs of Dense and Relu, "ntk".
NEURAL_TANGENTS = {
    (1, 0): [
        [6.515200000000004, 3.03894322225286, -0.8594497455103859],
        [4.811875127244809, 1.4160524012223181, 0.0],
        [5.282110807153213, 3.654724958909034, 4.0357396261127425],
    ],
    (1, 1): [
        [8.5383, 4.119812873829179, -0.9408831758367004],
        [6.358578452592681, 2.0511175704696596, -0.7290947709595653],
        [6.962127991170559, 4.888668429501131, 5.349932058094749],
    ],
    (2, 0): [
        [9.772800000000007, 4.317311424347475, 2.7169515225198637],
        [6.759848889464765, 2.2834769568322626, 3.805712999213404],
        [7.330844203401734, 5.226331261193614, 7.8060580502096055],
    ],
    (5, 1): [
        [42.465238989257806, 17.280324449740412, 28.273235334897237],
        [26.17606563986923, 11.899290374836227, 36.05391704951922],
        [27.390951459397833, 20.277622421924583, 40.79965335670316],
    ],
}


def points(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("case", NEURAL_TANGENTS)
def test_equals_neural_tangents(case: tuple[int, int]) -> None:
    depth, scales = case
    weight, bias = SCALES[scales]
    K = analytic(X1, X2, depth, weight_scale=weight, bias_scale=bias)
    assert_close(K, torch.tensor(NEURAL_TANGENTS[case], dtype=torch.float64), atol=1e-12, rtol=1e-13)  # rounding


def exact(r: float, depth: int) -> tuple[float, float]:
    """Return S and T of the unit sphere with 40 digits: S <- k1(S), T <- k1(S) + T k0(S)."""
    with mpmath.workdps(40):
        S = T = mpmath.mpf(r)
        for _ in range(depth):
            t = mpmath.acos(S)
            S, T = (mpmath.sqrt(1 - S * S) + (mpmath.pi - t) * S) / mpmath.pi, T * (1 - t / mpmath.pi)
            T += S
        return float(S), float(T)


@pytest.mark.parametrize("depth", [0, 1, 3, 8])
def test_the_unit_sphere_with_forty_digits(depth: int) -> None:
    """At r = 1 - 1e-9, arccos in float64 would be off by 1e-8."""
    r = torch.tensor([-1, -1 + 1e-6, -0.3, 0, 0.7, 1 - 1e-6, 1 - 1e-9, 1], dtype=torch.float64)
    S, T = relu_kernels(r, torch.ones_like(r), torch.ones_like(r), depth)
    expected = torch.tensor([exact(x, depth) for x in r.tolist()], dtype=torch.float64)
    # rounding of 1 - r: an angle t is off by 1e-16 / t, 3e-12 at r = 1 - 1e-9, in each layer
    assert_close(torch.stack([S, T], dim=-1), expected, atol=3e-11, rtol=0)
    assert T[-1].item() == pytest.approx(depth + 1, rel=1e-14)


def test_coincident_points_stay_so() -> None:
    """Points that agree up to rounding have the kernel of equal points, to all digits but the last few."""
    x = points(50, 512)
    K = analytic(x, x, 6)
    moved = analytic(x, x * (1 + 1e-15), 6)
    assert_close(K.diagonal(), 7 * 2 * x.square().mean(-1), atol=0, rtol=1e-13)
    assert_close(moved.diagonal(), K.diagonal(), atol=0, rtol=1e-13)
    assert torch.equal(analytic(x[[0, 0]], x, 6)[0], analytic(x[[0, 0]], x, 6)[1])


@given(
    n=st.integers(1, 8),
    d=st.integers(1, 4),
    depth=st.integers(0, 5),
    scales=st.sampled_from(SCALES),
    seed=st.integers(0, 999),
)
@settings(max_examples=30, deadline=None)
def test_kernels_are_symmetric_and_positive_semi_definite(
    n: int, d: int, depth: int, scales: tuple[float, float], seed: int
) -> None:
    x = points(n, d, seed)
    x = torch.cat([x, x[:1], -x[:1], 0 * x[:1]])  # and a point again, its opposite, and the origin
    K = analytic(x, x, depth, weight_scale=scales[0], bias_scale=scales[1])
    assert_close(K, K.T, atol=1e-12, rtol=1e-12)
    # where points coincide, eigenvalues are 0 up to the rounding of angles, 1e-8
    assert torch.linalg.eigvalsh(K)[0] > -1e-7 * K.diagonal().max()
    assert_close(analytic(3 * x, 3 * x, depth), 9 * analytic(x, x, depth), atol=1e-7, rtol=1e-9)


@pytest.mark.parametrize(("weight", "bias"), SCALES)
def test_the_mean_kernel_of_random_networks(weight: float, bias: float) -> None:
    """Finite networks have the analytic kernel on average, up to O(1 / width)."""
    torch.manual_seed(0)
    draws = [
        empirical(relu_network(2, 512, 2, weight_scale=weight, bias_scale=bias).double(), X1, X2) for _ in range(40)
    ]
    K, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / math.sqrt(40)
    exact = analytic(X1, X2, 2, weight_scale=weight, bias_scale=bias)
    assert ((K - exact).abs() < 4 * error + 0.01 * exact.abs().max()).all()
    assert (error < 0.05 * exact.abs().max()).all()


def test_the_covariance_of_random_networks() -> None:
    torch.manual_seed(0)
    outputs = relu_network(2, 1024, 2, outputs=4000, bias_scale=0.3).double()(X1).detach()
    S0 = X1 @ X1.T + 0.09
    S, _ = relu_kernels(S0, S0.diagonal()[:, None], S0.diagonal()[None], 2, bias_scale=0.3)
    # a covariance from 4000 draws, 4 deviations; and of hidden layers of 1024
    assert_close(outputs @ outputs.T / 4000, S, atol=0, rtol=4 * math.sqrt(2 / 4000) + 4 * math.sqrt(2 / 1024))


def test_the_distance_falls_as_the_root_of_the_width() -> None:
    torch.manual_seed(0)
    x = nn.functional.normalize(points(12, 4), dim=-1)
    exact, widths = analytic(x, x, 3), [64, 256, 1024]
    distances = []
    for width in widths:
        kernels = [empirical(relu_network(4, width, 3).double(), x, x) for _ in range(6)]
        distances.append(np.mean([((K - exact).norm() / exact.norm()).item() for K in kernels]))
    slope = np.polyfit(np.log(widths), np.log(distances), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.15)  # of 6 draws each


@pytest.mark.parametrize(("weight", "bias"), SCALES)
@pytest.mark.parametrize("depth", [1, 4])
def test_gradients_against_finite_differences(weight: float, bias: float, depth: int) -> None:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return analytic(a, b, depth, weight_scale=weight, bias_scale=bias)

    torch.autograd.gradcheck(kernel, (points(3, 2, 1).requires_grad_(), points(2, 2, 2).requires_grad_()))


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_gradients_are_finite_everywhere(bias: float) -> None:
    """At equal, opposite and nearly equal points and at the origin, first and second derivatives are numbers."""
    x = points(2, 3)
    x = torch.cat([x, x, -x, x * (1 + 1e-9), x + 1e-7, 0 * x, 1e-170 * x]).requires_grad_()
    (gradient,) = torch.autograd.grad(analytic(x, x, 4, bias_scale=bias).sum(), x, create_graph=True)
    assert gradient.isfinite().all()
    assert torch.autograd.grad(gradient.sum(), x)[0].isfinite().all()


def test_the_gradient_along_the_diagonal_is_right() -> None:
    """K(x, x) is smooth, although K(x, x') has a cusp at x = x'."""
    x = points(4, 3).requires_grad_()
    K = analytic(x, x, 3, bias_scale=0.3).diagonal()
    (gradient,) = torch.autograd.grad(K.sum(), x)
    # K(x, x) = 4 S11 in each layer's unit, S11 = |x|^2 sw^2 / d + ..., sw^2 = 2
    assert_close(gradient, 4 * 2 * 2 * x.detach() / 3, atol=1e-12, rtol=1e-12)


def test_an_encoding_is_composed() -> None:
    gamma, v = FourierFeatures.random(2, 64, std=3.0), points(5, 2)
    K = analytic(v, v, 3, encoding=gamma)
    assert_close(K, analytic(gamma(v), gamma(v), 3))
    assert_close(K.diagonal(), torch.full((5,), 4.0, dtype=torch.float64))  # depth + 1
    assert_close(analytic(v + 0.37, v + 0.37, 3, encoding=gamma), K, atol=1e-6, rtol=0)  # stationary; angles of 1e-8


def test_on_a_periodic_grid_the_kernel_is_circulant() -> None:
    gamma, v = FourierFeatures.lattice(1, 3, 1.0).double(), grid(9, dtype=torch.float64)
    K = analytic(v, v, 2, encoding=gamma)
    assert_close(K[1:, 1:], K[:-1, :-1], atol=1e-7, rtol=0)
    assert_close(K[0].roll(1), K[1], atol=1e-7, rtol=0)


def test_fourier_features_slow_the_decay_of_the_spectrum() -> None:
    """The point of the encoding (Tancik et al. 2020, figure 2): without it, eigenvalues span many more decades."""
    v = grid(32, dtype=torch.float64)
    condition = []
    for std in (None, 0.5, 2.0, 8.0):
        gamma = None if std is None else FourierFeatures.random(1, 256, std).double()
        eigenvalues, _ = spectrum(analytic(v, v, 3, encoding=gamma))
        condition.append((eigenvalues[0] / eigenvalues[20]).item())
    assert condition == sorted(condition, reverse=True)
    assert condition[0] > 100 * condition[-1]


def test_float32_points_are_taken_to_float64() -> None:
    assert analytic(X1.float(), X2.float(), 2).dtype == torch.float64


def test_a_negative_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth"):
        analytic(X1, X2, -1)
