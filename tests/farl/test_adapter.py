"""What a user does with an adapter: fit, predict, embed, save, load."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from farl_samples import (
    BACKBONES,
    CLASSES,
    FAST,
    PICTURES,
    clip_backbone,
    coloured_set,
    config,
    fit,
    hand_backbone,
    moved,
    picture,
    pictures,
    same,
    train_set,
    weights,
)
from safetensors.torch import load, save_file
from tiny_models import SIZE, build_clip, clip_tokenizer
from torch.nn.functional import normalize
from torch.testing import assert_close
from transformers import CLIPImageProcessorPil

import overtone
import overtone.farl.adapter as module
import overtone.farl.cache
from overtone.data import BadImage
from overtone.errors import UserError
from overtone.farl import Adapter, FarlModel, Views, image_states, text_states
from overtone.farl.views import Pixels
from overtone.models.backbone import EMBEDDED, Backbone, digest_of
from overtone.training import TrainingConfig

every = pytest.mark.parametrize("injection", ["by_modality", "by_depth", "plain"])
readings = pytest.mark.parametrize("injection", ["by_modality", "by_depth"])
NEW = ("green fish", "dog")


def adapter(injection: str = "by_modality", templates: tuple[str, ...] = ("{}",), **changes: Any) -> Adapter:
    """Return an adapter that was never fitted but stands far from its start."""
    backbone = clip_backbone()
    model = moved(FarlModel(backbone, config(injection, **changes), len(CLASSES)))
    made = {"training": {"seed": 0}, "views": 4, "amplitude_mix": False, "pictures": 0, "versions": {}}
    return Adapter(backbone, model, CLASSES, templates, made)


# Fitting


def frozen(backbone: Backbone) -> str:
    towers = (("image", backbone.image), ("text", backbone.text))
    return digest_of((f"{side}.{name}", t) for side, tower in towers for name, t in tower.state_dict().items())


@every
@pytest.mark.parametrize("name", BACKBONES)
def test_a_fit_changes_all_that_is_trained_and_nothing_frozen(name: str, injection: str) -> None:
    backbone = BACKBONES[name]()
    before = frozen(backbone)
    with torch.random.fork_rng():
        torch.manual_seed(FAST.seed)
        start = FarlModel(backbone, config(injection)).state_dict()
    fitted = fit(backbone, injection)
    assert frozen(backbone) == before
    state = weights(fitted)
    assert {name for name in state if torch.equal(state[name], start[name])} <= {"mean_structure", "mean_style"}
    assert torch.equal(state["mean_style"], start["mean_style"]) == (injection == "plain")
    held = {t.data_ptr() for tower in (backbone.image, backbone.text) for t in tower.state_dict().values()}
    assert not held & {t.data_ptr() for t in state.values()}
    assert sum(t.numel() for t in state.values()) == sum(p.numel() for p in fitted.model.parameters()) + 2 * 3 * 16
    assert not fitted.model.training


@every
@pytest.mark.parametrize("mix", [False, True])
def test_cached_uncached_and_mapped_training_give_the_same_weights(
    injection: str, mix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine pictures in batches of four: the last batch holds one, which is computed along other paths."""
    cached = weights(fit(injection=injection, amplitude_mix=mix))
    assert same(cached, weights(fit(injection=injection, amplitude_mix=mix, cached=False)))
    monkeypatch.setenv("OVERTONE_CACHE", "")
    assert same(cached, weights(fit(injection=injection, amplitude_mix=mix)))
    monkeypatch.setattr(overtone.farl.cache, "MEMORY", 0)
    assert same(cached, weights(fit(injection=injection, amplitude_mix=mix)))


def test_cached_equals_uncached_for_transformers_towers() -> None:
    assert same(weights(fit(clip_backbone())), weights(fit(clip_backbone(), cached=False)))


def test_amplitude_mix_makes_a_difference() -> None:
    assert not same(weights(fit()), weights(fit(amplitude_mix=True)))


@readings
def test_one_seed_repeats_and_another_differs(injection: str) -> None:
    first = weights(fit(injection=injection))
    torch.manual_seed(123)  # what happened before does not matter
    assert same(first, weights(fit(injection=injection)))
    other = weights(fit(injection=injection, training=TrainingConfig(epochs=2, batch_size=4, seed=1)))
    assert not any(torch.equal(first[name], other[name]) for name in first)


