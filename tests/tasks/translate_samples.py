"""A toy language pair, word by word, and a recipe for it that takes seconds."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from overtone.tasks import TrainConfig, train
from overtone.tasks.translate import TranslateResult
from overtone.tasks.translate_presets import TRANSLATION_PRESETS, TranslationPreset

ENGLISH = ["red", "dog", "sees", "small", "house", "old", "friend", "book"]
GERMAN = ["rot", "Hund", "sieht", "klein", "Haus", "alt", "Freund", "Buch"]
PARTS = {"train": 300, "val": 12, "test": 20}
SIZES = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
SIZES |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
TOY = TranslationPreset(
    source="ours, for tests",
    vocabulary=340,
    steps=12,
    batch_size=400,
    learning_rate=5e-3,
    warmup=10,
    limit=40,
    sizes=SIZES,
)


def write_text(folder: Path, parts: dict[str, int] | None = None, seed: int = 0) -> Path:
    """Write the parts of a corpus as aligned files."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    for part, number in (PARTS if parts is None else parts).items():
        rows = [rng.choices(range(len(ENGLISH)), k=rng.randint(1, 5)) for _ in range(number)]
        for language, words in (("en", ENGLISH), ("de", GERMAN)):
            text = "".join(" ".join(words[i] for i in row) + "\n" for row in rows)
            (folder / f"{part}.{language}").write_text(text, encoding="utf-8")
    return folder


def run(data: Path, out: Path, preset: TranslationPreset = TOY, **settings: Any) -> TranslateResult:
    """Train by a recipe for the toy language, which takes the place of the one called tiny."""
    defaults = {"task": "translate", "out": str(out), "preset": "tiny", "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRANSLATION_PRESETS, "tiny", preset)
        result = train(TrainConfig(str(data), **(defaults | settings)))
    assert isinstance(result, TranslateResult)
    return result


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])
