"""transformers' single encoders as towers of a `DualEncoder`: mapped into one space, made from a config or given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    BertModel,
    CLIPTextModel,
    CLIPVisionModel,
    Dinov2Model,
    PreTrainedModel,
    RobertaModel,
    SiglipTextModel,
    SiglipVisionModel,
    ViTModel,
    XLMRobertaModel,
)

from overtone.models.clip import ClipImageTower, ClipTextTower
from overtone.models.encoders import TextEncoder
from overtone.models.siglip import SiglipImageTower, SiglipTextTower
from overtone.models.tower import ClassTokenTower, Tower


def clip_vision(model: CLIPVisionModel, features: int) -> Tower:
    """Return CLIP's vision transformer with a projection of its class token."""
    projection = nn.Linear(model.config.hidden_size, features, bias=False)
    return ClipImageTower(SimpleNamespace(vision_model=model, visual_projection=projection))  # type: ignore[arg-type]


def clip_text(model: CLIPTextModel, features: int) -> Tower:
    """Return CLIP's causal text transformer with a projection of its last token."""
    projection = nn.Linear(model.config.hidden_size, features, bias=False)
    return ClipTextTower(SimpleNamespace(text_model=model, text_projection=projection))  # type: ignore[arg-type]


def siglip_text(model: SiglipTextModel, features: int) -> Tower:
    """Return SigLIP's text transformer; its head maps into the common space."""
    if model.head.out_features != features:
        model.head = nn.Linear(model.config.hidden_size, features)
    return SiglipTextTower(SimpleNamespace(text_model=model))  # type: ignore[arg-type]


class SiglipVision(SiglipImageTower):
    """SigLIP's vision transformer, whose pooled patches are projected where the common space has another width."""

    def __init__(self, model: SiglipVisionModel, features: int) -> None:
        super().__init__(SimpleNamespace(vision_model=model))  # type: ignore[arg-type]
        self.projection: nn.Linear | None = None
        if features != self.width:
            self.projection, self.features = nn.Linear(self.width, features, bias=False), features

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Return what the attention-pooling head gathers, projected."""
        pooled = super().pool(tokens, mask)
        return pooled if self.projection is None else self.projection(pooled)

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The projection, or the identity."""
        return super().projection_weight if self.projection is None else self.projection.weight


class VisionTransformer(ClassTokenTower):
    """A ViT or DINOv2: patches behind a class token, which is normed and projected."""

    def __init__(self, model: Any, features: int) -> None:
        super().__init__()
        self.embeddings, self.norm = model.embeddings, model.layernorm
        self.layers = model.layers if hasattr(model, "layers") else model.encoder.layer
        self.depth, self.width, self.features = len(self.layers), model.config.hidden_size, features
        self.projection = nn.Linear(self.width, features, bias=False)

    def embed(self, inputs: Float[Tensor, "batch 3 size size"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return the class token and the patches, with positions."""
        return self.embeddings(inputs), None


@dataclass(frozen=True)
class Family:
    """Models of one architecture: their class, what makes a tower of one, and how the class leaves a head out."""

    model: type[PreTrainedModel]
    tower: Callable[[Any, int], Tower]  # of the model, mapping into so many features
    options: dict[str, Any] = field(default_factory=dict)

    def new(self, fields: dict[str, Any], features: int) -> Tower:
        """Return a tower with fresh weights from the fields of a config."""
        return self.tower(self.model(AutoConfig.for_model(**fields), **self.options), features)


HEADLESS = {"add_pooling_layer": False}
VISION = {  # by model_type
    "clip_vision_model": Family(CLIPVisionModel, clip_vision),
    "siglip_vision_model": Family(SiglipVisionModel, SiglipVision),
    "vit": Family(ViTModel, VisionTransformer, HEADLESS),
    "dinov2": Family(Dinov2Model, VisionTransformer),
}
TEXT = {
    "bert": Family(BertModel, TextEncoder, HEADLESS),
    "roberta": Family(RobertaModel, TextEncoder, HEADLESS),
    "xlm-roberta": Family(XLMRobertaModel, TextEncoder, HEADLESS),
    "clip_text_model": Family(CLIPTextModel, clip_text),
    "siglip_text_model": Family(SiglipTextModel, siglip_text),
}
