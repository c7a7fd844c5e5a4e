"""Predicted training against matrix exponentials, ridge regression and networks that are trained."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor, nn
from torch.testing import assert_close

from overtone.nn import FourierFeatures, grid
from overtone.ntk import (
    analytic,
    empirical,
    leave_one_out,
    periodic_predict,
    periodic_spectrum,
    predict,
    regress,
    relu_network,
    spectrum,
)

seeds = st.integers(0, 9999)
examples = settings(max_examples=25, deadline=None)


def problem(seed: int, n: int = 9, m: int = 4, outputs: tuple[int, ...] = (2,)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n + m, 3, generator=generator, dtype=torch.float64)
    K = analytic(x, x, 2)
    return K[:n, :n], K[n:, :n], torch.randn(n, *outputs, generator=generator, dtype=torch.float64)


@given(seed=seeds, time=st.floats(0, 50))
@examples
def test_predictions_are_the_matrix_exponential(seed: int, time: float) -> None:
    """f(t) = f0 + K_test K^-1 (1 - exp(-K t)) (y - f0), by scipy."""
    K, K_test, y = problem(seed)
    start, start_test = torch.randn_like(y), torch.randn(4, 2, dtype=torch.float64)
    decayed = np.eye(9) - scipy.linalg.expm(-K.numpy() * time)
    expected = start_test.numpy() + K_test.numpy() @ np.linalg.solve(K.numpy(), decayed @ (y - start).numpy())
    ours = predict(K, K_test, y, time, (start, start_test))
    # 1e-16 times the condition of K, at most 1e5 here
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_on_the_training_points_errors_decay_at_the_rate_of_their_eigenvalue() -> None:
    K, _, y = problem(0)
    eigenvalues, V = spectrum(K)
    assert (eigenvalues.diff() <= 0).all()
    assert_close(V @ eigenvalues.diag() @ V.T, K)
    t = torch.tensor([0.0, 0.1, 3.0], dtype=torch.float64)
    errors = V.T @ (y - predict(K, K, y, t, f0=0.5))
    assert_close(errors, torch.exp(-eigenvalues * t[:, None])[..., None] * (V.T @ (y - 0.5)))


@given(seed=seeds)
@examples
def test_training_starts_at_f0_and_ends_at_the_regression(seed: int) -> None:
    K, K_test, y = problem(seed)
    start = (torch.randn_like(y), torch.randn(4, 2, dtype=torch.float64))
    assert_close(predict(K, K_test, y, 0.0, start), start[1])
    # 1e-16 times the condition of K
    assert_close(predict(K, K_test, y, 1e9), regress(K, K_test, y, jitter=0.0), atol=1e-8, rtol=0)


@pytest.mark.parametrize("outputs", [(), (1,), (3, 2)])
@pytest.mark.parametrize("times", [(), (5,), (2, 3)])
def test_shapes(outputs: tuple[int, ...], times: tuple[int, ...]) -> None:
    K, K_test, y = problem(0, outputs=outputs)
    assert predict(K, K_test, y, torch.rand(times)).shape == (*times, 4, *outputs)
    assert regress(K, K_test, y).shape == (4, *outputs)
    assert leave_one_out(K, y).shape == y.shape


def test_duplicate_points_are_no_problem_for_dynamics() -> None:
    """With a point twice, K is singular; the network learns the mean of its two targets."""
    K, K_test, y = problem(0)
    twice = torch.tensor([0, *range(9)])
    f = predict(K[twice][:, twice], K_test[:, twice], y[twice], torch.tensor([1.0, 1e9]))
    assert f.isfinite().all()
    assert_close(f[1], regress(K, K_test, y, jitter=0.0), atol=1e-6, rtol=0)


@given(seed=seeds, jitter=st.floats(1e-6, 1.0))
@examples
def test_regression_is_sklearns_ridge(seed: int, jitter: float) -> None:
    K, K_test, y = problem(seed)
    ridge = KernelRidge(alpha=jitter * K.diagonal().mean().item(), kernel="precomputed").fit(K.numpy(), y.numpy())
    np.testing.assert_allclose(regress(K, K_test, y, jitter), ridge.predict(K_test.numpy()), atol=1e-9)


@given(seed=seeds, jitter=st.floats(1e-6, 1.0))
@examples
def test_leave_one_out_leaves_one_out(seed: int, jitter: float) -> None:
    K, _, y = problem(seed)
    d = jitter * K.diagonal().mean() * torch.eye(9, dtype=torch.float64)
    errors = []
    for i in range(9):
        rest = [j for j in range(9) if j != i]
        errors.append(y[i] - regress((K + d)[rest][:, rest], K[[i]][:, rest], y[rest], jitter=0.0)[0])
    assert_close(leave_one_out(K, y, jitter), torch.stack(errors), atol=1e-8, rtol=0)


@pytest.mark.parametrize("sizes", [(12,), (7,), (4, 6), (3, 4, 5)])
def test_the_periodic_route_is_the_dense_one(sizes: tuple[int, ...]) -> None:
    gamma = FourierFeatures.lattice(len(sizes), 2, 1.0).double()
    v = grid(*sizes, dtype=torch.float64)
    K = analytic(v, v, 2, encoding=gamma, bias_scale=0.2)
    row = K[0].view(sizes)
    # coincident points have angles of 1e-8 for rounding
    assert_close(periodic_spectrum(row).flatten().sort(descending=True).values, spectrum(K)[0], atol=1e-6, rtol=1e-6)
    generator = torch.Generator().manual_seed(0)
    y, f0 = torch.randn(2, 3, *sizes, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.0, 0.03, 2.0])
    dense = predict(K, K, y.flatten(1).T, t, (f0.flatten(1).T, f0.flatten(1).T))
    assert_close(periodic_predict(row, y, t, f0), dense.transpose(-1, -2).reshape(3, 3, *sizes), atol=1e-6, rtol=1e-6)
    assert periodic_predict(row, y[0], 1.0).shape == sizes


def train(network: nn.Module, x: Tensor, y: Tensor, rate: float, steps: int) -> None:
    """Descend 1/2 sum (f - y)^2."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(x).squeeze(-1) - y).square().sum().div(2).backward()
        optimizer.step()


