"""Fourier features: the kernel they stand for, and what keeps it exact."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from overtone.nn import FourierFeatures, grid

dimensions = st.integers(1, 4)
seeds = st.integers(0, 10_000)


def encoding(d: int, seed: int) -> FourierFeatures:
    return FourierFeatures.random(d, 16, std=3.0, seed=seed).double()


def points(d: int, seed: int) -> Tensor:
    return torch.randn(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(dimensions, seeds, st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_inner_products_do_not_change_with_a_shift(d: int, seed: int, shift: float) -> None:
    gamma, (v, w, direction) = encoding(d, seed), points(d, seed)
    moved = gamma(v + shift * direction) @ gamma(w + shift * direction)
    assert_close(moved, gamma(v) @ gamma(w), atol=1e-9, rtol=0)


@given(dimensions, seeds)
@settings(max_examples=40, deadline=None)
def test_the_inner_product_is_the_sum_of_cosines(d: int, seed: int) -> None:
    """h(D) = sum_j cos 2 pi b_j.D (Tancik et al. 2020, eq. 7), computed here in plain Python."""
    gamma, (v, w, _) = encoding(d, seed), points(d, seed)
    difference = (v - w).tolist()
    h = sum(
        math.cos(2 * math.pi * sum(b * x for b, x in zip(row, difference, strict=True)))
        for row in gamma.frequencies.tolist()
    )
    assert (gamma(v) @ gamma(w)).item() == pytest.approx(h, abs=1e-9)
    assert (gamma(v) @ gamma(v)).item() == pytest.approx(16)


def test_cosines_come_first_then_sines() -> None:
    gamma = FourierFeatures(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert_close(gamma(torch.tensor([0.25, 0.125])), torch.tensor([0.0, 0.0, 1.0, 1.0]), atol=1e-6, rtol=0)


def test_shapes() -> None:
    gamma = FourierFeatures.random(3, 5, std=1.0)
    assert gamma.out_dim == 10
    assert gamma(torch.zeros(3)).shape == (10,)
    assert gamma(torch.zeros(2, 0, 4, 3)).shape == (2, 0, 4, 10)


def test_the_seed_gives_the_frequencies_which_are_saved() -> None:
    before = torch.get_rng_state()
    one, other, third = (FourierFeatures.random(2, 500, std=4.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.frequencies, other.frequencies)
    assert not torch.equal(one.frequencies, third.frequencies)
    assert one.frequencies.std().item() == pytest.approx(4, rel=0.1)
    assert list(one.state_dict()) == ["frequencies"]
    assert not list(one.parameters())
    third.load_state_dict(one.state_dict())
    assert torch.equal(one.frequencies, third.frequencies)


def test_autocast_does_not_touch_the_phase() -> None:
    gamma, v = FourierFeatures.random(2, 32, std=10.0), torch.rand(50, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gamma(v)
    assert torch.equal(inside, gamma(v))


def test_grid_holds_the_centres_of_the_cells() -> None:
    assert_close(grid(4), torch.tensor([[0.125], [0.375], [0.625], [0.875]]))
    expected = [[(i + 0.5) / 2, (j + 0.5) / 3] for i in range(2) for j in range(3)]  # the last axis fastest
    assert_close(grid(2, 3), torch.tensor(expected))
    assert grid(2, 3, 4).shape == (24, 3)
    assert_close(grid(6, 5).mean(0), torch.tensor([0.5, 0.5]))


def test_positions_on_a_finer_grid_are_the_same_places() -> None:
    """Pairs of a finer grid's centres have the coarse centre between them: encodings of any resolution fit together."""
    assert_close(grid(8).view(4, 2).mean(1, keepdim=True), grid(4))