@readings
def test_the_streams_kept_are_the_mean_over_the_training_views(injection: str) -> None:
    backbone = hand_backbone()
    fitted = fit(backbone, injection)
    views = Views(pictures(), FAST.seed)
    read = []
    with torch.no_grad():
        for i in range(PICTURES):
            for view in range(module.VIEWS):
                read.append(fitted.model.read(image_states(backbone, views.batch([i], [view]), streams=True)))
    structure, style = (torch.cat(part).mean(0, keepdim=True) for part in zip(*read, strict=True))
    assert_close(fitted.model.mean_structure, structure, atol=1e-5, rtol=1e-5)
    assert_close(fitted.model.mean_style, style, atol=1e-5, rtol=1e-5)


def test_prototypes_are_the_mean_of_frozen_features() -> None:
    """Of each class's pictures, of all their views; cached or not, they are the same."""
    images, backbone, method = coloured_set(), hand_backbone(), config(prototype=1.0)
    fitted = fit(backbone, train_set=images, method=method)
    pixels = Pixels(images.records, backbone.pixels)
    views = Views(pixels, FAST.seed)
    for number, prototype in enumerate(fitted.model.prototypes):
        rows = [i for i, label in enumerate(images.labels) if label == number]
        features = [
            normalize(backbone.image(backbone.normalize(views.batch([row], [view]))), dim=-1)
            for row in rows
            for view in range(module.VIEWS)
        ]
        assert_close(prototype, normalize(torch.cat(features).mean(0), dim=0), atol=1e-5, rtol=1e-5)
    uncached = fit(backbone, train_set=images, method=method, cached=False)
    assert same(weights(fitted), weights(uncached))


def test_adapting_learns_the_training_pictures() -> None:
    images = coloured_set()
    fitted = fit(
        clip_backbone(), train_set=images, training=TrainingConfig(epochs=20, batch_size=9, learning_rate=1e-2)
    )
    labels = torch.tensor(images.labels)
    right = fitted.predict(images.records).argmax(-1) == labels
    zero_shot = fitted.zero_shot(fitted.encode_images(images.records, frozen=True)).argmax(-1) == labels
    assert right.all()
    assert zero_shot.float().mean() < 0.7
    assert fitted.log[-1]["loss"] < fitted.log[0]["loss"]


def test_a_backbone_is_found_by_name(clip_folder: Path) -> None:
    fitted = fit(str(clip_folder))  # type: ignore[arg-type]
    assert fitted.backbone.name == str(clip_folder)


def test_default_templates() -> None:
    assert module.default_templates(EMBEDDED) == ("{}",)
    assert module.default_templates("openai/clip-vit-base-patch16") == ("a photo of a {}.",)
    assert fit(templates=None).templates == ("a photo of a {}.",)


# Predicting


@every
@torch.no_grad()
def test_prototypes_count_where_all_classes_were_adapted_to(injection: str, tmp_path: Path) -> None:
    """Saved and loaded they are the same; a class that was never seen has none, nor has what stands beside it."""
    one = adapter(injection, prototype=0.5, alpha=1.0)
    loaded = Adapter.load(one.save(tmp_path), one.backbone)
    features = one.encode_images([picture(number) for number in range(4)])
    p = dict(zip(CLASSES, one.model.prototypes, strict=True))
    for classes in (CLASSES[::-1], CLASSES[1:]):
        w = normalize(one.embed_texts(classes) + 0.5 * torch.stack([p[name] for name in classes]), dim=-1)
        assert_close(one.probabilities(features, classes), (14 * features.f_c @ w.T).softmax(-1))
    for classes in (NEW, (CLASSES[0], *NEW)):
        expected = (14 * features.f_c @ one.embed_texts(classes).T).softmax(-1)
        assert_close(one.probabilities(features, classes), expected)
    assert torch.equal(loaded.probabilities(features), one.probabilities(features))


