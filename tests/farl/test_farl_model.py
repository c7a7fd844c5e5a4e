"""The model's loss, gradients and settings."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from farl_samples import BACKBONES, clip_backbone, hand_backbone, model_of, moved, states
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize
from torch.testing import assert_close

from overtone.farl import FarlConfig, FarlModel

LABELS = torch.tensor([0, 1, 2, 0, 1])
every = pytest.mark.parametrize("injection", ["by_modality", "by_depth", "plain"])


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[range(len(labels)), labels]).mean())


@every
@pytest.mark.parametrize(("alpha", "consistency"), [(0.7, 0.5), (0.0, 2.0), (1.0, 0.0)])
@torch.no_grad()
def test_loss_equals_the_formula(injection: str, alpha: float, consistency: float) -> None:
    """In float64 from the features: L = a CE_c + (1-a) CE_r + l (1 - cos image) + l (1 - cos text)."""
    backbone = hand_backbone()
    model = moved(model_of(backbone, injection, alpha=alpha, consistency=consistency))
    images, texts = states(backbone, injection)
    streams = model.read(images)
    mean = None if streams is None else tuple(s.mean(0, keepdim=True) for s in streams)
    tensors = (*model.image_features(images, streams), model.text_features(texts, mean), images.frozen, texts.frozen)
    f_c, f_r, w, f_0, w_0 = (tensor.double().numpy() for tensor in tensors)
    labels = LABELS.numpy()
    expected = alpha * cross_entropy(10.0 * f_c @ w.T, labels) + (1 - alpha) * cross_entropy(10.0 * f_r @ w.T, labels)
    expected += consistency * ((1 - (f_c * f_0).sum(1)).mean() + (1 - (w * w_0).sum(1)).mean())
    assert model(images, texts, LABELS)["loss"].item() == pytest.approx(expected, rel=1e-5)


@every
@torch.no_grad()
def test_features_have_unit_length(injection: str) -> None:
    backbone = clip_backbone()
    model = moved(model_of(backbone, injection))
    images, texts = states(backbone, injection)
    features = (*model.image_features(images, model.read(images)), model.text_features(texts, model.mean_streams))
    for f in (*features, images.frozen, texts.frozen):
        assert_close(f.norm(dim=-1), torch.ones(len(f)))


@torch.no_grad()
def test_token_feature_is_the_projected_mean_of_the_normed_tokens() -> None:
    """At first the head is the tower's own projection (MMRL++), so a CLS-like token would give the tower's feature."""
    backbone = clip_backbone()
    model = model_of(backbone, "plain")
    assert torch.equal(model.head.weight, backbone.image.projection.weight)
    images, _ = states(backbone, "plain")
    tower, states_ = backbone.image, images.tokens
    for layer, new in enumerate(model.tokens.for_image(None), start=1):
        states_ = tower.blocks(
            torch.cat([states_[:, :1], new.expand(5, -1, -1), states_[:, 1:]], 1), None, layer, layer + 1
        )
        last, states_ = states_[:, 1:4], torch.cat([states_[:, :1], states_[:, 4:]], 1)
    norm = tower.norm
    centred = last - last.mean(-1, keepdim=True)
    normed = centred / (last.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias
    _, f_r = model.image_features(images, None)
    assert_close(f_r, normalize(normed.mean(1) @ model.head.weight.T, dim=-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@every
def test_gradients_reach_everything_trainable_and_nothing_frozen(name: str, injection: str) -> None:
    backbone = BACKBONES[name]()
    model = model_of(backbone, injection)
    images, texts = states(backbone, injection)
    model(images, texts, LABELS)["loss"].backward()
    still = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {key.split(".")[1] for key in still} <= {"query_structure", "query_style"}  # behind the zero of W_S and W_T
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.zero_grad()
    model(images, texts, LABELS)["loss"].backward()
    still = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {key for key in still if not key.endswith("in_proj_bias")}
    assert not any(
        p.requires_grad or p.grad is not None for p in (*backbone.image.parameters(), *backbone.text.parameters())
    )


@every
def test_the_backbone_is_no_part_of_the_state(injection: str) -> None:
    model = model_of(hand_backbone(), injection)
    assert {key.split(".")[0] for key in model.state_dict()} == {"head", "tokens", "mean_structure", "mean_style"}
    assert all(p.requires_grad for p in model.parameters())
    assert not model.train().backbone.image.training  # dropout and batch statistics of the backbone stay off


@every
def test_prototypes_join_the_text_of_seen_classes(injection: str) -> None:
    """As numpy has it; the loss is that of logits with them, and nothing is learned of them."""
    backbone = hand_backbone()
    plain, own = model_of(backbone, injection), model_of(backbone, injection, prototype=0.5)
    images, texts = states(backbone, injection)
    assert_close(own(images, texts, LABELS)["loss"], plain(images, texts, LABELS)["loss"])  # none are set
    w = normalize(torch.randn(3, 10), dim=-1)
    assert torch.equal(plain.with_prototypes(w), w)
    own.prototypes = normalize(torch.randn(3, 10), dim=-1)
    expected = w.numpy() + 0.5 * own.prototypes.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_close(own.with_prototypes(w), torch.from_numpy(expected))
    assert_close(own.with_prototypes(w[[2, 0]], [2, 0]), torch.from_numpy(expected[[2, 0]]))
    assert own(images, texts, LABELS)["loss"] != plain(images, texts, LABELS)["loss"]
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_logits_of_seen_and_unseen_classes() -> None:
    model = model_of(hand_backbone(), "plain", alpha=0.25)
    f_c, f_r, w = (normalize(torch.randn(n, 10), dim=-1) for n in (4, 4, 3))
    assert_close(model.logits(f_c, f_r, w, seen=True), 10 * (0.25 * f_c + 0.75 * f_r) @ w.T)
    assert_close(model.logits(f_c, f_r, w, seen=False), 10 * f_c @ w.T)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"consistency": -1.0}, "consistency"),
        ({"consistency": math.nan}, "consistency"),
        ({"prototype": -1.0}, "prototype"),
        ({"prototype": math.nan}, "prototype"),
        ({"tokens": 0}, "tokens"),
        ({"heads": 0}, "heads"),
        ({"width": 12, "heads": 8}, "multiple of heads"),
        ({"injection": "by_depht"}, "injection"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=said):  # the latter where the tests check types
        FarlConfig(**wrong)


def test_the_same_seed_starts_the_same_model() -> None:
    one, other, third = (FarlModel.state_dict(model_of(hand_backbone(), "by_depth", seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["tokens.R"], third["tokens.R"])
