"""Translation: Marian's encoder and decoder, the encoder mixing by a spectral mixer; native to transformers."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, MarianConfig, MarianMTModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.marian.modeling_marian import MarianDecoder, MarianEncoder

from overtone.models.shfin import PRECISE, anneal, chosen_frequencies
from overtone.models.translation_layers import (
    TEXT_MIXERS,
    InPlaceOfAttention,
    SpectralMemory,
    TextMixerName,
    text_mixer,
)
from overtone.nn.patch_spectrum import PatchSpectrum

CROSS = ("attention", "shfin")
PATCHES, KEPT = (16, 128), (6, 16)  # of the encoder's layers, in turn


class ShfinTranslationConfig(MarianConfig):
    """Marian's sizes, and what mixes in the encoder; the default is Transformer-Small with SHFIN.

    It has d = 384, 6 + 6 layers, a feed-forward of 1536 and 32,000 tied subwords: 34.5 M trained parameters, with
    attention 37.1 M (reconstruction; the seed: 26.1 M, which this cannot be, and 38.0 M).
    """

    model_type = "shfin-translation"

    def __init__(
        self,
        vocab_size: int = 32000,
        d_model: int = 384,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        encoder_ffn_dim: int = 1536,
        decoder_ffn_dim: int = 1536,
        encoder_attention_heads: int = 6,
        decoder_attention_heads: int = 6,
        activation_function: str = "relu",
        scale_embedding: bool = True,
        init_std: float = 0.05,
        pad_token_id: int = 0,
        eos_token_id: int = 2,
        decoder_start_token_id: int = 1,
        forced_eos_token_id: int | None = None,
        mixer: TextMixerName = "shfin",
        patches: Sequence[int] | None = None,
        kept: Sequence[int] | None = None,
        rank: int = 4,
        gated: bool = False,
        cross: Literal["attention", "shfin"] = "attention",
        **kwargs: Any,
    ) -> None:
        """Take Marian's sizes, here as in "Attention is all you need", and for each encoder layer a patch and its K.

        By default patches are 16 and 128 positions in turn, with K = 6 and 16. Of the layers with patches of one size
        every second has them shifted by half. With `gated`, each is a `GatedSHFIN`, which has no `rank`. `mixer` puts
        another in SHFIN's place, all else equal; "attention" is Marian. With cross="shfin" the decoder attends to
        spectra of the encoder's output (`SpectralMemory`), in patches as those of the first layer.
        `decoder_start_token_id` begins a translation, and `forced_eos_token_id` ends one that grows too long, the end
        mark itself where None.

        Raises ValueError for an unknown mixer, or patches that are not one a layer.
        """
        turns = range(encoder_layers)
        patches = [PATCHES[i % len(PATCHES)] for i in turns] if patches is None else list(patches)
        kept = [KEPT[i % len(KEPT)] for i in turns] if kept is None else list(kept)
        if mixer not in TEXT_MIXERS:
            raise ValueError(f"mixer must be one of {', '.join(TEXT_MIXERS)}, got {mixer!r}")
        if cross not in CROSS:
            raise ValueError(f"cross must be one of {', '.join(CROSS)}, got {cross!r}")
        if not len(patches) == len(kept) == encoder_layers:
            raise ValueError(f"each of {encoder_layers} encoder layers needs one, got patches {patches}, kept {kept}")
        self.mixer, self.patches, self.kept, self.rank, self.gated = mixer, patches, kept, rank, gated
        self.cross = cross
        super().__init__(
            vocab_size=vocab_size,
            d_model=d_model,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            encoder_ffn_dim=encoder_ffn_dim,
            decoder_ffn_dim=decoder_ffn_dim,
            encoder_attention_heads=encoder_attention_heads,
            decoder_attention_heads=decoder_attention_heads,
            activation_function=activation_function,
            scale_embedding=scale_embedding,
            init_std=init_std,
            pad_token_id=pad_token_id,
            eos_token_id=eos_token_id,
            decoder_start_token_id=decoder_start_token_id,
            forced_eos_token_id=eos_token_id if forced_eos_token_id is None else forced_eos_token_id,
            **kwargs,
        )

    @property
    def shifted(self) -> list[bool]:
        """Which encoder layers have their patches shifted: every second of those with patches of one size."""
        return [self.patches[:i].count(patch) % 2 == 1 for i, patch in enumerate(self.patches)]


class _Initialised:
    """Computes the matrices of SHFIN layers, which are no part of the state, when weights are drawn or read."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, PatchSpectrum):
            module.reset_buffers()


