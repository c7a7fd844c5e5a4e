"""Singular values by the Gram matrix against numpy's SVD in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from spectral_samples import DEGENERATE, drawn, orthogonal

from overtone.spectral import gram, principal_basis, singular_values

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
seeds = st.integers(0, 2**31)
examples = settings(max_examples=40, deadline=None)


def numpys(features):
    return np.linalg.svd(features.detach().double().numpy(), compute_uv=False)


@given(sizes, seeds)
@examples
def test_they_are_numpys(size, seed):
    F = drawn(*size, seed, torch.float64)
    expected = numpys(F)
    # squaring halves the digits: sqrt(64 eps) of the largest, where the small ones become zero
    np.testing.assert_allclose(singular_values(F), expected, atol=1.2e-7 * expected[0])
    np.testing.assert_allclose(singular_values(F.float()), expected, atol=8e-6 * expected[0])


def test_float32_is_right_to_five_digits_where_values_are_not_tiny():
    F = drawn(200, 64)
    np.testing.assert_allclose(singular_values(F), numpys(F), rtol=1e-5)


@given(sizes, seeds, st.sampled_from([1e-30, 1e-18, 1e-3, 1e3, 1e18, 1e30]))
@examples
def test_they_scale_with_the_features(size, seed, scale):
    """Also where the squares leave float32's range."""
    F = drawn(*size, seed)
    s = singular_values(F)
    torch.testing.assert_close(singular_values(scale * F) / scale, s, atol=8e-6 * float(s[0]), rtol=1e-4)


@given(sizes, seeds)
@examples
def test_rotations_of_samples_or_dimensions_leave_them(size, seed):
    F = drawn(*size, seed, torch.float64)
    s, bound = singular_values(F), 2.4e-7 * float(numpys(F)[0])  # sqrt(64 eps), twice
    torch.testing.assert_close(singular_values(F @ orthogonal(size[1], seed)), s, atol=bound, rtol=0)
    torch.testing.assert_close(singular_values(orthogonal(size[0], seed) @ F), s, atol=bound, rtol=0)
    torch.testing.assert_close(singular_values(F.T), s, atol=bound, rtol=0)


@pytest.mark.parametrize("name", DEGENERATE)
def test_values_and_gradients_are_finite_where_an_svd_has_none(name):
    F = DEGENERATE[name].clone().requires_grad_()
    s = singular_values(F)
    np.testing.assert_allclose(s.detach(), numpys(F), atol=8e-6 * max(1.0, numpys(F)[0]))
    s.sum().backward()
    assert F.grad.isfinite().all()


@pytest.mark.parametrize(("samples", "width"), [(64, 512), (4096, 64), (512, 1024), (1200, 1200)])
def test_a_constant_has_one_value_whatever_its_size(samples, width):
    for row in (drawn(1, width), torch.full((1, width), 0.1)):
        s = singular_values(row.expand(samples, width))
        assert s[0] > 0
        assert (s[1:] == 0).all()


def test_gradients_are_those_of_the_svd():
    F = drawn(9, 5, 3, torch.float64).requires_grad_()
    weights = torch.arange(1.0, 6, dtype=torch.float64)
    (ours,) = torch.autograd.grad((weights * singular_values(F)).sum(), F)
    U, _, Vh = torch.linalg.svd(F.detach(), full_matrices=False)
    torch.testing.assert_close(ours, (U * weights) @ Vh)  # d s_i = u_i v_i^T


@pytest.mark.parametrize("size", [(6, 4), (4, 6)])
def test_gradcheck(size):
    torch.autograd.gradcheck(singular_values, drawn(*size, 1, torch.float64).requires_grad_())


def test_the_basis_is_the_right_singular_one():
    F = drawn(40, 7, dtype=torch.float64)
    s, V = principal_basis(gram(F))
    torch.testing.assert_close(V.T @ V, torch.eye(7, dtype=torch.float64))
    np.testing.assert_allclose(s, numpys(F))
    torch.testing.assert_close((F @ V).norm(dim=0), s)


def test_autocast_does_not_touch_the_spectrum():
    F = drawn(128, 32).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, full = singular_values(F), singular_values(F.float())
        assert (gram(F).dtype, low.dtype) == (torch.float32, torch.float64)
    assert torch.equal(low, full)
    np.testing.assert_allclose(full, numpys(F.float()), rtol=1e-5)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (torch.zeros(0, 4), r"\(0, 4\)"),
        (torch.zeros(4, 0), r"\(4, 0\)"),
        (torch.tensor([[1.0, 2.0], [torch.nan, 1.0], [torch.inf, 1.0]]), "2 of 3 rows"),
        (torch.zeros(4, 4, dtype=torch.int64), r"floating-point|i64"),
    ],
)
def test_what_has_no_spectrum_is_refused(features, found):
    with pytest.raises((ValueError, TypeCheckError), match=found):
        singular_values(features)
