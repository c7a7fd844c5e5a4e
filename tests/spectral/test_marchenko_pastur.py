"""The law of noise against its own density, scipy's integral and drawn matrices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import gamma

from overtone.spectral import (
    marchenko_pastur_cdf,
    marchenko_pastur_edge,
    marchenko_pastur_median,
    marchenko_pastur_quantile,
    noise_edge,
    noise_fence,
    noise_quantile,
)
from overtone.spectral.marchenko_pastur import TRACY_WIDOM_QUANTILE

ratios = st.floats(1e-4, 1)
shares = st.floats(0.001, 0.999)
sides = st.integers(3, 100_000)
examples = settings(max_examples=40, deadline=None)


def density_integral(x, ratio):
    """The density integrated over t = middle + radius sin(angle), which takes the root out of it."""
    middle, radius = 1 + ratio, 2 * math.sqrt(ratio)

    def density(angle):
        return (radius * math.cos(angle)) ** 2 / (2 * math.pi * ratio * (middle + radius * math.sin(angle)))

    return quad(density, -math.pi / 2, math.asin(max(-1, min(1, (x - middle) / radius))))[0]


@given(st.floats(1e-4, 0.98), st.floats(0.01, 0.99))
@examples
def test_the_closed_form_is_the_integral_of_the_density(ratio, place):
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    x = low + place * (high - low)
    # quad's own error, 1e-8 until the density has a pole at ratio 1, and the cancellation of terms of 1 / ratio
    assert marchenko_pastur_cdf(x, ratio) == pytest.approx(density_integral(x, ratio), abs=1e-6)


@given(ratios)
@examples
def test_the_law_begins_at_0_and_ends_at_1(ratio):
    assert marchenko_pastur_cdf((1 - math.sqrt(ratio)) ** 2, ratio) == 0
    assert marchenko_pastur_cdf((1 + math.sqrt(ratio)) ** 2, ratio) == 1


@given(ratios, shares)
@examples
def test_the_quantile_inverts_the_law(ratio, share):
    assert marchenko_pastur_cdf(marchenko_pastur_quantile(ratio, share), ratio) == pytest.approx(share, abs=1e-6)


def test_a_square_matrix_has_the_quarter_circle():
    """At ratio 1, singular values over sqrt n have density sqrt(4 - s^2) / pi on [0, 2]."""
    for s in (0.1, 0.7, 1.3, 1.9):
        quarter = (s * math.sqrt(4 - s * s) / 2 + 2 * math.asin(s / 2)) / math.pi
        assert marchenko_pastur_cdf(s * s, 1.0) == pytest.approx(quarter, abs=1e-12)


def test_the_median_is_the_published_one():
    """Gavish & Donoho 2014: the optimal factor 4 / sqrt 3 of square matrices is 2.858 times the median value."""
    assert 4 / math.sqrt(3) / math.sqrt(marchenko_pastur_median(1.0)) == pytest.approx(2.858, abs=5e-4)


@pytest.mark.parametrize(("m", "n"), [(800, 200), (300, 300), (100, 900)])
def test_quantiles_and_edge_are_those_of_a_drawn_matrix(m, n):
    s = np.linalg.svd(np.random.default_rng(0).standard_normal((m, n)), compute_uv=False)
    for share in (0.25, 0.5, 0.75):
        # eigenvalues repel each other: quantiles scatter by about 1 / min(m, n)
        assert np.quantile(s, share) == pytest.approx(noise_quantile(m, n, share), rel=0.02)
    assert s[0] == pytest.approx(marchenko_pastur_edge(m, n), rel=0.03)  # Tracy-Widom: min(m, n)^(-2/3)


def test_the_tracy_widom_quantile_is_that_of_chianis_gamma():
    """Chiani 2014 approximates the law by a shifted gamma of shape 46.446 and scale 0.186054; to 1 % this far out."""
    assert pytest.approx(gamma.ppf(0.999, 46.446, loc=-9.84801, scale=0.186054), rel=0.01) == TRACY_WIDOM_QUANTILE


def test_one_noise_matrix_in_six_is_over_the_bare_edge_and_none_of_400_over_ours():
    drawn = np.random.default_rng(1).standard_normal((400, 60, 40))
    largest = np.linalg.svd(drawn, compute_uv=False)[:, 0]
    assert 0.08 < (largest > marchenko_pastur_edge(60, 40)).mean() < 0.25
    assert (largest < noise_edge(60, 40)).all()


@given(sides, sides)
@examples
def test_a_matrix_and_its_transpose_are_alike_and_limits_are_in_order(m, n):
    assert noise_edge(m, n) == pytest.approx(noise_edge(n, m))
    assert noise_fence(m, n) == pytest.approx(noise_fence(n, m))
    assert noise_quantile(m, n, 0.75) < marchenko_pastur_edge(m, n) < noise_edge(m, n) <= noise_fence(m, n)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.01, math.nan])
def test_a_ratio_that_is_none_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio"):
        marchenko_pastur_median(ratio)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        marchenko_pastur_quantile(0.5, share)