class SpectralEncoder(_Initialised, MarianEncoder):
    """Marian's encoder with another mixer in the place of self-attention; what it makes of padding is no matter.

    A sentence's encoding does not depend on what it is batched with: patches count from its first position.
    """

    def __init__(self, config: ShfinTranslationConfig) -> None:
        super().__init__(config)
        for layer, patch, kept, shift in zip(self.layers, config.patches, config.kept, config.shifted, strict=True):
            layer.self_attn = InPlaceOfAttention(
                text_mixer(config.mixer, config.d_model, patch, kept, config.rank, config.gated, shift)
            )
        self.post_init()

    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Int[Tensor, "batch length"] | None = None,
        inputs_embeds: Float[Tensor, "batch length dim"] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode; `attention_mask` is 0 for padding, which is to be on the right."""
        real = None if attention_mask is None else attention_mask.bool()
        return super().forward(input_ids, None, inputs_embeds, real=real, **kwargs)


class SpectralDecoder(_Initialised, MarianDecoder):
    """Marian's decoder that attends to spectra of what the encoder makes of patches, not to positions."""

    def __init__(self, config: ShfinTranslationConfig) -> None:
        super().__init__(config)
        self.memory = SpectralMemory(config.d_model, config.patches[0], config.kept[0], config.rank)
        self.post_init()

    def forward(
        self,
        *args: Any,
        encoder_hidden_states: Float[Tensor, "batch length dim"] | None = None,
        encoder_attention_mask: Int[Tensor, "batch length"] | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Decode; once its keys and values are in the cache, the memory is not computed again."""
        if encoder_hidden_states is not None:
            real = None if encoder_attention_mask is None else encoder_attention_mask.bool()
            batch, length, _ = encoder_hidden_states.shape
            if getattr(past_key_values, "is_updated", {}).get(0):
                encoder_hidden_states = encoder_hidden_states.new_empty(batch, self.memory.rows(length), 1)
            else:
                encoder_hidden_states = self.memory(encoder_hidden_states, real)
            encoder_attention_mask = None if real is None else self.memory.real_rows(real)
        return super().forward(
            *args,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            **kwargs,
        )


class ShfinForTranslation(_Initialised, MarianMTModel):
    """Marian with the encoder's self-attention replaced by SHFIN, FNet or AFNO, or left as it is.

    The decoder keeps self-attention: a patch's transform would show it tokens that are still to come.
    """

    config_class = ShfinTranslationConfig
    _keep_in_fp32_modules_strict = PRECISE
    config: ShfinTranslationConfig

    def __init__(self, config: ShfinTranslationConfig) -> None:
        super().__init__(config)
        if config.mixer != "attention":
            self.model.encoder = SpectralEncoder(config)
        if config.cross == "shfin":
            self.model.decoder = SpectralDecoder(config)
        self.post_init()

    def set_progress(self, fraction: float, seed: int = 0) -> None:
        """Anneal all SHFIN layers to where training stands, 0 to 1; the noise follows from `fraction` and `seed`."""
        anneal(self, fraction, seed)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that decay would pull to no meaning: scores and gates of frequencies."""
        return {name for name, _ in self.named_parameters() if name.rsplit(".", 1)[-1] in ("scores", "theta")}

    def chosen_frequencies(self) -> list[tuple[str, np.ndarray]]:
        """Return for each SHFIN layer a map of its patch's frequencies, zero in the middle, 1 for its K."""
        return chosen_frequencies(self)


AutoConfig.register(ShfinTranslationConfig.model_type, ShfinTranslationConfig)
AutoModelForSeq2SeqLM.register(ShfinTranslationConfig, ShfinForTranslation)
