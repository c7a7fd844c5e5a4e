"""transformers' CLIP models as towers: they hold the model's own modules, so no weight exists twice."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import CLIPModel
from transformers.masking_utils import create_causal_mask

from overtone.models.tower import ClassTokenTower, Tower

# Before transformers' PR #24773 CLIP's configs carried this id, which is wrong: the true EOT is the highest id.
LEGACY_EOS = 2


class ClipImageTower(ClassTokenTower):
    """CLIP's vision transformer; the class token is the embedding."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        vision = model.vision_model
        self.embeddings, self.pre_norm, self.layers = vision.embeddings, vision.pre_layrnorm, vision.encoder.layers
        self.norm, self.projection = vision.post_layernorm, model.visual_projection
        self.depth = len(self.layers)
        self.features, self.width = self.projection.weight.shape

    def embed(self, inputs: Float[Tensor, "batch 3 size size"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return the class token and the patches, after CLIP's norm in front of the blocks."""
        return self.pre_norm(self.embeddings(inputs)), None

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the layers start..stop-1; every token sees every other."""
        for layer in self.layers[start:stop]:
            tokens = layer(tokens, None)
        return tokens

    def last_block(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None, kept: int
    ) -> Float[Tensor, "batch kept width"]:
        """Let the first `kept` tokens alone ask; of all others the block needs no more than keys and values."""
        layer: Any = self.layers[-1]
        attention = layer.self_attn
        x = layer.layer_norm1(tokens)
        asked = attention.q_proj(x[:, :kept]), attention.k_proj(x), attention.v_proj(x)
        q, k, v = (t.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for t in asked)
        y = scaled_dot_product_attention(q, k, v, scale=attention.scale).transpose(1, 2).flatten(2)
        x = tokens[:, :kept] + attention.out_proj(y)
        return x + layer.mlp(layer.layer_norm2(x))


class ClipTextTower(Tower):
    """CLIP's causal text transformer; the token at the first EOT is the embedding.

    It takes any length up to the model's: what stands after the EOT cannot be seen from it, so cutting there is exact.
    """

    leading = 1

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        text = model.text_model
        self.config, self.eos = text.config, text.eos_token_id
        self.embeddings, self.layers = text.embeddings, text.encoder.layers
        self.norm, self.projection = text.final_layer_norm, model.text_projection
        self.depth = len(self.layers)
        self.features, self.width = self.projection.weight.shape

    def embed(
        self, inputs: Int[Tensor, "batch length"]
    ) -> tuple[Float[Tensor, "batch length width"], Bool[Tensor, "batch length"]]:
        """Return the embedded ids; real are those up to and including the first EOT."""
        eot = inputs if self.eos == LEGACY_EOS else (inputs == self.eos).int()
        position = torch.arange(inputs.shape[1], device=inputs.device)
        return self.embeddings(inputs), position <= eot.argmax(-1, keepdim=True)

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the layers start..stop-1 under a causal mask, which hides the padding too: it comes last."""
        attention_mask = create_causal_mask(
            self.config, inputs_embeds=tokens, attention_mask=None, past_key_values=None
        )
        for layer in self.layers[start:stop]:
            tokens = layer(tokens, attention_mask, is_causal=True)
        return tokens

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Project the last real token."""
        if mask is None:
            last = tokens[:, -1]
        else:
            last = tokens[torch.arange(len(tokens), device=tokens.device), mask.sum(-1) - 1]
        return self.projection(self.norm(last))

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """CLIP's text projection."""
        return self.projection.weight
