"""Strong, weak and noise: nothing found in noise, everything that was planted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_samples import DEGENERATE, drawn, orthogonal, planted
from torch.nn.functional import normalize

from overtone.spectral import (
    marchenko_pastur_edge,
    noise_edge,
    noise_fence,
    partition,
    partition_values,
    singular_values,
)

seeds = st.integers(0, 2**31)
examples = settings(max_examples=20, deadline=None)


def counts(parts):
    return parts.strong.count, parts.weak.count, parts.noise.count


@pytest.mark.parametrize("samples", [256, 512, 2048, 8192, 32768])
@pytest.mark.parametrize("width", [64, 256])
def test_noise_is_noise(samples, width):
    parts = partition(drawn(samples, width, seed=samples))
    assert counts(parts) == (0, 0, min(samples, width))
    assert parts.sigma == pytest.approx(1, rel=0.02)  # drawn with deviation 1; the median scatters by 1 / width
    assert parts.noise.energy == parts.noise.share == 1


def test_wide_noise_is_noise():
    for samples in (1, 2, 3, 16, 64, 300):
        assert counts(partition(drawn(samples, 512, seed=samples))) == (0, 0, samples)


@given(seeds, st.integers(1, 8), st.sampled_from([(400, 100), (100, 400), (200, 200)]))
@examples
def test_a_planted_rank_is_found(seed, rank, size):
    fence = noise_fence(*size)
    assert counts(partition(planted(*size, [2 * fence + i for i in range(rank)], seed)))[:2] == (rank, 0)


def test_weak_is_between_edge_and_fence():
    """A planted t comes out as sqrt((t^2 + m)(t^2 + n)) / t (Benaych-Georges & Nadakuditi 2012)."""
    m, n = 400, 100
    middle = (noise_edge(m, n) + noise_fence(m, n)) / 2
    b = middle**2 - m - n
    t = np.sqrt((b + np.sqrt(b * b - 4 * m * n)) / 2)
    parts = partition(planted(m, n, [5 * middle, t]))
    assert counts(parts) == (1, 1, 98)
    assert parts.edge < float(parts.values[1]) < parts.fence


def test_the_mean_direction_does_not_move_the_noise_scale():
    F = drawn(500, 128)
    shifted = partition(F + 20)
    assert counts(shifted) == (1, 0, 127)
    assert shifted.sigma == pytest.approx(partition(F).sigma, rel=0.01)  # one value of 128 left the bulk
    assert shifted.strong.energy > 0.99


@given(seeds, st.sampled_from([1e-20, 1e-3, 7.0, 1e15]))
@examples
def test_scale_and_rotation_leave_it(seed, scale):
    F = planted(120, 40, [60.0, 40.0, 21.0], seed)
    before = partition(F)
    turned = partition((scale * F.double() @ orthogonal(40, seed)).float())
    for name in ("strong", "weak", "noise"):
        assert getattr(turned, name).energy == pytest.approx(getattr(before, name).energy, abs=1e-4)  # float32
    # a value within rounding of a limit may change sides
    close = min(abs(float(v) / limit - 1) for v in before.values for limit in (before.edge, before.fence))
    assert counts(turned) == counts(before) or close < 1e-4
    assert turned.edge == pytest.approx(scale * before.edge, rel=1e-4)
    assert turned.fence == pytest.approx(scale * before.fence, rel=1e-4)


@pytest.mark.parametrize("name", DEGENERATE)
def test_the_parts_of_anything_add_up(name):
    F = DEGENERATE[name]
    parts = partition(F)
    each = parts.strong, parts.weak, parts.noise
    assert sum(part.count for part in each) == len(parts.values) == min(F.shape)
    assert sum(part.share for part in each) == pytest.approx(1)
    assert sum(part.energy for part in each) == pytest.approx(0 if name == "zero" else 1)
    assert all(np.isfinite([parts.sigma, parts.edge, parts.fence]))


def test_a_constant_is_one_strong_direction_without_noise():
    parts = partition(drawn(1, 64).expand(300, 64))
    assert counts(parts) == (1, 0, 63)
    assert parts.edge == parts.sigma == 0


def test_dimensions_that_stay_empty_are_no_noise():
    """As of an encoder narrower than the space that it is projected into."""
    narrow, into = planted(600, 48, [100.0, 90.0, 80.0]), drawn(48, 160, 5, torch.float64)
    into = torch.linalg.qr(into.T)[0].T.float()
    wide, alone = partition(narrow @ into), partition(narrow)
    assert counts(wide) == (3, 0, 157)
    assert wide.sigma == pytest.approx(alone.sigma, rel=1e-3)  # float32
    assert wide.edge == pytest.approx(alone.edge, rel=1e-3)


@pytest.mark.parametrize("spread", [0.003, 0.0003])
def test_a_shared_direction_hides_nothing(spread):
    """As of an encoder with random weights: noise lies far below the mean direction, and is no rounding."""
    mean = normalize(drawn(1, 512), dim=1)
    x = normalize(mean + spread * drawn(500, 512, 1), dim=1)
    single, double = partition(x), partition(x.double())
    assert counts(single) == counts(double) == (1, 0, 499)
    assert single.sigma == pytest.approx(double.sigma, rel=1e-2)  # the least of the noise is within rounding


def test_a_few_exact_directions_are_all_strong():
    assert counts(partition(drawn(300, 5) @ drawn(5, 64))) == (5, 0, 59)


def test_values_of_an_average_stand_for_as_many_samples_as_one_says():
    F = drawn(1000, 64)
    parts = partition_values(singular_values(F), 1000.0, 64)
    assert counts(parts) == counts(partition(F))
    assert parts.sigma == partition(F).sigma
    padded = torch.cat([singular_values(F[:20]), torch.zeros(44)])  # as the 64 x 64 second moment gives them
    assert counts(partition_values(padded, 20, 64)) == counts(partition(F[:20])) == (0, 0, 20)


def test_the_edge_is_marchenko_and_pasturs_as_matrices_grow():
    for size in (100, 10_000, 1_000_000):
        # the margin shrinks as size^(-2/3): 1.6 % at 500
        assert noise_edge(size, size) == pytest.approx(
            marchenko_pastur_edge(size, size), rel=1.1 * size ** (-2 / 3) * 3
        )


def test_rows_with_nan_are_counted_in_the_error():
    F = drawn(5, 4)
    F[3, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 rows"):
        partition(F)
