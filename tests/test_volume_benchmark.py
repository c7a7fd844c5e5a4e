"""The benchmark on volumes, on a made-up year in place of the downloaded one."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import volume
from benchmarks.volume import AHEAD, CHANNELS, LEVELS, NETWORKS, Seen, change, regression, rmse


def year(seed: int, sides: tuple[int, int] = (24, 20)) -> np.ndarray:
    """Return a sea whose year is a pure wave around 10 degrees, of a strength and season of its own in each column."""
    rng = np.random.default_rng(seed)
    season = 2 * np.pi * (np.arange(12)[:, None, None, None] / 12 + rng.random(sides))
    strength = rng.random(sides) * np.linspace(3, 0.5, LEVELS)[:, None, None]
    ocean = (10 + strength * np.cos(season)).astype(np.float32)
    ocean[:, :, :4, :4] = np.nan  # an island
    ocean[:, 10:, 6:8, 6:8] = np.nan  # a shallow
    return ocean


def test_what_comes_is_what_the_sea_will_be() -> None:
    ocean = year(0)
    month = 11
    np.testing.assert_array_equal(ocean[month] + change(ocean)[month], ocean[(month + AHEAD) % 12])


def test_the_error_is_that_of_the_sea_alone() -> None:
    ocean = year(0)
    error = np.where(np.isnan(ocean), np.nan, 0.5).astype(np.float32)
    assert rmse(error) == 0.5


def test_linear_regression_tells_a_pure_wave_in_another_ocean() -> None:
    """x(t + 3) is linear in x(t) and x(t - 1) for every wave of one year; what is left is the ridge's shrinking."""
    told = regression(year(0), year(1))
    assert rmse(told - change(year(1))) < 0.01 * rmse(change(year(1)))


def test_land_is_zero_in_what_networks_see_and_the_scale_is_the_learned_oceans() -> None:
    ocean = year(0)
    seen = Seen(ocean).channels(ocean)
    assert seen.shape == (12, CHANNELS, *ocean.shape[1:])
    land = np.isnan(ocean)
    for part in (0, 1, 2, 3):
        assert not seen[:, part][land].any()
    wet = np.where(land, np.nan, seen[:, 0])
    np.testing.assert_allclose(np.nanmean(wet, axis=(0, 2, 3)), 0, atol=1e-4)  # float32 sums of ten thousand values
    np.testing.assert_allclose(np.nanstd(wet, axis=(0, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_starts_from_no_change_and_takes_any_even_sides(name: str) -> None:
    network = NETWORKS[name]()
    out = network(torch.randn(2, CHANNELS, LEVELS, 10, 12))
    assert out.shape == (2, LEVELS, 10, 12)
    assert out.std() < 1e-6  # one bias


def test_the_whole_table_and_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    oceans = {name: year(seed) for seed, name in enumerate(volume.OCEANS)}
    monkeypatch.setattr(volume, "read", lambda: (oceans, np.arange(LEVELS) * 10.0))
    monkeypatch.setattr(sys, "argv", ["volume", "--seeds", "1", "2", "--steps", "3", "--out", str(tmp_path / "a.png")])
    volume.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1 : 1 + len(NETWORKS)]] == list(NETWORKS)
    assert len(rows) == 1 + len(NETWORKS) + 3
    assert (tmp_path / "a.png").stat().st_size > 1000
