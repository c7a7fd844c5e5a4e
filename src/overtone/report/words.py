"""How figures and verdicts are put into words, the same on the page and on the card."""

from collections.abc import Sequence
from typing import Literal

from .results import Comparison, Interval

Overall = Literal["helped", "hurt", "mixed", "cannot tell"]
HARMONIC_MEAN = "harmonic mean"
LEADS: dict[Overall, str] = {
    "helped": "Adapting helped",
    "hurt": "Adapting hurt",
    "mixed": "Adapting helped in one place and hurt in another",
    "cannot tell": "Cannot tell whether adapting helped",
}
_SPACE = "\u00a0"  # keeps a number and its unit on one line


def percent(share: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as ``61.2 %``."""
    return f"{100 * share:.{digits}f}{_SPACE}%"


def points(difference: float) -> str:
    """Return a difference in [-1, 1] as signed percentage points, ``+17.3``."""
    rounded = round(100 * difference, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:+.1f}".replace("-", "\u2212") if rounded else "0.0"


def percent_span(interval: Interval) -> str:
    """Return the bounds of a share as ``58.1 to 64.3``, in percent."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def point_span(interval: Interval) -> str:
    """Return the bounds of a difference as ``+14.0 to +20.5``, in percentage points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def overall(comparisons: Sequence[Comparison]) -> Overall:
    """Return the one verdict over all groups; the harmonic mean, made of the others, has no vote of its own."""
    votes = {comparison.verdict for comparison in comparisons if comparison.group != HARMONIC_MEAN}
    if {"helped", "hurt"} <= votes:
        return "mixed"
    if "helped" in votes:
        return "helped"
    return "hurt" if "hurt" in votes else "cannot tell"


def headline(comparisons: Sequence[Comparison]) -> str:
    """Return one sentence such as ``Adapting helped: 61 % → 78 % on seen classes; unseen classes: cannot tell.``"""
    verdict = overall(comparisons)
    groups = [comparison for comparison in comparisons if comparison.group != HARMONIC_MEAN]
    details = "; ".join(_detail(comparison, verdict) for comparison in groups)
    return f"{LEADS[verdict]}: {details}." if details else ""


def _detail(comparison: Comparison, verdict: Overall) -> str:
    """Return what happened on one group, with its own verdict where that differs from the overall one."""
    change = f"{percent(comparison.zero_shot.value, 0)} \u2192 {percent(comparison.adapted.value, 0)}"
    if comparison.verdict != verdict == "cannot tell" or comparison.verdict == verdict:
        return f"{change} on {comparison.group}"
    if comparison.verdict == "cannot tell":
        return f"{comparison.group}: cannot tell"
    return f"{change} on {comparison.group} ({comparison.verdict})"
