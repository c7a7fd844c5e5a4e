"""What noise alone gives: the singular values of a matrix of m x n independent entries of variance 1.

The eigenvalues of X^T X / m follow the Marchenko-Pastur law of ratio n / m (Marchenko & Pastur 1967). A matrix and its
transpose have the same singular values, so that everything here is symmetric in m and n, and the law's ratio is
min / max, in (0, 1]. Singular values of noise of standard deviation sigma are sigma times those given here.
"""

import math

# The 0.999 quantile of the Tracy-Widom law of order 1 (1996): one matrix of noise in a thousand goes over.
TRACY_WIDOM_QUANTILE = 3.272


def marchenko_pastur_cdf(x: float, ratio: float) -> float:
    """Return the share of eigenvalues of X^T X / m below `x`, the integral of the density from (1 - sqrt ratio)^2.

    The density is sqrt((b - x) (x - a)) / (2 pi ratio x) between a and b = (1 -+ sqrt ratio)^2; its integral in closed
    form is ours. Raises ValueError for a ratio outside (0, 1].
    """
    a, b = _support(ratio)
    if x <= a:
        return 0.0
    if x >= b:
        return 1.0
    middle = math.sqrt((b - x) * (x - a)) + (a + b) / 2 * math.asin((2 * x - a - b) / (b - a))
    sine = ((a + b) * x - 2 * a * b) / (x * (b - a))
    inverse = math.sqrt(a * b) * math.asin(min(1.0, max(-1.0, sine)))  # rounding takes it out of [-1, 1]
    return (middle - inverse + math.pi * ratio) / (2 * math.pi * ratio)


def marchenko_pastur_quantile(ratio: float, share: float) -> float:
    """Return the eigenvalue of X^T X / m that a `share` in [0, 1] of them lies below.

    Raises ValueError for a share outside [0, 1] or a ratio outside (0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    low, high = _support(ratio)
    for _ in range(60):  # halvings: beyond a float's precision
        middle = (low + high) / 2
        low, high = (middle, high) if marchenko_pastur_cdf(middle, ratio) < share else (low, middle)
    return (low + high) / 2


def marchenko_pastur_median(ratio: float) -> float:
    """Return the median eigenvalue of X^T X / m, by which a noise scale is read off data (Gavish & Donoho 2014)."""
    return marchenko_pastur_quantile(ratio, 0.5)


def noise_quantile(m: float, n: float, share: float) -> float:
    """Return the singular value of noise that a `share` in [0, 1] of the min(m, n) lies below."""
    return math.sqrt(max(m, n) * marchenko_pastur_quantile(min(m, n) / max(m, n), share))


def marchenko_pastur_edge(m: float, n: float) -> float:
    """Return sqrt m + sqrt n, where the law's upper edge lies: the largest singular value of noise as m and n grow."""
    return math.sqrt(m) + math.sqrt(n)


def noise_edge(m: float, n: float) -> float:
    """Return the edge that the largest singular value of noise stays below in 999 of 1000 finite matrices (ours).

    It scatters about the Marchenko-Pastur edge by the Tracy-Widom law and is over it in one matrix of six: an edge
    without a margin would see signal there. Centre and scale are Ma's (Bernoulli 2012), good from small matrices on.
    """
    m, n = max(m, 1.0) - 0.5, max(n, 1.0) - 0.5
    edge = marchenko_pastur_edge(m, n)
    return math.sqrt(edge**2 + TRACY_WIDOM_QUANTILE * edge * (m**-0.5 + n**-0.5) ** (1 / 3))


def noise_fence(m: float, n: float) -> float:
    """Return the Tukey fence Q3 + 1.5 IQR of the singular values of noise, at least its edge (reconstruction).

    The quartiles are the law's, so that signal in the data does not move them; of the singular values and not of their
    squares, whose fence would lie below the edge of a square matrix. With fewer than four rows or columns the margin
    of the edge is wider than the fence.
    """
    first, third = (noise_quantile(m, n, share) for share in (0.25, 0.75))
    return max(third + 1.5 * (third - first), noise_edge(m, n))


def _support(ratio: float) -> tuple[float, float]:
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is the smaller side over the larger and lies in (0, 1], got {ratio}")
    return (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
