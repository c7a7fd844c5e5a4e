"""Honest figures: 95 % intervals, paired differences and the verdict drawn from them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .results import Comparison, Interval, Verdict

Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
DRAWS = 2000
# Added to each of the four paired outcomes before drawing (Agresti and Min, 2005). Without it, three pictures that
# all changed for the better would have the interval [1, 1]; with it the interval is as wide as three pictures deserve.
PSEUDO_COUNT = 0.5
Correct = npt.NDArray[np.bool_]
Pair = tuple[Correct, Correct]


def wilson(correct: int, total: int) -> Interval:
    """Return the share ``correct / total`` in [0, 1] with Wilson's score interval (Wilson, 1927).

    Wilson's, and not the normal interval, because it stays within [0, 1] and keeps a width at 0 and at 1.
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"an accuracy needs 0 <= correct <= total and total >= 1, got {correct} of {total}")
    share = correct / total
    shrink = 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / shrink
    half = Z * np.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / shrink
    return Interval(share, max(0.0, min(share, float(centre - half))), min(1.0, max(share, float(centre + half))))


def harmonic_mean(a: float, b: float) -> float:
    """Return ``2ab / (a + b)`` of two accuracies in [0, 1]; 0 when both are 0."""
    return 2 * a * b / (a + b) if a + b > 0 else 0.0


def paired_difference(zero_shot_correct: Correct, adapted_correct: Correct, seed: int = 0) -> Interval:
    """Return adapted - zero-shot accuracy in [-1, 1] on the same pictures, with its paired-bootstrap interval.

    A picture has one of four outcomes: right both times, only before, only after, never. Drawing pictures with
    replacement is drawing the four counts from a multinomial, which is what happens here, 2,000 times at once and
    with half a picture added to each outcome (see ``PSEUDO_COUNT``).
    """
    counts = _outcomes(zero_shot_correct, adapted_correct)
    before, after = _resampled(counts, np.random.default_rng(seed))
    return _interval(float((counts[2] - counts[1]) / counts.sum()), after - before)


def compare(group: str, zero_correct: Correct, adapted_correct: Correct) -> Comparison:
    """Compare two models picture by picture on one group of test pictures.

    The verdict is ``helped`` if the whole 95 % interval of the difference lies above 0, ``hurt`` if the whole interval
    lies below 0, and ``cannot tell`` otherwise.
    """
    difference = paired_difference(zero_correct, adapted_correct)
    before, after = np.asarray(zero_correct, bool), np.asarray(adapted_correct, bool)
    return Comparison(
        group=group,
        pictures=before.size,
        zero_shot=wilson(int(before.sum()), before.size),
        adapted=wilson(int(after.sum()), after.size),
        difference=difference,
        verdict=verdict_of(difference),
    )


def compare_harmonic(seen: Pair, unseen: Pair, seed: int = 0) -> Comparison:
    """Compare the harmonic means H = 2bn / (b + n) of the accuracies on seen and on unseen classes.

    ``seen`` and ``unseen`` are (zero-shot correct, adapted correct). The two groups are drawn independently, each
    picture with both its outcomes, so that all three intervals come from the same draws. The verdict is that of
    ``compare``.
    """
    generator = np.random.default_rng(seed)
    seen_counts, unseen_counts = _outcomes(*seen), _outcomes(*unseen)
    draws = zip(_resampled(seen_counts, generator), _resampled(unseen_counts, generator), strict=True)
    before, after = (_harmonic_means(b, n) for b, n in draws)
    (seen_before, seen_after), (unseen_before, unseen_after) = _accuracies(seen_counts), _accuracies(unseen_counts)
    value_before = harmonic_mean(float(seen_before), float(unseen_before))
    value_after = harmonic_mean(float(seen_after), float(unseen_after))
    difference = _interval(value_after - value_before, after - before)
    return Comparison(
        group="harmonic mean",
        pictures=int(seen_counts.sum() + unseen_counts.sum()),
        zero_shot=_interval(value_before, before),
        adapted=_interval(value_after, after),
        difference=difference,
        verdict=verdict_of(difference),
    )


def verdict_of(difference: Interval) -> Verdict:
    """Return what an interval of adapted - zero-shot says (the rule is in ``compare``)."""
    if difference.low > 0:
        return "helped"
    return "hurt" if difference.high < 0 else "cannot tell"


def _outcomes(zero_shot_correct: Correct, adapted_correct: Correct) -> npt.NDArray[np.int64]:
    """Count the pictures that were right (both times, only before, only after, never)."""
    before, after = np.asarray(zero_shot_correct, bool), np.asarray(adapted_correct, bool)
    if before.ndim != 1 or before.shape != after.shape:
        raise ValueError(f"both models must be judged on the same pictures, got shapes {before.shape}, {after.shape}")
    if before.size == 0:
        raise ValueError("a comparison needs at least one picture")
    return np.array(
        [np.sum(before & after), np.sum(before & ~after), np.sum(~before & after), np.sum(~before & ~after)]
    )


def _resampled(counts: npt.NDArray[np.int64], generator: np.random.Generator) -> tuple[Any, Any]:
    """Return ``DRAWS`` redrawn accuracies, zero-shot and adapted."""
    smooth = counts + PSEUDO_COUNT
    return _accuracies(generator.multinomial(round(smooth.sum()), smooth / smooth.sum(), size=DRAWS))


def _accuracies(counts: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """Return the zero-shot and the adapted accuracy of outcome counts (..., 4)."""
    total = counts.sum(-1)
    return (counts[..., 0] + counts[..., 1]) / total, (counts[..., 0] + counts[..., 2]) / total


def _harmonic_means(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``harmonic_mean`` of each pair."""
    return 2 * a * b / np.maximum(a + b, np.finfo(float).tiny)


def _interval(value: float, draws: npt.NDArray[np.float64]) -> Interval:
    """Return ``value`` with the central 95 % of ``draws``, widened to hold the value where the draws just miss it."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))
