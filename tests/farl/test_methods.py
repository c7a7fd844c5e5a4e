"""All ways of adapting behind one interface: what they promise, and that each mixes with its zero-shot model."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from farl_samples import CLASSES, coloured_set, config, dual_backbone
from torch.testing import assert_close

import overtone.farl.methods as methods_module
from overtone.errors import UserError
from overtone.farl.methods import METHODS, Ensembled, Fitted, coop, lora, method, tokens
from overtone.farl.recipes import Recipe
from overtone.models.backbone import Backbone
from overtone.training import TrainingConfig

TEMPLATES = ("{}", "a {}")
NEW = ("green fish", "an old hat")
WITH_WEIGHTS = [one.name for one in methods_module.WITH_WEIGHTS]
BASES = ["zero-shot", "tip-adapter", *WITH_WEIGHTS]


@pytest.fixture(scope="module")
def short() -> Iterator[None]:
    """Let every training be a few steps long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coop, "epochs_for", lambda shots: 3)
        patch.setattr(lora, "STEPS_A_SHOT", 1)
        patch.setattr(lora, "RATE", 0.05)  # so that few steps leave a mark
        few = Recipe(config(), TrainingConfig(epochs=2, batch_size=4), "as published (MMRL)")
        own = replace(few, method=config(prototype=1.0))
        patch.setattr(tokens, "recipe_for", lambda name, prototypes: own if prototypes else few)
        yield


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return dual_backbone()


@pytest.fixture(scope="module")
def fitted(short: None, backbone: Backbone) -> dict[str, Fitted]:
    """Return every method but the mixtures, fitted once."""
    pictures = coloured_set()
    return {name: METHODS[name].fit(backbone, pictures, None, TEMPLATES, 1, "cpu") for name in BASES}


def test_all_are_there_by_name() -> None:
    farl = ["farl", "farl-by-depth", "farl-prototypes"]
    wanted = ["zero-shot", "linear-probe", "tip-adapter", "tip-adapter-f", "coop", "lora", "mmrl", "mmrl++", *farl]
    assert set(wanted) | {f"{name}+wise" for name in wanted[1:] if name != "tip-adapter"} == set(METHODS)
    assert all(method(name).name == name and "arXiv" in method(name).source for name in METHODS)


def test_a_name_that_is_none() -> None:
    with pytest.raises(UserError, match=r"No method 'tip-adaptor'\. Did you mean 'tip-adapter'\? There are zero-shot"):
        method("tip-adaptor")


@pytest.mark.parametrize("name", ["lora", "lora+wise"])
def test_a_package_that_is_missing_is_named_before_anything_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"'lora(\+wise)?' needs peft\. Get it with: pip install 'overtone\[lora\]'"):
        method(name)
    assert method("mmrl+++wise").name == "mmrl+++wise"


