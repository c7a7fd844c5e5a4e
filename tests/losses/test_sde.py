"""SDE against its formulas in numpy float64 with a true SVD, its bound, and features that have no SVD's gradient."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from loss_samples import DEGENERATE, drawn, pairs

from overtone.losses import SDE, InfoNCE, SDEConfig, SigLIP
from overtone.losses.enhancement import Enhancement
from overtone.spectral import noise_edge, noise_fence, noise_quantile

MODES = ["perturb", "amplify"]
seeds = st.integers(0, 2**31)
examples = settings(max_examples=25, deadline=None)


def unit(F):
    return F / np.linalg.norm(F, axis=1, keepdims=True)


def limits(s, m, n):
    sigma = np.median(s) / noise_quantile(m, n, 0.5)
    return sigma * noise_edge(m, n), sigma * noise_fence(m, n)


def numpys_gains(s, m, n, alpha, e):
    """The gains as the reference lists them, and how many singular values are signal."""
    edge, fence = limits(s, m, n)
    strong, noise, r = s > fence, s <= edge, s / s[0]
    snr = (s[~noise] ** 2).sum() / (s[noise] ** 2).sum()
    weak_or_noise = np.where(noise, 1 - alpha * snr / (1 + snr), 1 - alpha * (1 - r))
    return np.where(strong, 1 + alpha * r * e, weak_or_noise), (~noise).sum()


def numpys_sde(x, y, scale, alpha, lam, e):
    """The loss of a first step, whose basis is the batch's own: F~ = U (S + D) V^T."""
    enhanced, spectra, bases = [], [], []
    k = x.shape[1] // 8
    for F, e_F in ((unit(x), e[0]), (unit(y), e[1])):
        U, s, Vh = np.linalg.svd(F, full_matrices=False)
        g, signal = numpys_gains(s, *F.shape, alpha, e_F)
        enhanced.append(unit((U * (s * g)) @ Vh))
        kept = 16 * math.ceil(max(signal, k) / 16)
        spectra.append(np.concatenate([s[:kept], np.full(len(s) - kept, np.sqrt((s[kept:] ** 2).mean()))]))
        bases.append((F, Vh[:k].T))
    logits = scale * enhanced[0] @ enhanced[1].T
    base = -np.mean([np.diag(lo - np.log(np.exp(lo).sum(1, keepdims=True))).mean() for lo in (logits, logits.T)])
    p, q = (s / s.sum() for s in spectra)
    hellinger = ((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2
    (F, V), (G, W) = bases
    subspace = 1 - ((F @ W) ** 2).sum() / ((F @ V) ** 2).sum() / 2 - ((G @ V) ** 2).sum() / ((G @ W) ** 2).sum() / 2
    return base + lam * (hellinger + subspace)


def perturbation(loss, step, width):
    return loss._perturbation(step, torch.zeros(1, width, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_step_is_the_formula_through_an_svd(mode, seed):
    x, y = pairs(60, 24, seed, torch.float64)
    loss = SDE(config=SDEConfig(mode=mode, seed=seed, alpha=(0.5, 0.05), lam=(1, 0.1)))  # each term shows
    expected = numpys_sde(x.numpy(), y.numpy(), 20.0, 0.5, 1.0, perturbation(loss, 0, 24))
    # float64 throughout; the basis comes from squares
    assert float(loss(x, y, 20.0)) == pytest.approx(expected, rel=1e-8)


def test_these_samples_have_all_three_parts():
    s = np.linalg.svd(unit(pairs(60, 24, 0, torch.float64)[0].numpy()), compute_uv=False)
    edge, fence = limits(s, 60, 24)
    assert all(part.any() for part in (s > fence, (s > edge) & (s <= fence), s <= edge))


@given(seeds, st.floats(0, 0.999), st.sampled_from(MODES), st.sampled_from(list(DEGENERATE)))
@examples
def test_the_enhancement_is_bounded_by_alpha(seed, alpha, mode, name):
    """|F~ - F|_F <= alpha |F|_F for any F, be the basis its own, another's or an average, and each gain is bounded."""
    F = drawn(20, 8, seed)
    enhancement = Enhancement(0.9, ("strong", "weak", "noise"))
    for known in (DEGENERATE[name] if DEGENERATE[name].shape[1] == 8 else F, *pairs(20, 8, seed)):
        enhancement.moment.update(known)
        enhancement.refresh()
        assert enhancement.slope.abs().max() <= 1 + 1e-6  # rounding of a ratio
        assert -1 - 1e-6 <= enhancement.noise_slope <= 0
        e = torch.ones(8) if mode == "amplify" else 2 * torch.rand(8, generator=torch.Generator().manual_seed(seed)) - 1
        change = enhancement(F, F @ enhancement.V, alpha, e) - F
        assert change.norm() <= (alpha + 1e-5) * F.norm()  # float32


@given(seeds)
@examples
def test_every_singular_value_moves_by_at_most_alpha_times_itself(seed):
    F = pairs(60, 24, seed, torch.float64)[0]
    enhancement = Enhancement(0.9, ("strong", "weak", "noise"))
    enhancement.moment.update(F)
    enhancement.refresh()
    e = torch.rand(24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    _, s, Vh = torch.linalg.svd(F)
    D = (enhancement(F, F @ enhancement.V, 0.4, e) @ Vh.T).norm(dim=0) - s
    assert (D.abs() <= 0.4 * s + 1e-7).all()


def test_hellingers_gradient_is_the_one_through_an_svd():
    """At a first step, whose basis is the batch's own; the SVD's gradient exists here, as no values coincide."""
    features = [F.requires_grad_() for F in pairs(60, 24, 0, torch.float64)]
    config = SDEConfig(alpha=(0, 0), lam=(1, 0), subspace=0)
    loss = SDE(Nothing(), config)
    ours = torch.autograd.grad(loss(*features, 1.0), features)
    spectra = []
    for F, modality in zip(features, (loss.image, loss.text), strict=True):
        s, kept = torch.linalg.svd(torch.nn.functional.normalize(F), full_matrices=False)[1], len(modality.slope)
        s = torch.cat([s[:kept], s[kept:].square().mean().sqrt().expand(24 - kept)])
        spectra.append(s / s.sum())
    expected = torch.autograd.grad((spectra[0].sqrt() - spectra[1].sqrt()).square().sum() / 2, features)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


class Nothing(torch.nn.Module):
    """A base that leaves the spectral loss alone."""

    def forward(self, image_features, text_features, logit_scale):
        return 0 * image_features.sum()


@pytest.mark.parametrize("base", [InfoNCE(), SigLIP()])
def test_gradcheck(base):
    """Of a replay: a step also moves the state."""
    loss = SDE(base)
    loss(*pairs(20, 8, 0, torch.float64), 5.0)
    x, y = (F.requires_grad_() for F in pairs(5, 8, 1, torch.float64))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def replayed(x, y, scale):
        with loss.replay():
            return loss(x, y, scale)

    torch.autograd.gradcheck(replayed, (x, y, scale))


@pytest.mark.parametrize("base", [InfoNCE(), SigLIP()])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_loss_and_gradients_are_finite_on_anything(base, mode, name):
    loss = SDE(base, SDEConfig(mode=mode, refresh=1))
    for other in (DEGENERATE[name], drawn(*DEGENERATE[name].shape, 5)):
        x, y = DEGENERATE[name].clone().requires_grad_(), other.clone().requires_grad_()
        for _ in range(2):
            value = loss(x, y, 20.0)
            value.backward()
            assert value.isfinite()
            assert x.grad.isfinite().all()
            assert y.grad.isfinite().all()


@given(seeds)
@examples
def test_turning_both_modalities_by_one_rotation_changes_no_term(seed):
    """So nothing may be claimed from it."""
    x, y = pairs(30, 8, seed, torch.float64)
    Q = torch.linalg.qr(drawn(8, 8, seed, torch.float64))[0]
    plain, turned = SDE(), SDE()
    plain(x, y, 20.0)
    turned(x @ Q, y @ Q, 20.0)
    for name in ("base", "hellinger", "subspace"):
        torch.testing.assert_close(turned.terms[name], plain.terms[name], rtol=1e-6, atol=1e-9)


def test_equal_modalities_have_no_spectral_loss():
    x, _ = pairs()
    loss = SDE()
    loss(x, x.clone(), 20.0)
    assert loss.terms["hellinger"] == 0
    assert float(loss.terms["subspace"]) == pytest.approx(0, abs=1e-6)


def test_crossed_subspaces_have_the_whole_spectral_loss():
    """Images vary where texts do not, and the other way round."""
    x, y = torch.zeros(40, 16), torch.zeros(40, 16)
    x[:, :2], y[:, 2:4] = drawn(40, 2), drawn(40, 2, 1)
    loss = SDE()
    loss(x, y, 20.0)
    assert float(loss.terms["subspace"]) == pytest.approx(1, abs=1e-6)


def test_nothing_enhanced_and_no_spectral_weight_is_the_base():
    x, y = pairs()
    for config in (SDEConfig(alpha=(0, 0), lam=(0, 0)), SDEConfig(parts=(), hellinger=0, subspace=0)):
        torch.testing.assert_close(SDE(config=config)(x, y, 20.0), InfoNCE()(x, y, 20.0))


@pytest.mark.parametrize("part", ["strong", "weak", "noise"])
def test_parts_are_enhanced_one_by_one(part):
    x, y = pairs(60, 24, 0)
    whole, one = SDE(), SDE(config=SDEConfig(parts=(part,)))
    for loss in (whole, one):
        loss(x, y, 20.0)
    signal = int((whole.image.slope != whole.image.noise_slope).sum())
    chosen = {"strong": whole.image.strong, "weak": ~whole.image.strong, "noise": torch.zeros(1, dtype=torch.bool)}
    chosen[part] = chosen[part].expand(len(whole.image.slope)).clone()
    chosen[part][signal:] = part == "noise"
    torch.testing.assert_close(one.image.slope, torch.where(chosen[part], whole.image.slope, 0))
    assert one.image.noise_slope == (whole.image.noise_slope if part == "noise" else 0)


def test_siglips_bias_goes_through():
    x, y = pairs()
    config = SDEConfig(alpha=(0, 0), lam=(0, 0))
    bias = torch.tensor(-3.0)
    torch.testing.assert_close(SDE(SigLIP(), config)(x, y, 20.0, logit_bias=bias), SigLIP()(x, y, 20.0, bias))


def test_in_eval_mode_it_is_the_base():
    x, y = pairs()
    loss = SDE().eval()
    assert torch.equal(loss(x, y, 20.0), InfoNCE()(x, y, 20.0))
    assert loss.step == 0
    assert not loss.terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    x, y = (F.to(dtype) for F in pairs())
    plain, under = SDE(), SDE()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = under(x, y, 20.0)
    assert low.dtype == torch.float32
    assert torch.equal(low, plain(x.float(), y.float(), 20.0))


def test_the_schedules_fall_from_first_to_last_and_stay():
    loss = SDE(config=SDEConfig(alpha=(0.8, 0.2), lam=(3.0, 1.0), steps=100))
    alphas, lams = ([schedule(step) for step in range(151)] for schedule in (loss.alpha, loss.lam))
    assert (alphas[0], alphas[50], alphas[100], alphas[150]) == pytest.approx((0.8, 0.5, 0.2, 0.2))
    assert (lams[0], lams[50], lams[100], lams[150]) == pytest.approx((3.0, 2.0, 1.0, 1.0))
    assert all(a >= b for values in (alphas, lams) for a, b in pairwise(values))


def test_terms_say_what_the_loss_was_made_of():
    x, y = pairs()
    loss = SDE(config=SDEConfig(hellinger=2.0, subspace=0.5))
    value = loss(x, y, 20.0)
    terms = {name: float(term) for name, term in loss.terms.items()}
    made = terms["base"] + terms["lam"] * (2 * terms["hellinger"] + 0.5 * terms["subspace"])
    assert float(value) == pytest.approx(made, rel=1e-6)
    assert not any(isinstance(term, torch.Tensor) and term.requires_grad for term in loss.terms.values())


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ({"mode": "shout"}, "mode"),
        ({"parts": ("loud",)}, "parts"),
        ({"alpha": (1.0, 0.1)}, r"alpha .* got \(1.0, 0.1\)"),
        ({"alpha": (0.1, 0.5)}, "alpha"),
        ({"alpha": (0.5, -0.1)}, "alpha"),
        ({"lam": (0.1, 0.5)}, "lam"),
        ({"lam": (math.inf, 0.5)}, "lam"),
        ({"steps": 0}, "steps"),
        ({"refresh": 0}, "refresh"),
        ({"hellinger": -1.0}, "hellinger"),
        ({"subspace": math.nan}, "subspace"),
        ({"decay": 0.0}, "decay"),
    ],
)
def test_settings_out_of_range_are_refused(setting, found):
    with pytest.raises((ValueError, TypeCheckError), match=found):
        SDE(config=SDEConfig(**setting))


@pytest.mark.parametrize(("x", "y"), [((4, 3), (4, 5)), ((4, 3), (3, 3)), ((4,), (4,)), ((0, 3), (0, 3))])
def test_what_is_no_pair_is_refused(x, y):
    with pytest.raises((ValueError, TypeCheckError), match=r"image_features and text_features|text_features"):
        SDE()(torch.ones(x), torch.ones(y), 10.0)


def test_leaving_an_old_basis_is_not_rewarded():
    """Between two refreshes the subspaces' deviation stays in [0, 1], however long one learns to lower it alone."""
    x, y = (drawn(64, 16, i).requires_grad_() for i in (1, 2))
    loss = SDE(config=SDEConfig(refresh=1000, hellinger=0.0))
    optimizer = torch.optim.Adam([x, y], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (loss(x, y, 1.0) - loss.base(x, y, 1.0)).backward()
        optimizer.step()
        assert 0 <= loss.terms["subspace"] <= 1
