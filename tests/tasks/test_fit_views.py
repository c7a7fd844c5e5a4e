"""What a fit's report shows of the signal: in the right place, to the right scale, at the right frequency."""

import numpy as np
import pytest
import torch

from overtone.data.signals import Signal
from overtone.models import CoordinateConfig, CoordinateNetwork
from overtone.tasks.fit_views import detail, spectra, traces, views

DRAW = np.random.default_rng(0)


def network(signal: Signal) -> CoordinateNetwork:
    torch.manual_seed(0)
    config = CoordinateConfig(
        dims=signal.dims,
        channels=signal.channels,
        features=4,
        width=8,
        low=signal.low,
        high=signal.high,
        origin=signal.origin,
        extent=signal.extent,
    )
    return CoordinateNetwork(config)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_and_its_error_as_shares_of_the_range(channels: int) -> None:
    values = DRAW.uniform(10, 30, (4, 5, channels))
    values[1, 2] = np.nan
    fit = DRAW.uniform(10, 30, (4, 5, channels))
    signal = Signal("array", values, low=10.0, high=30.0)
    (view,) = views(signal, network(signal), fit)
    shown = 3 if channels > 2 else 1
    np.testing.assert_allclose(view.original, (values[..., :shown] - 10) / 20)
    np.testing.assert_allclose(view.fit, (fit[..., :shown] - 10) / 20)
    np.testing.assert_allclose(view.error, np.abs(fit - values).mean(-1) / 20)


def test_the_middle_of_each_of_three_axes() -> None:
    values = DRAW.random((4, 5, 6, 1))
    signal = Signal("array", values)
    shown = views(signal, network(signal), values)
    for view, middle in zip(shown, (values[2], values[:, 2], values[:, :, 3]), strict=True):
        np.testing.assert_array_equal(view.original, middle)
        assert (view.error == 0).all()


def test_points_are_drawn_with_x_to_the_right_and_y_up() -> None:
    places = np.array([[100.0, 1.0], [200.0, 1.0], [200.0, 5.0], [199.0, 5.0], [101.0, 5.0]])
    values = np.array([[0.0], [0.2], [0.4], [0.8], [np.nan]])
    signal = Signal("points", values, places)
    held = network(signal)
    (view,) = views(signal, held, held.render(2, 2).numpy())
    np.testing.assert_allclose(view.original[..., 0], [[np.nan, 0.6], [0, 0.2]])
    asked = held(torch.from_numpy(places))[:, 0].detach().numpy()
    away = np.abs(asked - values[:, 0])
    np.testing.assert_allclose(view.error, [[np.nan, (away[2] + away[3]) / 2], [away[0], away[1]]], rtol=1e-6)
    np.testing.assert_allclose(view.fit[1, 0], held.render(2, 2)[0, 0], rtol=1e-6)
    space = Signal("points", np.zeros((2, 1)), np.array([[0.0, 0, 0], [1, 1, 1]]))
    assert views(space, network(space), np.zeros((1, 1, 1, 1))) == []


def test_the_detail_is_the_same_part_of_both() -> None:
    y, x = np.mgrid[:100, :60] / 100
    fine_y, fine_x = np.mgrid[:300, :180] / 300
    signal = Signal("picture", np.stack([x, y, x + y], -1))
    part = detail(signal, np.stack([fine_x, fine_y, fine_x + fine_y], -1), 3)
    assert part is not None
    assert (part.original.shape, part.fit.shape) == ((48, 48, 3), (144, 144, 3))
    np.testing.assert_allclose(part.fit[::3, ::3], part.original, atol=1e-9)
    assert detail(signal, signal.values, 1) is None


@pytest.mark.parametrize("grid", [(512,), (64, 64), (16, 16, 16)])
def test_a_wave_has_its_amplitude_at_its_frequency(grid: tuple[int, ...]) -> None:
    cycles = grid[0] // 8
    along = 0.5 + 0.3 * np.cos(2 * np.pi * cycles * np.arange(grid[0]) / grid[0])
    values = np.broadcast_to(along.reshape(-1, *[1] * (len(grid) - 1)), grid)[..., None]
    found = spectra(Signal("array", values), np.full((*grid, 1), 0.5))
    peak = int(np.argmax(found.original))
    assert found.frequencies[peak] == pytest.approx(1 / 8, rel=0.08)  # the width of a band
    assert found.error == pytest.approx(found.original)
    assert max(found.fit) < 1e-12


def test_of_one_axis_the_energy_of_all_bands_is_that_of_the_signal() -> None:
    """Parseval; a band's mean square times how many frequencies it has, of both signs."""
    values = DRAW.random((256, 1))
    values -= values.mean()
    found = spectra(Signal("sound", values, rate=1000), np.zeros((256, 1)))
    assert found.unit == "hertz"
    assert found.frequencies[-1] == pytest.approx(500, rel=0.1)
    places = np.abs(np.fft.fftfreq(256))[1:]
    edges = np.geomspace(0.75 / 256, 0.5, 49)
    counts = np.bincount(np.searchsorted(edges, places), minlength=50)[1:-1]
    assert np.square(found.original) @ counts[counts > 0] == pytest.approx(values.var(), rel=1e-9)


def test_what_is_missing_has_no_error_in_the_spectrum() -> None:
    values, fit = DRAW.random((32, 1)), DRAW.random((32, 1))
    values[:31] = np.nan
    found = spectra(Signal("array", values), fit)
    assert sum(found.error) < sum(found.original)


def test_a_long_sound_keeps_its_outline() -> None:
    values = DRAW.normal(size=(30_000, 2))
    values[12_345], values[20_001] = 9, -9
    signal = Signal("sound", values, rate=1000, low=-9.0, high=9.0)
    held = network(signal)
    whole, part = traces(signal, held, held.render(30_000).numpy())
    assert len(whole.samples) < 6000
    assert dict(whole.samples)[12.345] == 9
    assert dict(whole.samples)[20.001] == -9
    assert max(abs(error) for _, error in whole.error) > 8
    assert len(part.samples) == 120
    assert part.fit[0][0] < part.samples[0][0] < part.samples[-1][0] < part.fit[-1][0]
    x = torch.tensor([[(14.94 * 1000 + 0.5) / 30_000]], dtype=torch.float64)
    assert part.samples[0][0] == pytest.approx(14.94)
    near = [value for at, value in part.fit if abs(at - 14.94) < 1e-4]
    assert np.mean(near) == pytest.approx(held(x)[0, 0].item(), abs=0.05)
