"""Moments of a stream against the whole, and the metrics made from them against those of the rows at hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_samples import DEGENERATE, drawn, planted
from torch.nn.functional import normalize

from overtone.spectral import (
    Matches,
    Moments,
    Sketch,
    embedding_metrics,
    modality_metrics,
    partition,
    partition_values,
    rows_among,
    sketched_metrics,
    sketched_pair_metrics,
    uniformity,
    uniformity_of_sphere,
)

examples = settings(max_examples=25, deadline=None)


def streamed(F, size):
    moments = Moments()
    for chunk in F.split(size):
        moments.update(chunk)
    return moments


def sketch(F, size):
    return Sketch(streamed(F, size), F[list(rows_among(len(F)))])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), st.integers(0, 2**31), st.floats(-100, 100))
@examples
def test_they_are_the_moments_of_the_whole(sizes, seed, offset):
    """Also far from zero, where a sum of squares less the mean's square would lose its digits."""
    moments, chunks = Moments(), [drawn(n, 5, seed + i, torch.float64) + offset for i, n in enumerate(sizes)]
    for chunk in chunks:
        moments.update(chunk)
    F = torch.cat(chunks).numpy()
    assert moments.samples == len(F)
    np.testing.assert_allclose(moments.mean, F.mean(0), rtol=1e-12, atol=1e-12)
    centred = F - F.mean(0)
    # entries within 8 eps of the largest, 2e-13 here, count as rounding
    np.testing.assert_allclose(moments.scatter, centred.T @ centred, rtol=1e-9, atol=1e-9)
    assert moments.squares == pytest.approx((F**2).sum(), rel=1e-12)


def test_spectra_are_those_of_numpy():
    F = drawn(300, 12, dtype=torch.float64) + 3
    spectra = streamed(F, 64).spectra()
    for view, G in (("raw", F.numpy()), ("centred", (F - F.mean(0)).numpy())):
        values, V = spectra[view]
        np.testing.assert_allclose(values, np.linalg.svd(G, compute_uv=False), rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(G @ V.numpy(), axis=0), values, rtol=1e-9)


def test_a_planted_signal_is_found_in_a_stream():
    F = planted(4000, 64, [400.0, 350.0, 300.0, 260.0, 240.0])
    s = streamed(F, 500).spectra()["raw"][0]
    parts = partition_values(s, len(F), 64)
    assert parts.strong.count + parts.weak.count == 5
    assert parts.sigma == pytest.approx(partition(F).sigma, rel=1e-4)  # float32


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_metrics_of_a_stream_are_those_of_the_rows(dtype, rel):
    x, y = (normalize(drawn(500, 24, seed, torch.float64) + 0.4).to(dtype) for seed in (1, 2))
    matches = Matches()
    for a, b in zip(x.split(77), y.split(77), strict=True):
        matches.update(a, b)
    # float32: chunks round otherwise than the whole
    assert sketched_metrics(sketch(x, 77)) == pytest.approx(modality_metrics(x), rel=rel, abs=rel)
    found = sketched_pair_metrics(sketch(x, 77), sketch(y, 77), matches)
    assert found == pytest.approx(embedding_metrics(x, y), rel=rel, abs=rel)


@pytest.mark.parametrize("name", DEGENERATE)
def test_they_are_finite_on_anything(name):
    F = normalize(DEGENERATE[name])
    assert all(math.isfinite(value) for value in sketched_metrics(sketch(F, 2)).values())


def test_a_constant_stream_has_no_centred_spectrum():
    """The chunks' means differ by rounding alone, which is no direction."""
    F = normalize(drawn(1, 32)).expand(1000, 32).contiguous()
    values, _ = streamed(F, 33).spectra()["centred"]
    assert (values == 0).all()


def test_another_width_is_refused():
    moments = streamed(drawn(4, 3), 2)
    with pytest.raises(ValueError, match="3 wide as those before, got 5"):
        moments.update(drawn(4, 5))


@pytest.mark.parametrize("samples", [1, 2, 4096, 4097, 10**6])
def test_rows_among_are_few_and_evenly_spaced(samples):
    rows = rows_among(samples)
    assert rows[0] == 0
    assert len(rows) == (samples if samples <= 4096 else len(range(0, samples, -(-samples // 4096))))
    assert len(rows) <= 4096


@pytest.mark.parametrize("width", [2, 8, 512])
def test_the_uniformity_of_the_sphere_is_that_of_many_points_on_it(width):
    x = normalize(drawn(4000, width, dtype=torch.float64))
    assert uniformity(x) == pytest.approx(uniformity_of_sphere(width), abs=0.02)  # 4,000 points
