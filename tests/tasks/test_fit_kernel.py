"""What the kernel says of a fit, against dense kernels and networks that are wide enough to follow it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overtone.data.signals import Signal
from overtone.errors import UserError
from overtone.nn import FourierFeatures, grid
from overtone.ntk import BANDWIDTH_METHODS, predict, relu_kernels, select_bandwidth
from overtone.tasks import fit_kernel
from overtone.tasks.fit_kernel import Decay, choose_bandwidth, decay
from overtone.tasks.fit_samples import Samples, in_halves, psnr, to_fit
from overtone.tasks.fit_training import Look, expected_gain


def smooth(*sizes: int, std: float = 2.0, channels: int = 1) -> Signal:
    """A random signal of this bandwidth, from 0 to 1."""
    gamma = FourierFeatures.random(len(sizes), 300, std).double()
    weights = torch.randn(gamma.out_dim, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = (gamma(grid(*sizes, dtype=torch.float64)) @ weights).view(*sizes, channels).numpy()
    return Signal("array", (values - values.min()) / np.ptp(values))


def kernel(squares: torch.Tensor, std: float, depth: int) -> torch.Tensor:
    one = torch.ones((), dtype=torch.float64)
    return relu_kernels(torch.exp(-2 * math.pi**2 * std**2 * squares), one, one, depth)[1] / (depth + 1)


@pytest.mark.parametrize("sizes", [(9,), (10,), (5, 8), (4, 5, 6)])
def test_on_a_grid_it_is_the_training_of_the_mirrored_signal(sizes: tuple[int, ...]) -> None:
    """Dense: the kernel matrix of the mirrored grid, around the circle, and the error by eigenvectors."""
    signal, std, depth = smooth(*sizes, channels=2), 1.5, 3
    whole = signal.values - signal.values.reshape(-1, 2).mean(0)
    for axis in range(len(sizes)):
        whole = np.concatenate([whole, np.flip(whole, axis)], axis)
    cells = np.stack(np.meshgrid(*[np.arange(2 * n) for n in sizes], indexing="ij"), -1).reshape(-1, len(sizes))
    apart = np.abs(cells[:, None] - cells[None])
    apart = np.minimum(apart, 2 * np.array(sizes) - apart) / np.array(sizes)
    K = kernel(torch.from_numpy((apart**2).sum(-1)), std, depth)
    y = torch.from_numpy(whole.reshape(-1, 2))
    expected = decay(to_fit(signal, 0), std, depth)
    for time in (0.0, 0.3, 3.0, 30.0):
        left = (y - predict(K, K, y, time)).square().mean()
        # rates are binned, a twentieth apart
        assert expected.error(time).item() == pytest.approx(left.item(), rel=0.02)


def test_scattered_samples_have_the_kernel_of_their_places() -> None:
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    signal = Signal("points", np.sin(9 * x.numpy()).sum(1, keepdims=True), x.numpy(), low=-2, high=2)
    samples = Samples(signal, torch.arange(40), torch.arange(0))
    v, y = samples.positions(samples.train), samples.targets(samples.train).double()
    assert (v.amin(0).tolist(), v.amax(0).tolist()) == ([0, 0], [1, 1])
    K = kernel(torch.cdist(v, v).square(), 1.0, 2)
    y = y - y.mean(0)
    for time in (0.0, 1.0, 20.0):
        left = (y - predict(K, K, y, time)).square().mean()
        assert decay(samples, 1.0, 2).error(time).item() == pytest.approx(left.item(), rel=0.02)


def test_many_scattered_samples_and_large_grids_are_judged_by_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece has fewer samples at the same distances: the error falls about as fast."""
    samples = to_fit(smooth(40, 40, std=4.0), 0)
    whole = decay(samples, 4.0, 3)
    monkeypatch.setitem(fit_kernel.TILE, 2, 20)
    assert psnr(decay(samples, 4.0, 3).error(3.0).item()) == pytest.approx(psnr(whole.error(3.0).item()), abs=2)
    monkeypatch.setattr(fit_kernel, "PATCH", 300)
    scattered = Samples(samples.signal, samples.train, samples.held)
    assert psnr(decay(scattered, 4.0, 3).error(3.0).item()) == pytest.approx(psnr(whole.error(3.0).item()), abs=2)


