"""How a network learns samples: which, in which batches, and how well."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from overtone.data.signals import Signal
from overtone.models import CoordinateConfig, CoordinateNetwork
from overtone.tasks import fit_training
from overtone.tasks.fit_kernel import Decay
from overtone.tasks.fit_samples import Samples, in_halves, psnr, to_fit
from overtone.tasks.fit_training import COOLING, error, learn


def learned(
    samples: Samples, steps: int, decay: Decay | None = None, **settings: Any
) -> tuple[CoordinateNetwork, fit_training.Learned]:
    torch.manual_seed(0)
    sizes = {"dims": samples.signal.dims, "channels": samples.signal.channels, "features": 16, "width": 32}
    network = CoordinateNetwork(CoordinateConfig(**(sizes | {"bandwidth": 3.0, "squash": False} | settings)))
    return network, learn(network, samples, steps, 0, decay, lambda step, psnr: None)


def test_batches_made_as_they_come_teach_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = to_fit(Signal("array", np.random.default_rng(0).random((40, 50, 1))), 0)
    kept, _ = learned(samples, 5)
    monkeypatch.setattr(fit_training, "KEPT", 0)
    made, _ = learned(samples, 5)
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), made.parameters(), strict=True))


def test_every_sample_comes_once_before_any_comes_again() -> None:
    samples = to_fit(Signal("array", np.arange(4096.0)[:, None] / 4096), 0)
    network, _ = learned(samples, 1)
    batches = fit_training._batches(network, samples, 0)
    for _ in range(2):
        seen = torch.cat([next(batches)[1] for _ in range(4)])
        assert torch.equal(seen.flatten().sort().values, samples.targets(samples.train).flatten())


def test_the_error_is_that_of_all_samples_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = to_fit(Signal("array", np.random.default_rng(0).random((30, 2)), low=-1.0, high=2.0), 0)
    network, _ = learned(samples, 1)
    monkeypatch.setattr(fit_training, "ROWS", 7)
    expected = (
        (network.layers(network.features(samples.positions(samples.train))) - samples.targets(samples.train))
        .square()
        .mean()
    )
    assert error(network, samples, samples.train) == pytest.approx(expected.item(), rel=1e-5)
    assert psnr(0.0) == pytest.approx(200)


def test_halves_and_held_out_samples_do_not_meet() -> None:
    values = np.random.default_rng(0).random((7, 8, 2))
    halves = in_halves(Signal("array", values), 0)
    assert halves.grid == (4, 4)
    np.testing.assert_allclose(halves.targets(halves.train), values[::2, ::2].reshape(-1, 2), rtol=1e-6)
    np.testing.assert_allclose(halves.targets(halves.held), values[1::2, 1::2].reshape(-1, 2), rtol=1e-6)
    values[0, 0], values[1, 1] = math.nan, math.nan
    holes = in_halves(Signal("array", values), 0)
    assert (len(holes.train), len(holes.held), holes.grid) == (15, 11, ())
    some = to_fit(Signal("array", values), 0)
    assert not set(some.train.tolist()) & set(some.held.tolist())
    assert len(some.train) + len(some.held) == 54
    points = in_halves(Signal("points", np.ones((9, 1)), np.arange(9.0)[:, None]), 0)
    assert sorted(torch.cat([points.train, points.held]).tolist()) == list(range(9))
    line = in_halves(Signal("array", np.ones((1, 6, 1))), 0)
    assert (line.train.tolist(), line.held.tolist()) == ([0, 2, 4], [1, 3, 5])


def test_the_rate_falls_at_the_end_and_at_once_where_the_kernel_promises_nothing() -> None:
    samples = to_fit(Signal("array", np.random.default_rng(0).random((20, 20, 1))), 0)
    nothing = Decay(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    much = Decay(torch.full((1,), 9.0, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    for expected, steps in ((None, 300), (much, 300), (nothing, 280)):  # a look after patience, at 210; a third to cool
        _, found = learned(samples, 300, decay=expected)
        assert (found.steps, found.stopped, found.interrupted) == (steps, steps < 300, False)
        assert found.looks[-1].step == steps
        # full-rate steps: all, less half of those in which the rate falls to 0
        assert found.looks[-1].time == pytest.approx(steps * (1 - COOLING / 2), abs=1)
