"""Relaxed K-hot vectors against exact marginals, and the straight-through choice."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overtone.spectral.k_hot import bisected, straight_through, successive, top_k

scores = st.lists(st.floats(-8, 8), min_size=2, max_size=12).map(lambda v: torch.tensor(v, dtype=torch.float64))


@given(scores, st.data())
@settings(deadline=None)
@pytest.mark.parametrize("relaxed", [bisected, successive])
def test_sums_to_k(relaxed, scores: torch.Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    p = relaxed(scores, k, 0.7).detach()
    assert abs(float(p.sum()) - k) < 1e-9
    assert float(p.min()) >= 0
    if relaxed is bisected:  # k successive softmaxes may together pass 1
        assert float(p.max()) <= 1


@pytest.mark.parametrize("relaxed", [bisected, successive])
def test_a_low_temperature_chooses_the_largest(relaxed) -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 1.1, 0.0], dtype=torch.float64)
    expected = torch.tensor([0, 0, 1, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(relaxed(scores, 2, 0.01), expected, atol=1e-5, rtol=0)  # the floor of log(1 - p)


def exact_marginals(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Return P(i chosen) when a set of k has probability proportional to exp(sum of its scores) (SIMPLE, ICLR 2023)."""
    sets = list(itertools.combinations(range(len(scores)), k))
    weights = torch.stack([scores[list(s)].sum() for s in sets]).softmax(0)
    return torch.stack([sum(w for w, s in zip(weights, sets, strict=True) if i in s) for i in range(len(scores))])


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=8), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_close_to_the_exact_marginals(values: list[float], k: int) -> None:
    """Independent choices with the right sum on average stand in for choices of exactly k: nearly so, in one order."""
    scores = torch.tensor(values, dtype=torch.float64)
    found, exact = bisected(scores, k, 1.0), exact_marginals(scores, k)
    # the worst of these sizes, one score at 1 among -1, k = 1, is 0.14 apart by hand
    torch.testing.assert_close(found, exact, atol=0.15, rtol=0)
    higher = exact[:, None] > exact + 1e-9
    assert (found[:, None] > found)[higher].all()


def test_the_more_to_choose_from_the_closer() -> None:
    def distance(n: int) -> float:
        scores = torch.linspace(-1, 1, n, dtype=torch.float64)
        return float((bisected(scores, n // 2, 1.0) - exact_marginals(scores, n // 2)).abs().max())

    assert distance(4) > 1.5 * distance(8) > 2.0 * distance(14)


def test_the_first_of_successive_is_a_softmax() -> None:
    scores = torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(successive(scores, 1, 0.5), (scores / 0.5).softmax(-1))


@pytest.mark.parametrize("relaxed", [bisected, successive])
def test_gradients_are_those_of_finite_differences(relaxed) -> None:
    scores = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: relaxed(s, 3, 0.8), scores)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_gradients_are_finite_in_float32(scale: float) -> None:
    scores = (scale * torch.randn(130)).requires_grad_()
    bisected(scores, 16, 0.3)[:16].sum().backward()
    assert scores.grad.isfinite().all()


def test_of_equal_scores_the_first_are_chosen() -> None:
    assert top_k(torch.zeros(9), 4).tolist() == [0, 1, 2, 3]
    assert top_k(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]), 3).tolist() == [1, 3, 0]


def test_straight_through_is_one_with_the_relaxed_gradient() -> None:
    scores = torch.randn(8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64)
    chosen, g = straight_through(scores, 3, 0.5, "bisected")
    assert torch.equal(g.detach(), torch.ones(3, dtype=torch.float64))
    (through,) = torch.autograd.grad((g * weight).sum(), scores)
    (relaxed,) = torch.autograd.grad((bisected(scores, 3, 0.5)[chosen] * weight).sum(), scores)
    torch.testing.assert_close(through, relaxed)
