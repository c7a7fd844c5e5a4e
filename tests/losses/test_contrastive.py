"""InfoNCE and SigLIP against loops over the formulas in plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from loss_samples import DEGENERATE, drawn, pairs

from overtone.losses import InfoNCE, SigLIP

LOSSES = [InfoNCE(), SigLIP()]
sizes = st.tuples(st.integers(1, 9), st.integers(1, 7))
seeds = st.integers(0, 2**31)
examples = settings(max_examples=25, deadline=None)


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


@given(sizes, seeds, st.floats(0.5, 100))
@examples
def test_info_nce_is_the_mean_of_both_directions(size, seed, scale):
    x, y = drawn(*size, seed, torch.float64), drawn(*size, seed + 1, torch.float64)
    total = 0.0
    for images, texts in ((x.tolist(), y.tolist()), (y.tolist(), x.tolist())):
        for i, a in enumerate(images):
            logits = [scale * cosine(a, b) for b in texts]
            total += math.log(sum(math.exp(logit - logits[i]) for logit in logits))
    assert float(InfoNCE()(x, y, scale)) == pytest.approx(total / (2 * len(x)), rel=1e-9, abs=1e-12)


@given(sizes, seeds, st.floats(0.5, 100), st.floats(-12, 2))
@examples
def test_siglip_is_the_sum_over_all_pairs(size, seed, scale, bias):
    x, y = drawn(*size, seed, torch.float64), drawn(*size, seed + 1, torch.float64)
    total = 0.0
    for i, a in enumerate(x.tolist()):
        for j, b in enumerate(y.tolist()):
            z = 1 if i == j else -1
            total += math.log1p(math.exp(-z * (scale * cosine(a, b) + bias)))
    assert float(SigLIP()(x, y, scale, bias)) == pytest.approx(total / len(x), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@given(size=sizes, seed=seeds)
@examples
def test_order_of_the_pairs_lengths_of_the_features_and_swapped_roles_do_not_count(loss, size, seed):
    x, y = drawn(*size, seed, torch.float64), drawn(*size, seed + 1, torch.float64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    lengths = drawn(len(x), 1, seed, torch.float64).exp()
    expected = loss(x, y, 20.0)
    torch.testing.assert_close(loss(x[order], y[order], 20.0), expected)
    torch.testing.assert_close(loss(x * lengths, y / lengths, 20.0), expected)
    torch.testing.assert_close(loss(y, x, 20.0), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_that_match_lose_less(loss):
    x, y = pairs()
    assert loss(x, y, 20.0) < loss(x, y.flip(0), 20.0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_loss_and_gradients_are_finite_on_anything(loss, name):
    x, y = (DEGENERATE[name].clone().requires_grad_() for _ in range(2))
    value = loss(x, y, 100.0)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_of_zeros_takes_no_gradient_and_spoils_no_other(loss):
    """It has no direction to turn."""
    x, y = drawn(4, 3), drawn(4, 3, 1)
    x[2] = 0
    x.requires_grad_()
    loss(x, y, 10.0).backward()
    assert (x.grad[2] == 0).all()
    assert 0 < x.grad.abs().max() < 100


def test_a_pair_alone_has_no_negatives():
    assert float(InfoNCE()(drawn(1, 4), drawn(1, 4, 1), 10.0)) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_low_precision_and_autocast_are_computed_in_float32(loss):
    x, y = (features.bfloat16() for features in pairs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = loss(x, y, torch.tensor(100.0))
    assert low.dtype == torch.float32
    assert torch.equal(low, loss(x.float(), y.float(), 100.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss):
    x, y = drawn(4, 3, 0, torch.float64).requires_grad_(), drawn(4, 3, 1, torch.float64).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(loss, (x, y, scale))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("x", "y"), [((4, 3), (4, 5)), ((4, 3), (3, 3)), ((4,), (4,)), ((0, 3), (0, 3))])
def test_what_is_no_pair_is_refused(loss, x, y):
    with pytest.raises((ValueError, TypeCheckError), match=r"image_features and text_features|text_features"):
        loss(torch.ones(x), torch.ones(y), 10.0)


def test_a_bias_common_to_all_logits_is_not_seen_by_a_softmax() -> None:
    x, y = drawn(6, 4), drawn(6, 4, 1)
    assert torch.equal(InfoNCE()(x, y, 10.0, logit_bias=torch.tensor(-10.0)), InfoNCE()(x, y, 10.0))