@every
@torch.no_grad()
def test_seen_classes_use_both_features_and_unseen_ones_the_class_feature(injection: str) -> None:
    one = adapter(injection, alpha=0.6)
    images = [picture(number) for number in range(4)]
    features = one.encode_images(images)
    for classes, seen in ((CLASSES, True), (CLASSES[::-1], True), (CLASSES[:2], True), (NEW, False)):
        w = one.embed_texts(classes)
        logits_c, logits_r = 14 * features.f_c @ w.T, 14 * features.f_r @ w.T
        logits = 0.6 * logits_c + 0.4 * logits_r if seen else logits_c
        expected = torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True)
        assert_close(one.predict(images, classes), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(one.predict(images), one.predict(images, CLASSES))


@torch.no_grad()
def test_zero_shot_is_the_backbone_alone() -> None:
    one = adapter(templates=("{}", "a {}"))
    x = torch.stack([one.backbone.preprocess(picture(number)) for number in range(3)])
    image = normalize(one.backbone.image(x), dim=-1)
    texts = [
        sum(normalize(one.backbone.text(one.backbone.tokenize([t.format(name)]))[0], dim=-1) for t in ("{}", "a {}"))
        for name in NEW
    ]
    expected = (14 * image @ normalize(torch.stack(texts), dim=-1).T).softmax(-1)  # type: ignore[arg-type]
    features = one.encode_images([picture(number) for number in range(3)], frozen=True)
    assert_close(one.zero_shot(features, NEW), expected, atol=1e-5, rtol=1e-4)


@every
@torch.no_grad()
def test_templates_are_averaged(injection: str) -> None:
    parts = [adapter(injection, (template,)).encode_classes(NEW)[0] for template in ("{}", "a {}", "{} pic")]
    both = adapter(injection, ("{}", "a {}", "{} pic")).encode_classes(NEW)[0]
    mean = sum(parts) / 3
    assert_close(both, mean / mean.norm(dim=-1, keepdim=True), atol=1e-5, rtol=1e-5)  # type: ignore[union-attr]


@every
def test_only_by_depth_needs_streams_to_predict(injection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(*arguments: Any) -> Any:
        seen.append(image_states(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "image_states", spy)
    one = adapter(injection)
    one.predict([picture(0)])
    assert (seen[0].phase is not None) == (seen[0].amplitude is not None) == (injection == "by_depth")


@every
def test_texts_see_the_mean_streams(injection: str) -> None:
    one = adapter(injection)
    states = text_states(one.backbone, NEW, one.templates, "cpu")
    with torch.no_grad():
        without = one.model.text_features(states, None)
    assert torch.equal(one.embed_texts(NEW), without) == (injection == "plain")


@every
def test_embeddings_for_retrieval(injection: str) -> None:
    one = adapter(injection)
    images = [picture(number) for number in range(5)]
    embedded, texts = one.embed_images(images), one.embed_texts(["a dog", "a cat", "rain"])
    assert_close(embedded.norm(dim=-1), torch.ones(5))
    assert_close(texts.norm(dim=-1), torch.ones(3))
    assert torch.equal(embedded, one.encode_images(images).f_c)
    in_words = adapter(injection, ("a photo of {}",))  # names are put into words, texts are not
    assert torch.equal(texts, in_words.embed_texts(["a dog", "a cat", "rain"]))
    assert not torch.equal(texts, in_words.encode_classes(["a dog", "a cat", "rain"])[0])
    ranked = one.predict(images, ["a dog", "a cat", "rain"]).argsort(-1)
    assert torch.equal(ranked, (embedded @ texts.T).argsort(-1))


def test_pictures_come_as_records_images_and_paths_in_any_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(0).save(tmp_path / "0.png")
    one = adapter()
    kinds = [train_set(1).records[0], picture(0), tmp_path / "0.png", str(tmp_path / "0.png")]
    features = one.encode_images(iter(kinds))
    assert len(features) == 4
    assert_close(features.f_c, features.f_c[:1].expand(4, -1))
    monkeypatch.setattr(module, "BATCH", 3)
    assert_close(one.encode_images(kinds).f_r, features.f_r)
    with pytest.raises(BadImage, match=r"1.png': there is no such file"):
        one.predict([tmp_path / "0.png", tmp_path / "1.png"])
    for none in (str(tmp_path / "0.png"), []):
        with pytest.raises(ValueError, match="give pictures in a list"):
            one.predict(none)


# Saving and loading


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-clip"
    build_clip().save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(hand_backbone(), injection="by_depth").save(tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def saved(fitted_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted_once, tmp_path / "run"))


@pytest.fixture
def edit(saved: Path) -> Callable[..., None]:
    def change(**changes: object) -> None:
        path = saved / "adapter.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return change


@every
def test_an_adapter_comes_back_as_it_was(injection: str, clip_folder: Path, tmp_path: Path) -> None:
    one = fit(str(clip_folder), injection, templates=("a {}", "{} été"))  # type: ignore[arg-type]
    images = [picture(number) for number in range(3)]
    folder = one.save(tmp_path / "deep" / "run")
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.json", "adapter.safetensors"]
    other = Adapter.load(folder)
    assert same(weights(one), weights(other))
    for classes in (None, NEW):
        assert torch.equal(one.predict(images, classes), other.predict(images, classes))
    assert other.describe() == one.describe() == json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
    assert other.templates == ("a {}", "{} été")


def test_a_backbone_that_moved_is_named(clip_folder: Path, tmp_path: Path) -> None:
    folder = fit(str(clip_folder)).save(tmp_path / "run")  # type: ignore[arg-type]
    clip_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no such directory"):
        Adapter.load(folder)
    assert Adapter.load(folder, str(tmp_path / "elsewhere")).classes == CLASSES


def test_wrapped_towers_are_handed_over(saved: Path) -> None:
    assert Adapter.load(saved, hand_backbone()).predict([picture(0)]).shape == (1, 3)


def test_what_the_json_holds(saved: Path) -> None:
    described = json.loads((saved / "adapter.json").read_text(encoding="utf-8"))
    backbone = hand_backbone()
    assert described["backbone"] == "hand"
    assert described["backbone_digest"] == backbone.digest == frozen(backbone)
    assert described["preprocessing"] == backbone.preprocessing
    assert described["templates"] == ["{}"]
    assert described["classes"] == list(CLASSES)
    assert described["method"]["injection"] == "by_depth"
    assert described["method"]["tokens"] == 3
    assert described["training"]["seed"] == FAST.seed
    assert described["training"]["epochs"] == FAST.epochs
    assert described["pictures"] == PICTURES
    assert described["versions"]["overtone"] == overtone.__version__
    assert described["versions"]["torch"] == torch.__version__


def refusal(folder: Path, backbone: Backbone | None = None) -> str:
    with pytest.raises(UserError) as caught:
        Adapter.load(folder, backbone or hand_backbone())
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_another_backbone_is_refused(saved: Path) -> None:
    other = hand_backbone(seed=1)
    said = refusal(saved, other)
    assert "fitted to 'hand'" in said
    assert other.digest[:12] in said


def test_a_tampered_digest_is_refused(saved: Path, edit: Callable[..., None]) -> None:
    edit(backbone_digest="0" * 64)
    assert "000000000000" in refusal(saved)


def test_truncated_weights_are_refused(saved: Path) -> None:
    path = saved / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert "cannot be read" in refusal(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / "adapter.safetensors").unlink()
    assert "cannot be read" in refusal(saved)


def test_weights_of_another_adapter_are_refused(saved: Path) -> None:
    state = load((saved / "adapter.safetensors").read_bytes())
    save_file({name: tensor for name, tensor in state.items() if name != "tokens.R"}, saved / "adapter.safetensors")
    assert "cannot be read" in refusal(saved)
    save_file(state | {"tokens.R": torch.zeros(7, 16)}, saved / "adapter.safetensors")
    assert "cannot be read" in refusal(saved)


def test_pickled_weights_are_refused(saved: Path) -> None:
    torch.save(load((saved / "adapter.safetensors").read_bytes()), saved / "adapter.safetensors")
    assert "cannot be read" in refusal(saved)


def test_a_folder_that_is_no_adapter_is_refused(saved: Path, tmp_path: Path) -> None:
    assert "is no folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "run-10").mkdir()
    assert f"Did you mean {str(tmp_path / 'run-10')!r}" in refusal(tmp_path / "run-1")
    (tmp_path / "empty").mkdir()
    assert "holds no adapter.json" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"text"', "\ud800"])
def test_a_broken_json_is_refused(saved: Path, text: str) -> None:
    (saved / "adapter.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    assert "cannot be read" in refusal(saved)


def test_a_json_of_another_version_is_refused(saved: Path, edit: Callable[..., None]) -> None:
    edit(method={"injection": "by_depth", "novelty": 3})
    assert "novelty" in refusal(saved)
    edit(format=2)
    assert "format 2" in refusal(saved)


def test_a_failed_save_leaves_no_half_adapter(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    one = Adapter.load(saved, hand_backbone())
    monkeypatch.setattr("overtone.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        one.save(tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())
