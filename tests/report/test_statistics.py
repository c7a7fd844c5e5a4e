import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from overtone.report.results import Interval
from overtone.report.statistics import (
    compare,
    compare_harmonic,
    harmonic_mean,
    paired_difference,
    verdict_of,
    wilson,
)

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60).map(lambda rows: np.array(rows).T)


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_agrees_with_scipy(case):
    correct, total = case
    reference = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    interval = wilson(correct, total)
    # Both are the closed form in float64, in another order of operations.
    assert interval.low == pytest.approx(reference.low, abs=1e-12)
    assert interval.high == pytest.approx(reference.high, abs=1e-12)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(correct, total):
    with pytest.raises(ValueError, match="accuracy needs"):
        wilson(correct, total)


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_between_and_is_symmetric(a, b):
    mean = harmonic_mean(a, b)
    assert min(a, b) - 1e-12 <= mean <= max(a, b) + 1e-12
    assert mean == harmonic_mean(b, a)


def test_harmonic_mean_of_published_figures():
    assert harmonic_mean(0.7803, 0.7133) == pytest.approx(0.7453, abs=5e-5)  # FARL on ImageNet, to four digits
    assert harmonic_mean(0, 0) == 0


@pytest.mark.parametrize("seed", range(3))
def test_bootstrap_agrees_with_the_normal_interval(seed):
    pictures = 4000
    generator = np.random.default_rng(100 + seed)
    before, after = generator.random((2, pictures)) < [[0.6], [0.65]]
    change = after.astype(float) - before
    error = change.std(ddof=1) / np.sqrt(pictures)
    interval = paired_difference(before, after, seed)
    assert interval.value == pytest.approx(change.mean())
    # A 2.5 % quantile of 2,000 normal draws has the standard error sqrt(0.025 * 0.975 / 2000) / 0.0584 = 0.06 of the
    # draws' deviation; four of them, and two pictures for the grid of the counts and the added pseudo-counts.
    tolerance = 4 * 0.06 * error + 2 / pictures
    assert interval.low == pytest.approx(change.mean() - 1.96 * error, abs=tolerance)
    assert interval.high == pytest.approx(change.mean() + 1.96 * error, abs=tolerance)


def test_interval_holds_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(0)
    trials, pictures = 300, 80
    hits = 0
    for trial in range(trials):
        hardness = generator.random(pictures)  # shared, so that the two models are right on the same pictures
        noise = generator.random((2, pictures)) < 0.2
        interval = paired_difference((hardness < 0.5) ^ noise[0], (hardness < 0.7) ^ noise[1], trial)
        hits += interval.low <= 0.6 * 0.2 <= interval.high
    # 95 % of 300 with a standard deviation of 1.3 points; four of them below, and nothing against being cautious.
    assert hits / trials > 0.95 - 4 * 0.013


@given(outcomes, st.integers(0, 10))
def test_difference_is_ordered_bounded_and_repeats(pair, seed):
    interval = paired_difference(*pair, seed)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval == paired_difference(*pair, seed)


@given(outcomes)
def test_difference_ignores_the_order_of_pictures(pair):
    assert paired_difference(*pair) == paired_difference(*pair[:, ::-1])


@given(outcomes)
def test_swapping_the_models_turns_the_difference_round(pair):
    there, back = paired_difference(*pair), paired_difference(*pair[::-1])
    assert there.value == pytest.approx(-back.value)
    # The draws differ, so the bounds agree up to their own error: a standard deviation is at most 1 / sqrt(n), a
    # quantile's error at most 0.06 of it (four for each side), and the counts stand on a grid of 1 / (n + 2).
    pictures = pair.shape[1]
    tolerance = 2 * 4 * 0.06 / np.sqrt(pictures) + 2 / (pictures + 2)
    assert there.low == pytest.approx(-back.high, abs=tolerance)
    assert there.high == pytest.approx(-back.low, abs=tolerance)


def test_a_handful_of_pictures_cannot_tell():
    assert compare("seen classes", np.zeros(3, bool), np.ones(3, bool)).verdict == "cannot tell"
    assert compare("seen classes", np.zeros(30, bool), np.ones(30, bool)).verdict == "helped"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "helped"), (-0.2, -0.01, "hurt"), (-0.1, 0.1, "cannot tell"), (0, 0.2, "cannot tell")],
)
def test_verdict_needs_the_whole_interval(low, high, verdict):
    assert verdict_of(Interval((low + high) / 2, low, high)) == verdict


@given(outcomes)
def test_compare_agrees_with_its_parts(pair):
    comparison = compare("seen classes", *pair)
    assert comparison.pictures == pair.shape[1]
    assert comparison.zero_shot == wilson(int(pair[0].sum()), pair.shape[1])
    assert comparison.difference == paired_difference(*pair)
    assert comparison.verdict == verdict_of(comparison.difference)


@given(outcomes, outcomes)
def test_harmonic_comparison_is_ordered_and_exact(seen, unseen):
    comparison = compare_harmonic(tuple(seen), tuple(unseen))
    before = harmonic_mean(seen[0].mean(), unseen[0].mean())
    after = harmonic_mean(seen[1].mean(), unseen[1].mean())
    assert comparison.zero_shot.value == pytest.approx(before)
    assert comparison.difference.value == pytest.approx(after - before)
    for interval in (comparison.zero_shot, comparison.adapted, comparison.difference):
        assert interval.low <= interval.value <= interval.high
    assert comparison.pictures == seen.shape[1] + unseen.shape[1]


def test_harmonic_interval_agrees_with_the_delta_method():
    generator = np.random.default_rng(5)
    pictures, b, n = 5000, 0.8, 0.5
    seen = generator.random((2, pictures)) < b
    unseen = generator.random((2, pictures)) < n
    comparison = compare_harmonic(tuple(seen), tuple(unseen))
    b, n = seen[0].mean(), unseen[0].mean()
    slopes = 2 * n**2 / (b + n) ** 2, 2 * b**2 / (b + n) ** 2  # dH/db, dH/dn
    error = np.sqrt((slopes[0] ** 2 * b * (1 - b) + slopes[1] ** 2 * n * (1 - n)) / pictures)
    tolerance = 4 * 0.06 * error + 2 / pictures  # as for the paired difference
    assert comparison.zero_shot.low == pytest.approx(comparison.zero_shot.value - 1.96 * error, abs=tolerance)
    assert comparison.zero_shot.high == pytest.approx(comparison.zero_shot.value + 1.96 * error, abs=tolerance)


def test_empty_groups_and_different_pictures_are_refused():
    some, none = np.ones(3, bool), np.ones(0, bool)
    with pytest.raises(ValueError, match="at least one picture"):
        compare("unseen classes", none, none)
    with pytest.raises(ValueError, match="at least one picture"):
        compare_harmonic((some, some), (none, none))
    with pytest.raises(ValueError, match="same pictures"):
        paired_difference(some, np.ones(4, bool))
