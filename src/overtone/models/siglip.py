"""transformers' SigLIP models (and the fixed-resolution SigLIP 2 ones, which use the same classes) as towers."""

from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import SiglipModel
from transformers.masking_utils import create_bidirectional_mask

from overtone.models.tower import Tower


class SiglipImageTower(Tower):
    """SigLIP's vision transformer; a learned probe attends over the patches and gives the embedding.

    The head has no linear map of its own, so `projection_weight` stays the identity.
    """

    def __init__(self, model: SiglipModel) -> None:
        super().__init__()
        vision = model.vision_model
        if not vision.use_head:
            raise ValueError("this SigLIP model was built with vision_use_head=False: it has no image embedding")
        self.embeddings, self.layers = vision.embeddings, vision.encoder.layers
        self.norm, self.head = vision.post_layernorm, vision.head
        self.depth = len(self.layers)
        self.width = self.features = vision.config.hidden_size

    def embed(self, inputs: Float[Tensor, "batch 3 size size"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return the patches; there is no class token."""
        return self.embeddings(inputs), None

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

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Return what the attention-pooling head gathers from the normed patches."""
        return self.head(self.norm(tokens))


class SiglipTextTower(Tower):
    """SigLIP's text transformer; its last position, padding or not, is the embedding.

    It was trained on texts padded to one length that attend to their padding, so nothing may be cut and all is real.
    """

    def __init__(self, model: SiglipModel) -> None:
        super().__init__()
        text = model.text_model
        self.config, self.embeddings, self.layers = text.config, text.embeddings, text.encoder.layers
        self.norm, self.head = text.final_layer_norm, text.head
        self.depth = len(self.layers)
        self.features, self.width = self.head.weight.shape

    def embed(self, inputs: Int[Tensor, "batch length"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return the embedded ids, padding included."""
        return self.embeddings(inputs), None

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the layers start..stop-1; every token sees every real one."""
        attention_mask = create_bidirectional_mask(self.config, inputs_embeds=tokens, attention_mask=mask)
        for layer in self.layers[start:stop]:
            tokens = layer(tokens, attention_mask)
        return tokens

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Project the last position."""
        return self.head(self.norm(tokens[:, -1]))

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The head's linear map."""
        return self.head.weight