@pytest.mark.parametrize("name", BASES)
def test_probabilities_of_any_classes(name: str, fitted: dict[str, Fitted]) -> None:
    one, pictures = fitted[name], coloured_set()
    features = one.encode(pictures)
    for classes in (CLASSES, CLASSES[::-1], CLASSES[:2], *((NEW, (*CLASSES, *NEW)) if one.open else ())):
        p = one.probabilities(features, classes, TEMPLATES)
        assert p.shape == (len(pictures), len(classes))
        assert p.device.type == "cpu"
        assert_close(p.sum(dim=1), torch.ones(len(pictures)), atol=1e-5, rtol=0)  # sums of a few float32
    order = [2, 0, 1]  # the order of the names changes nothing but the order of the columns
    p = one.probabilities(features, [CLASSES[i] for i in order], TEMPLATES)
    assert_close(p, one.probabilities(features, CLASSES, TEMPLATES)[:, order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["linear-probe", "tip-adapter"])
def test_two_classes_of_one_name_are_two(name: str, backbone: Backbone) -> None:
    """ImageNet has two, of sunglasses: which is which their pictures say."""
    pictures = coloured_set()
    features = METHODS["zero-shot"].fit(backbone, pictures, None, TEMPLATES, 0, "cpu").encode(pictures)
    twice = replace(pictures, classes=(CLASSES[0], CLASSES[0], *CLASSES[2:]))
    one, other = (METHODS[name].fit(backbone, some, None, TEMPLATES, 0, "cpu") for some in (pictures, twice))
    p, q = (fit.probabilities(features, some.classes, TEMPLATES) for fit, some in ((one, pictures), (other, twice)))
    if name == "linear-probe":  # it reads no names
        assert torch.equal(p, q)
    assert not torch.allclose(q[:, 0], q[:, 1])


def test_who_knows_no_other_classes_says_so(fitted: dict[str, Fitted]) -> None:
    assert [name for name in BASES if not fitted[name].open] == ["linear-probe"]
    features = fitted["linear-probe"].encode(coloured_set())
    with pytest.raises(ValueError, match="'green fish' is none"):
        fitted["linear-probe"].probabilities(features, NEW, TEMPLATES)


@pytest.mark.parametrize("name", BASES)
def test_every_setting_says_where_it_comes_from(name: str, fitted: dict[str, Fitted]) -> None:
    settings = dict(fitted[name].settings)
    injection = settings.pop("injection", None)
    assert (injection is not None) == name.startswith("farl")
    assert all(value.endswith(")") and "(" in value for value in settings.values()), settings


def test_a_backbone_is_left_as_it_was(fitted: dict[str, Fitted], backbone: Backbone) -> None:
    fresh = dual_backbone()
    for tower, other in ((backbone.image, fresh.image), (backbone.text, fresh.text)):
        assert all(
            torch.equal(a, b) for a, b in zip(tower.state_dict().values(), other.state_dict().values(), strict=True)
        )
        assert not any(p.requires_grad for p in tower.parameters())


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_mixture_goes_from_zero_shot_to_the_adapted_model(name: str, fitted: dict[str, Fitted]) -> None:
    """WiSE-FT's defining property, at both ends; tolerances are those of float32 logits of some tens."""
    one: Ensembled = fitted[name]  # type: ignore[assignment]
    pictures = coloured_set()
    plain = fitted["zero-shot"]
    lists = (CLASSES, NEW) if one.open else (CLASSES,)
    for classes in lists:
        start, end = (m.probabilities(m.encode(pictures), classes, TEMPLATES) for m in (plain, one))
        at = {}
        for share in (0.0, 0.5, 1.0):
            mixed = one.mixed(share)
            at[share] = mixed.probabilities(mixed.encode(pictures), classes, TEMPLATES)
        assert_close(at[0.0], start, atol=1e-5, rtol=1e-4)
        assert_close(at[1.0], end, atol=1e-5, rtol=1e-4)
        if not name.startswith("tip") or classes == CLASSES:  # the cache says nothing of names that it does not hold
            assert (start - end).abs().max() > 1e-4
            assert not torch.allclose(at[0.5], start, atol=1e-6)
            assert not torch.allclose(at[0.5], end, atol=1e-6)


def test_the_mixture_as_a_method_goes_half_way(fitted: dict[str, Fitted], backbone: Backbone) -> None:
    pictures = coloured_set()
    wise = METHODS["linear-probe+wise"].fit(backbone, pictures, None, TEMPLATES, 1, "cpu")
    half = fitted["linear-probe"].mixed(0.5)  # type: ignore[attr-defined]
    expected = half.probabilities(half.encode(pictures), CLASSES, TEMPLATES)
    assert_close(wise.probabilities(wise.encode(pictures), CLASSES, TEMPLATES), expected)
    assert wise.settings["share of the adapted weights"] == "0.5 (published)"
    assert not wise.open


@pytest.mark.parametrize("name", ["coop", "lora"])
def test_where_the_published_rate_is_not_for_this_backbone_validation_chooses_it(
    name: str, short: None, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = coloured_set()
    embedded = replace(backbone, name="embedded")
    short_recipe = Recipe(config(), TrainingConfig(epochs=1, batch_size=9), "chosen")
    monkeypatch.setattr(methods_module.settings, "recipe_for", lambda _: short_recipe)
    monkeypatch.setattr(getattr(methods_module, name), "recipe_for", lambda _: short_recipe)
    settings = METHODS[name].fit(embedded, pictures, pictures, TEMPLATES, 1, "cpu").settings
    assert settings["rate"].endswith("(chosen on validation shots)")
    assert settings["epochs"] == "1 (ours: as long as FARL's)"
    assert METHODS[name].fit(embedded, pictures, None, TEMPLATES, 1, "cpu").settings["rate"].endswith("(published)")
