"""Every metric against its definition, written out in numpy float64, and on embeddings that have nothing to measure."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from spectral_samples import DEGENERATE, drawn, orthogonal

from overtone.spectral import (
    METRICS,
    alpha_req,
    embedding_metrics,
    hellinger_squared,
    mean_cosine,
    modality_metrics,
    participation_ratio,
    partition,
    rankme,
    subspace_overlap,
    top_energy,
    uniformity,
)

seeds = st.integers(0, 2**31)
examples = settings(max_examples=15, deadline=None)


def pair(samples=40, width=16, seed=0):
    """Two modalities that share some, each with a mean of its own."""
    shared = drawn(samples, width, seed, torch.float64)
    return tuple(shared + 0.7 * drawn(samples, width, seed + i, torch.float64) + i / 2 for i in (1, 2))


def definitions(image, text):
    """The definitions of METRICS in numpy, by name, but for those of the partition."""
    x, y = (F / np.linalg.norm(F, axis=1, keepdims=True) for F in (image.numpy(), text.numpy()))
    metrics, m = {}, len(x)
    for name, F in (("image", x), ("text", y)):
        others = ~np.eye(m, dtype=bool)
        metrics[f"{name}/cone"] = (F @ F.T)[others].mean()
        metrics[f"{name}/mean_energy"] = (F.mean(0) ** 2).sum()
        distances = ((F[:, None] - F[None]) ** 2).sum(-1)[others]
        metrics[f"{name}/uniformity"] = math.log(np.exp(-2 * distances).mean())
        for view, G in (("raw", F), ("centred", F - F.mean(0))):
            s = np.linalg.svd(G, compute_uv=False)
            p, ell = s / s.sum() + 1e-7, s**2
            metrics[f"{name}/{view}/rankme"] = math.exp(-(p * np.log(p)).sum())
            metrics[f"{name}/{view}/participation_ratio"] = ell.sum() ** 2 / (ell**2).sum()
            metrics[f"{name}/{view}/top_energy"] = ell[0] / ell.sum()
            i = np.arange(1, len(s) + 1)
            metrics[f"{name}/{view}/alpha_req"] = -np.polyfit(np.log(i), np.log(ell), 1, w=i**-0.5)[0]
    metrics["pair/alignment"] = ((x - y) ** 2).sum(1).mean()
    metrics["pair/matched_cosine"] = (x * y).sum(1).mean()
    metrics["pair/gap"] = np.linalg.norm(x.mean(0) - y.mean(0))
    for view, (F, G) in (("raw", (x, y)), ("centred", (x - x.mean(0), y - y.mean(0)))):
        (_, s, U), (_, t, W) = (np.linalg.svd(H, full_matrices=False) for H in (F, G))
        p, q, k = s / s.sum(), t / t.sum(), len(s) // 8
        metrics[f"pair/{view}/hellinger"] = math.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2)
        metrics[f"pair/{view}/subspace_overlap"] = ((U[:k] @ W[:k].T) ** 2).sum() / k
    return metrics


@given(seeds)
@examples
def test_they_are_what_they_are_defined_as(seed):
    image, text = pair(seed=seed)
    found = embedding_metrics(image, text)
    for name, expected in definitions(image, text).items():
        # float64 throughout, but small singular values come from squares and enter logarithms
        assert found[name] == pytest.approx(expected, rel=1e-6, abs=1e-7), name


def test_float32_gives_the_same_to_three_digits():
    image, text = pair(200, 24)
    double, single = embedding_metrics(image, text), embedding_metrics(image.float(), text.float())
    assert single == pytest.approx(double, rel=1e-3, abs=1e-4)


def test_the_parts_are_those_of_the_unit_rows():
    image, text = pair(200, 24)
    metrics = embedding_metrics(image, text)
    parts = partition(torch.nn.functional.normalize(image))
    for name in ("strong", "weak", "noise"):
        part = getattr(parts, name)
        assert metrics[f"image/raw/{name}_count"] == part.count
        assert metrics[f"image/raw/{name}_share"] == pytest.approx(part.share)
        assert metrics[f"image/raw/{name}_energy"] == pytest.approx(part.energy)
    assert metrics["image/raw/edge"] == pytest.approx(parts.edge)


def test_every_metric_has_its_definition():
    assert {name.split("/")[-1] for name in embedding_metrics(*pair())} == set(METRICS)


def test_one_matrix_has_the_metrics_of_its_side_of_a_pair():
    image, text = pair()
    both, alone = embedding_metrics(image, text), modality_metrics(image)
    assert alone == {name.removeprefix("image/"): both[name] for name in both if name.startswith("image/")}


@pytest.mark.parametrize("name", DEGENERATE)
def test_they_are_finite_on_anything(name):
    F = DEGENERATE[name]
    for image, text in ((F, F), (F, drawn(*F.shape, 9))):
        assert all(math.isfinite(value) for value in embedding_metrics(image, text).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("samples", [2, 500])
def test_a_constant_embedding_is_reported_as_collapsed(dtype, samples):
    metrics = modality_metrics(drawn(1, 32).expand(samples, 32).to(dtype))
    assert metrics["collapsed"] == 1
    assert metrics["cone"] == pytest.approx(1, abs=1e-5)
    assert metrics["raw/rankme"] == pytest.approx(1, abs=1e-3)
    assert metrics["centred/strong_count"] == metrics["centred/top_energy"] == 0  # rounding is no spectrum


def test_a_cone_is_not_collapsed():
    assert modality_metrics(drawn(500, 32) + 1.0)["collapsed"] == 0


def test_a_perfect_pair():
    x = drawn(50, 16)
    metrics = embedding_metrics(x, 3 * x)
    assert metrics["pair/alignment"] == pytest.approx(0, abs=1e-10)
    assert metrics["pair/gap"] == pytest.approx(0, abs=1e-6)
    assert metrics["pair/matched_cosine"] == pytest.approx(1)
    assert metrics["pair/raw/subspace_overlap"] == pytest.approx(1)
    assert metrics["pair/raw/hellinger"] == pytest.approx(0, abs=1e-3)


@given(seeds)
@examples
def test_turning_both_modalities_by_one_rotation_changes_nothing(seed):
    """So nothing may be claimed from it."""
    image, text = pair(seed=seed)
    Q = orthogonal(16, seed)
    assert embedding_metrics(image @ Q, text @ Q) == pytest.approx(embedding_metrics(image, text), rel=1e-5, abs=1e-7)


@given(seeds)
@examples
def test_the_order_of_the_samples_does_not_count(seed):
    image, text = pair(seed=seed)
    order = torch.randperm(len(image), generator=torch.Generator().manual_seed(seed))
    assert embedding_metrics(image[order], text[order]) == pytest.approx(
        embedding_metrics(image, text), rel=1e-5, abs=1e-7
    )


def test_ranks_lie_between_one_direction_and_all_alike():
    flat, one = torch.ones(20), torch.eye(20)[0]
    assert rankme(flat) == pytest.approx(20, rel=1e-3)  # the 1e-7 that RankMe adds
    assert rankme(one) == pytest.approx(1, rel=1e-3)
    assert participation_ratio(flat) == pytest.approx(20)
    assert participation_ratio(one) == top_energy(one) == pytest.approx(1)
    assert top_energy(flat) == pytest.approx(0.05)


@pytest.mark.parametrize("decay", [0.3, 1.0, 2.5])
def test_alpha_req_finds_a_power_law(decay):
    assert alpha_req(torch.arange(1.0, 200, dtype=torch.float64) ** (-decay / 2)) == pytest.approx(decay)


def test_hellinger_of_disjoint_spectra_is_one():
    assert float(hellinger_squared(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0]))) == pytest.approx(1)


def test_hellinger_has_a_finite_gradient_at_zero_values_and_at_equal_spectra():
    s, t = torch.tensor([2.0, 1.0, 0.0], requires_grad=True), torch.tensor([2.0, 0.0, 1.0], requires_grad=True)
    for value in (hellinger_squared(s, t), hellinger_squared(s, s)):
        gradients = torch.autograd.grad(value, (s, t), allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None)


def test_gradcheck_hellinger():
    s, t = (drawn(1, 6, i, torch.float64)[0].exp().requires_grad_() for i in (1, 2))
    torch.autograd.gradcheck(hellinger_squared, (s, t))


@given(seeds)
@examples
def test_the_overlap_is_the_projectors_distance(seed):
    """|Va Va^T - Vb Vb^T|_F^2 = 2k (1 - overlap), whatever the signs and the order of the vectors."""
    Va, Vb = orthogonal(9, seed)[:, :4], orthogonal(9, seed + 1)[:, :4]
    distance = (Va @ Va.T - Vb @ Vb.T).square().sum()
    torch.testing.assert_close(2 * 4 * (1 - subspace_overlap(Va, Vb)), distance)
    torch.testing.assert_close(subspace_overlap(-Va.flip(1), Vb), subspace_overlap(Va, Vb))


def test_uniformity_of_many_rows_is_that_of_a_sample():
    x = torch.nn.functional.normalize(drawn(9000, 8))
    assert uniformity(x) == pytest.approx(uniformity(x[:3000]), rel=0.01)  # thousands of rows, millions of pairs
    assert uniformity(x[:1]) == 0
    assert mean_cosine(x[:1]) == 1


@pytest.mark.parametrize(
    ("image", "text", "found"),
    [
        (torch.ones(4, 3), torch.ones(4, 5), r"\(4, 3\) and \(4, 5\)|embedding_metrics"),
        (torch.ones(4, 3), torch.ones(5, 3), r"\(4, 3\) and \(5, 3\)|embedding_metrics"),
        (torch.ones(0, 3), torch.ones(0, 3), "one sample or more"),
        (torch.ones(4, 3), torch.full((4, 3), torch.nan), "text must be finite, but 4 of 4 rows"),
    ],
)
def test_what_is_no_pair_is_refused(image, text, found):
    with pytest.raises((ValueError, TypeCheckError), match=found):
        embedding_metrics(image, text)


@pytest.mark.parametrize("samples", [8, 16, 17, 100])
def test_noise_less_its_mean_is_noise(samples):
    """The mean takes a sample: a zero that is no sign of a narrower encoder."""
    torch.manual_seed(samples)
    found = modality_metrics(torch.randn(samples, 256))
    assert found["raw/strong_count"] == found["centred/strong_count"] == 0
    assert found["centred/noise_count"] == samples - 1