powers = st.lists(st.floats(1e-4, 1), min_size=1, max_size=5)


@given(powers, st.integers(0, 99), st.floats(-3, 2))
@settings(deadline=None)
def test_the_time_of_an_error_and_the_error_of_a_time(power: list[float], seed: int, exponent: float) -> None:
    rates = torch.rand(len(power), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    curve = Decay(rates, torch.tensor(power, dtype=torch.float64))
    error = curve.error(10**exponent).item()
    assert curve.error(0.0).item() == pytest.approx(sum(power))
    if error > 1e-12:
        assert curve.time(error) == pytest.approx(10**exponent, rel=1e-6)
    assert curve.time(2 * sum(power)) == 0
    times = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    assert curve.pace(times, curve.error(0.03 * times)) == pytest.approx(0.03, rel=0.02)  # candidates 2 % apart


def test_a_signal_that_is_all_the_same_promises_nothing() -> None:
    constant = decay(to_fit(Signal("array", np.ones((6, 6, 1))), 0), 1.0, 3)
    assert constant.error(0.0) == 0
    looks = [Look(1, 1.0, 20.0, None), Look(2, 2.0, 30.0, None)]
    assert expected_gain(constant, looks, 1000) == 0


def test_the_expected_gain_is_what_the_kernel_s_pace_makes_of_the_steps_left() -> None:
    curve = Decay(torch.tensor([1.0, 0.001], dtype=torch.float64), torch.tensor([1.0, 1e-3], dtype=torch.float64))
    looks = [Look(step, float(step), psnr(curve.error(0.01 * step).item()), None) for step in (1, 2, 4, 100, 200)]
    expected = psnr(curve.error(0.01 * 300).item()) - psnr(curve.error(0.01 * 200).item())
    assert expected_gain(curve, looks, 100) == pytest.approx(expected, rel=1e-5)
    still = [Look(step, float(step), 25.0, None) for step in (100, 200)]
    worse = [Look(100, 100.0, 25.0, None), Look(200, 200.0, 24.0, None)]
    assert expected_gain(curve, still, 500) == expected_gain(curve, worse, 500) == 0
    not_yet = [Look(step, float(step), -0.1, None) for step in (100, 200)]  # the mean alone has an error of 1.001
    assert expected_gain(curve, not_yet, 500) == math.inf


# The bandwidth


@pytest.mark.parametrize("method", BANDWIDTH_METHODS)
def test_the_choice_is_that_of_select_bandwidth(method: str) -> None:
    signal = smooth(20, 30, channels=3)
    values = torch.from_numpy(signal.values).permute(2, 0, 1)
    expected = select_bandwidth(values.float(), method=method, dims=2)
    chosen = choose_bandwidth(to_fit(signal, 0), method, None)
    assert chosen.std == pytest.approx(expected.std)
    torch.testing.assert_close(chosen.curve, expected.curve, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("sizes", [(30, 3), (3, 30), (3, 3), (2, 2), (1, 2), (2, 1, 9), (4, 4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_narrow_grids_are_no_channels(sizes: tuple[int, ...], channels: int) -> None:
    signal = Signal("array", np.random.default_rng(0).random((*sizes, channels)))
    assert choose_bandwidth(to_fit(signal, 0), "loo", None).curve.isfinite().all()


def test_every_second_sample_has_the_bandwidth_of_its_own_spacing() -> None:
    halves = in_halves(smooth(40, 40), 0)
    assert halves.grid == (20, 20)
    assert choose_bandwidth(halves, "default", None).std == pytest.approx(0.04 * 20)


def test_missing_samples_are_left_out_and_candidates_are_kept() -> None:
    signal = smooth(20, 20)
    signal.values[:3] = np.nan
    chosen = choose_bandwidth(to_fit(signal, 0), "loo", [1.0, 4.0])
    assert chosen.candidates.tolist() == [1, 4]
    with pytest.raises(UserError, match="No bandwidth can be chosen: method='fresh' takes a full regular grid"):
        choose_bandwidth(to_fit(signal, 0), "fresh", None)
