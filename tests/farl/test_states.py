"""Frozen states, views and their cache."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from farl_samples import BACKBONES, CLASSES, pictures
from torch.nn.functional import normalize
from torch.testing import assert_close

import overtone.farl.cache as cache_module
import overtone.farl.states as module
import overtone.farl.views as views_module
from overtone.farl import ImageStates, StateCache, Views, first_layer, image_states, text_states
from overtone.farl.states import view_states
from overtone.spectral import amplitude_mix, amplitude_only, phase_only

every_backbone = pytest.mark.parametrize("name", BACKBONES)
mix = pytest.mark.parametrize("amplitude", [False, True])


@every_backbone
@torch.no_grad()
def test_image_states(name: str) -> None:
    backbone = BACKBONES[name]()
    tower, x = backbone.image, pictures(3)
    states = image_states(backbone, x, streams=True)
    for view, got in ((x, states.tokens), (phase_only(x), states.phase), (amplitude_only(x), states.amplitude)):
        tokens, _ = tower.embed(backbone.normalize(view))
        assert_close(got, tower.blocks(tokens, None, 0, first_layer(tower.depth)), atol=1e-6, rtol=1e-5)
    assert_close(states.frozen, normalize(tower(backbone.normalize(x)), dim=-1), atol=1e-6, rtol=1e-5)
    plain = image_states(backbone, x, streams=False)
    assert plain.phase is plain.amplitude is None
    assert torch.equal(plain.tokens, states.tokens)


@every_backbone
@torch.no_grad()
def test_text_states_are_the_mean_over_templates(name: str) -> None:
    backbone = BACKBONES[name]()
    templates = ("{}", "a {}", "{} pic")
    states = text_states(backbone, CLASSES, templates, "cpu")
    for row, name_ in enumerate(CLASSES):
        ids = [backbone.tokenize([template.replace("{}", name_)]) for template in templates]
        mean = sum(normalize(backbone.text(one)[0], dim=-1) for one in ids) / len(templates)
        assert_close(states.frozen[row], mean / mean.norm(), atol=1e-5, rtol=1e-5)
    assert sum(len(tokens) for tokens, _ in states.buckets) == len(CLASSES) * len(templates)


def test_texts_in_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BACKBONES["clip"]()
    whole = text_states(backbone, CLASSES, ("{}", "a {}"), "cpu")
    monkeypatch.setattr(module, "BATCH", 2)
    parts = text_states(backbone, CLASSES, ("{}", "a {}"), "cpu")
    assert_close(parts.frozen, whole.frozen, atol=1e-6, rtol=0)
    assert len(parts.buckets) > len(whole.buckets)
    lengths = [tokens.shape[1] for tokens, _ in parts.buckets]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


@mix
def test_a_view_depends_on_seed_picture_and_number_alone(amplitude: bool) -> None:
    views = Views(pictures(), 7, amplitude)
    batch = views.batch([3, 0, 3], [1, 2, 0])
    again = Views(pictures(), 7, amplitude).batch([0, 3, 5, 3], [2, 0, 1, 1])
    assert torch.equal(batch, again[[3, 0, 1]])
    assert not torch.equal(batch[0], batch[2])
    assert not torch.equal(Views(pictures(), 8, amplitude).one(3, 1), batch[0])
    assert batch.shape[1:] == pictures().shape[1:]
    assert 0 <= batch.min() <= batch.max() <= 1


@mix
def test_views_leave_the_global_random_state_alone(amplitude: bool) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Views(pictures(), 7, amplitude).batch([0, 1], [0, 0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_amplitude_mix_keeps_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mixed view is the unmixed one with another picture's amplitude, by the weight that was drawn."""
    seen = []

    def spy(x: torch.Tensor, other: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        seen.append((x, other, lam))
        return amplitude_mix(x, other, lam)

    monkeypatch.setattr(views_module, "amplitude_mix", spy)
    mixed = Views(pictures(), 7, amplitude=True).one(2, 1)
    [(x, other, lam)] = seen
    assert torch.equal(x[0], Views(pictures(), 7).one(2, 1))
    assert any(torch.equal(other[0], picture) for picture in pictures())
    assert 0 <= lam.item() <= 1
    assert torch.equal(mixed, amplitude_mix(x, other, lam).clamp(0, 1)[0])


def rows(states: ImageStates) -> list[torch.Tensor]:
    return list(states.tensors.values())


@every_backbone
@pytest.mark.parametrize("place", ["kept", "memory", "mapped"])
@pytest.mark.parametrize("size", [2, 5, 64])
def test_cache_returns_the_states_of_the_view(
    name: str, place: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OVERTONE_CACHE", str(tmp_path / "cache") if place == "kept" else "")
    monkeypatch.setattr(cache_module, "MEMORY", 0 if place == "mapped" else cache_module.MEMORY)
    monkeypatch.setattr(module, "BATCH", size)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    backbone, views = BACKBONES[name](), Views(pictures(4), 0)
    cache = StateCache(backbone, views, 2, True, "cpu")
    cache.close()
    assert [path.name for path in tmp_path.iterdir()] == (["cache"] if place == "kept" else [])
    got = cache.batch([3, 0, 1], [1, 0, 1])
    expected = image_states(backbone, views.batch([3, 0, 1], [1, 0, 1]), True)
    for one, other in zip(rows(got), rows(expected), strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)


@every_backbone
def test_states_do_not_depend_on_what_a_view_is_batched_with(name: str) -> None:
    backbone, views = BACKBONES[name](), Views(pictures(), 0)
    [whole] = view_states(backbone, views, list(range(9)), [0] * 9, True, "cpu")
    for pick in ([4], [8, 4], [0, 3, 4, 1, 2]):
        [some] = view_states(backbone, views, pick, [0] * len(pick), True, "cpu")
        for one, other in zip(rows(some), rows(whole), strict=True):
            assert torch.equal(one, other[pick])


# Texts of many classes


@pytest.mark.parametrize("kept", [0, 3000, 2**30])
def test_buckets_computed_twice_have_the_gradient_of_those_kept(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", kept)
    generator = torch.Generator().manual_seed(0)
    buckets = [(torch.randn(n, n, 3, generator=generator), None) for n in (2, 3, 4)]
    weight = torch.randn(3, 3, generator=generator, requires_grad=True)
    calls = []

    def encode(tokens: torch.Tensor, mask: None) -> torch.Tensor:
        calls.append(len(tokens))
        return (tokens @ weight).tanh().sum(1)

    out = module.encode_buckets(encode, buckets, layers=2)
    out.square().sum().backward()
    expected = torch.cat([(tokens @ weight).tanh().sum(1) for tokens, _ in buckets])
    [gradient] = torch.autograd.grad(expected.square().sum(), weight)
    assert_close(out, expected)
    assert_close(weight.grad, gradient)
    assert len(calls) == {0: 6, 3000: 5, 2**30: 3}[kept]  # 1,920 bytes of activations for the first bucket, then 4,320
    with torch.no_grad():
        assert_close(module.encode_buckets(encode, buckets, layers=2), expected)
