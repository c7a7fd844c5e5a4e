"""The patch transform as matrices against numpy's FFT in float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overtone.spectral.patch_dft import analysis_synthesis, frequencies

patches = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)
ROUNDING = 1e-12  # float64, sums of at most 343 terms of order 1


@pytest.mark.parametrize(
    ("patch", "count"), [((16,), 9), ((16, 16), 130), ((14, 14), 100), ((7,), 4), ((4, 4, 4), 36), ((1, 1), 1)]
)
def test_conjugate_twins_are_counted_once(patch: tuple[int, ...], count: int) -> None:
    assert len(frequencies(patch)) == count


@given(patches)
def test_every_bin_or_its_twin_is_there_once(patch: tuple[int, ...]) -> None:
    found = {tuple(v % s for v, s in zip(f, patch, strict=True)) for f in frequencies(patch).tolist()}
    assert len(found) == len(frequencies(patch))
    for f in itertools.product(*map(range, patch)):
        twin = tuple(-v % s for v, s in zip(f, patch, strict=True))
        assert len({f, twin} & found) == 1


def test_the_lowest_frequencies_come_first() -> None:
    radius = (frequencies((8, 12)) / torch.tensor([8.0, 12.0]).double()).square().sum(-1)
    assert (radius.diff() >= -ROUNDING).all()
    assert frequencies((8, 12))[0].tolist() == [0, 0]


@given(patches)
@settings(deadline=None)
def test_analysis_is_the_fourier_transform(patch: tuple[int, ...]) -> None:
    f = frequencies(patch)
    A, _ = analysis_synthesis(patch, f, torch.float64)
    x = np.random.default_rng(0).standard_normal(patch)
    spectrum = np.fft.fftn(x, norm="ortho")
    expected = np.array([spectrum[tuple(row)] for row in f.tolist()])
    real, imaginary = np.tensordot(A.numpy(), x.ravel(), axes=([2], [0])).T
    np.testing.assert_allclose(real + 1j * imaginary, expected, atol=ROUNDING)


@given(patches)
@settings(deadline=None)
def test_synthesis_undoes_analysis_and_energy_is_kept(patch: tuple[int, ...]) -> None:
    f = frequencies(patch)
    A, S = analysis_synthesis(patch, f, torch.float64)
    x = torch.randn(A.shape[-1], 3, dtype=torch.float64)
    Z = A.flatten(0, 1) @ x
    torch.testing.assert_close(S.flatten(1) @ Z, x, atol=ROUNDING, rtol=0)
    twice = torch.where(((2 * f) % torch.tensor(patch) == 0).all(-1), 1.0, 2.0)  # Parseval over bins and twins
    energy = (twice[:, None] * (A @ x).square().sum(1)).sum(0)
    torch.testing.assert_close(energy, x.square().sum(0), atol=ROUNDING, rtol=ROUNDING)
