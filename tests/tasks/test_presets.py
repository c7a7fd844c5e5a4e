"""The recipes: each has a network that takes its pictures, with any mixer, and the data chooses its own."""

import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from overtone.data.parallel import Sentences, train_subwords
from overtone.models import ShfinForTranslation
from overtone.models.shfin import MIXERS, MixerName, ShfinForImageClassification
from overtone.tasks.presets import PRESETS, PresetName, choose_preset
from overtone.tasks.train import TrainConfig, batch_size
from overtone.tasks.translate_presets import TRANSLATION_PRESETS, TranslationPresetName

SEED = {"epochs": 100, "learning_rate": 8e-4, "weight_decay": 0.05}  # SHFIN, section 3.2


def network(name: str, mixer: MixerName, classes: int) -> ShfinForImageClassification:
    with torch.device("meta"):
        return ShfinForImageClassification(PRESETS[name].network(classes, mixer))


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", [name for name in PRESETS if name != "imagenet"])
def test_each_mixer_takes_the_recipes_pictures(name: str, mixer: MixerName) -> None:
    preset = PRESETS[name]
    model = network(name, mixer, 10)
    size = preset.framing.size
    assert model(torch.zeros(2, preset.framing.channels, size, size, device="meta")).logits.shape == (2, 10)


def test_the_networks_have_the_seeds_sizes_and_ours_is_small() -> None:
    """Tiny 3.8 M and Small 10.3 M, within 2 %; Fashion-MNIST's below 1 M."""
    assert network("cifar", "shfin", 10).num_parameters() == pytest.approx(3.8e6, rel=0.02)
    assert network("imagenet", "shfin", 1000).num_parameters() == pytest.approx(10.3e6, rel=0.02)
    assert network("fashion-mnist", "shfin", 10).num_parameters() < 1e6


def test_the_seeds_recipes_are_the_seeds() -> None:
    for name, batch, pictures in (("cifar", 512, 50_000), ("imagenet", 256, 1_281_167)):
        preset = PRESETS[name]
        assert {key: getattr(preset, key) for key in SEED} == SEED
        assert preset.batch_size == batch
        assert "1801.01451v3" in preset.source
        assert preset.augmentation.flip == "random"
        steps = preset.warmup_epochs * (pictures // batch)
        # 10,000 steps of warm-up where the run has that many and more, else a twentieth of it
        assert steps == pytest.approx(10_000 if name == "imagenet" else 0.05 * 100 * (pictures // batch), rel=0.01)
    cifar, imagenet = PRESETS["cifar"], PRESETS["imagenet"]
    assert (cifar.augmentation.padding, cifar.augmentation.border) == (4, "reflect")
    assert (imagenet.framing.stored, imagenet.framing.size, imagenet.augmentation.resize) == (256, 224, True)


@pytest.mark.parametrize("name", TRANSLATION_PRESETS)
def test_translators_of_every_recipe_translate(name: str, tmp_path: Path) -> None:
    """Sizes, patches and blocks fit each other."""
    tokenizer = train_subwords(Sentences(["a"] * 9, ["b"] * 9), 300, tmp_path)
    model = ShfinForTranslation(TRANSLATION_PRESETS[name].network(tokenizer))
    tokens = torch.full((2, 20), 5)
    assert model(tokens, None, tokens).logits.shape == (2, 20, len(tokenizer))


def test_the_seeds_translator() -> None:
    preset = TRANSLATION_PRESETS["wmt14"]
    assert (preset.vocabulary, preset.limit, preset.steps, preset.warmup) == (32_000, 128, 300_000, 10_000)
    assert (preset.learning_rate, preset.weight_decay, preset.schedule) == (8e-4, 0.05, "cosine")
    assert not preset.sizes  # Transformer-Small, ungated


def test_the_command_offers_every_recipe() -> None:
    offered = get_args(get_type_hints(TrainConfig)["preset"])
    assert set(get_args(PresetName)) == set(PRESETS)
    assert set(get_args(TranslationPresetName)) == set(TRANSLATION_PRESETS)
    assert set(offered) == {"auto", *PRESETS, *TRANSLATION_PRESETS}
    assert set(get_args(get_type_hints(TrainConfig)["mixer"])) == set(MIXERS)


def test_the_data_chooses_its_recipe(tmp_path: Path) -> None:
    assert choose_preset("fashion-mnist") == "fashion-mnist"
    assert choose_preset("emoji") == choose_preset(str(tmp_path)) == "pictures"
    (tmp_path / "train" / "n01440764").mkdir(parents=True)
    assert choose_preset(str(tmp_path)) == "imagenet"
    (tmp_path / "batches.meta.txt").touch()
    (tmp_path / "test_batch.bin").touch()
    assert choose_preset(str(tmp_path)) == "cifar"


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_small_set_gets_small_steps(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    preset = PRESETS["pictures"]
    assert batch_size(preset, 100_000) == 64
    for pictures in (1, 7, 50, 500):
        batch = batch_size(preset, pictures)
        assert batch % processes == 0
        assert batch >= processes
        assert batch == processes or math.floor(pictures / batch) >= 8
