"""Recipes for translators by name: subwords, the network's sizes, optimiser, schedule, and where they are from.

Temperature and noise of SHFIN's choice fall over the first 30 % of the steps in all of them, as section 3.2 of the
seed has it. Dropout is 0.1, but for `tiny`. SHFIN is gated, but for `wmt14`, which has the seed's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from overtone.models.translation import ShfinTranslationConfig

TranslationPresetName = Literal["wmt14", "small", "mini", "tiny"]


@dataclass(frozen=True)
class TranslationPreset:
    """A recipe, with the sizes of its network over those of Transformer-Small."""

    source: str
    vocabulary: int  # subwords, of both languages together
    steps: int
    batch_size: int  # source tokens a step, and target tokens, padding included
    learning_rate: float
    warmup: int  # steps
    schedule: Literal["cosine", "inverse_sqrt"] = "inverse_sqrt"
    weight_decay: float = 0.0
    smoothing: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    limit: int = 128  # subwords of a sentence
    sizes: Mapping[str, Any] = field(default_factory=dict)

    def network(self, tokenizer: PreTrainedTokenizerBase, **mixing: Any) -> ShfinTranslationConfig:
        """Return the config of a network for these subwords; `mixing` are its `mixer`, `cross` and so on."""
        start = tokenizer.pad_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        marks = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        return ShfinTranslationConfig(
            vocab_size=len(tokenizer), decoder_start_token_id=start, **marks, **self.sizes, **mixing
        )


SEED = "SHFIN, arXiv 1801.01451v3, sections 3.1 and 3.2"
VASWANI = "Vaswani et al. 2017, sections 5 and 6.1"

TRANSLATION_PRESETS: dict[str, TranslationPreset] = {
    # 32 K subwords, at most 128 of them, 300,000 steps of 64 pairs (here 2,048 tokens: a sentence of WMT14 has about
    # 30), AdamW with decay 0.05, cosine after 10,000 steps of warm-up, rate 8e-4: the seed's. Label smoothing, betas
    # and averaged checkpoints, which it leaves open, are those of Vaswani et al.
    "wmt14": TranslationPreset(
        source=f"{SEED}; what it leaves open as in {VASWANI}",
        vocabulary=32000,
        steps=300_000,
        batch_size=2048,
        learning_rate=8e-4,
        warmup=10_000,
        schedule="cosine",
        weight_decay=0.05,
    ),
    # Transformer-Small for a GPU: 25,000 tokens a step, inverse square root after 4,000 steps. The rate is theirs for
    # d = 384: (384 * 4000) ** -0.5.
    "small": TranslationPreset(
        source=f"the seed's sizes, trained as in {VASWANI}",
        vocabulary=32000,
        steps=50_000,
        batch_size=25_000,
        learning_rate=8e-4,
        warmup=4000,
        sizes={"gated": True},
    ),
    # For two cores.
    "mini": TranslationPreset(
        source=f"ours, after {VASWANI}, for two cores",
        vocabulary=8000,
        steps=6000,
        batch_size=2048,
        learning_rate=1.5e-3,
        warmup=1000,
        sizes={
            "d_model": 256,
            "encoder_layers": 4,
            "decoder_layers": 2,
            "encoder_ffn_dim": 1024,
            "decoder_ffn_dim": 1024,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "gated": True,
        },
    ),
    # No dropout: few parameters, and each pair is seen five times at most. Patches are longer than most sentences.
    "tiny": TranslationPreset(
        source=f"ours, after {VASWANI}, for one core",
        vocabulary=4000,
        steps=10_000,
        batch_size=2048,
        learning_rate=2e-3,
        warmup=500,
        sizes={
            "d_model": 128,
            "encoder_layers": 4,
            "decoder_layers": 2,
            "encoder_ffn_dim": 512,
            "decoder_ffn_dim": 512,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "dropout": 0.0,
            "patches": (16, 16, 16, 16),
            "kept": (6, 6, 6, 6),
            "gated": True,
        },
    ),
}


def choose_translation_preset(device: str) -> TranslationPresetName:
    """Return the recipe for a machine: Transformer-Small needs a GPU."""
    return "tiny" if device == "cpu" else "small"