def test_a_wide_network_trains_as_its_kernel_predicts() -> None:
    """1-D, 32 points, a_j = 1/j, width 1024 (the reference's known-good check): errors by time, on and off the grid."""
    torch.manual_seed(0)
    gamma = FourierFeatures.lattice(1, 16, 1.0).double()
    network = nn.Sequential(gamma, relu_network(gamma.out_dim, 1024, 2).double())
    v = grid(64, dtype=torch.float64)
    x, held = v[::2], v[1::2]
    y = ((2 * math.pi * x).sin() + 0.7 * (6 * math.pi * x).cos() + 0.5 * (14 * math.pi * x).sin())[:, 0]
    start, start_held = (network(part).squeeze(-1).detach() for part in (x, held))
    K, K_held = empirical(network, x, x), empirical(network, held, x)
    unit = 1 / spectrum(K)[0][0].item()
    for time in (2, 6, 10):  # in units of 1 / l_max, of four steps each
        train(network, x, y, unit / 4, 4 * (2 if time == 2 else 4))
        seen, seen_held = (network(part).squeeze(-1).detach() for part in (x, held))
        said, said_held = (predict(K, k, y, time * unit, (start, f)) for k, f in ((K, start), (K_held, start_held)))
        # the kernel of a finite network moves as it learns, and steps are no flow
        assert (seen - said).norm() < 0.05 * y.norm()
        assert (seen_held - said_held).norm() < 0.05 * y.norm()
        assert (seen - y).square().mean().item() == pytest.approx((said - y).square().mean().item(), rel=0.05)


def test_the_analytic_kernel_predicts_which_frequency_is_learned_first() -> None:
    """Without an encoding low frequencies come first; the order is that of the eigenvalues."""
    gamma, v = FourierFeatures.lattice(1, 8, 1.0).double(), grid(64, dtype=torch.float64)
    row = analytic(v[:1], v, 3, encoding=gamma)[0]
    rates = periodic_spectrum(row)[1:9]
    assert (rates.diff() < 0).all()
    waves = torch.cos(2 * math.pi * torch.arange(1, 9)[:, None] * v[:, 0])
    left = (waves - periodic_predict(row, waves, 0.05)).norm(dim=-1) / waves.norm(dim=-1)
    assert_close(left, torch.exp(-0.05 * rates), atol=1e-9, rtol=0)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda K, K_test, y: predict(K, K_test, y, -1.0), "time"),
        (lambda K, K_test, y: periodic_predict(K[0], y[:, 0], torch.tensor([1.0, -1.0])), "time"),
        (lambda K, K_test, y: predict(K_test, K_test, y, 1.0), "symmetric"),
        (lambda K, K_test, y: spectrum(K + torch.arange(9.0)), "symmetric"),
        (lambda K, K_test, y: regress(-K, K_test, y), "positive definite"),
        (lambda K, K_test, y: leave_one_out(K, y, jitter=-1.0), "jitter"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*problem(0))
