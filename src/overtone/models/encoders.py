"""Our own encoders: pictures through convolutions or SHFIN stages and then attention, texts through a BERT."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import relu
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from overtone.models.shfin import CELLS, ShfinConfig, ShfinModel
from overtone.models.tower import ClassTokenTower, Tower
from overtone.nn import AttentionBlock, FourierFeatures, grid

if TYPE_CHECKING:
    from overtone.models.dual_encoder import DualEncoderConfig


class ConvBlock(nn.Module):
    """A 3 x 3 convolution, strided to change resolution, then a residual pair of them (He et al. 2016)."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.enter = convolution(channels, out_channels, stride)
        self.first, self.second = (convolution(out_channels, out_channels) for _ in range(2))

    def forward(self, x: Float[Tensor, "batch channels _ _"]) -> Float[Tensor, "batch out_channels _ _"]:
        """Return the refined map."""
        x = relu(self.enter(x))
        return relu(x + self.second(relu(self.first(x))))


def convolution(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch normalisation."""
    layer = nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels))


class SpectralStem(nn.Module):
    """SHFIN stages at high resolution, then one more halving: what stands before attention in place of convolutions.

    A SHFIN layer mixes the positions of a patch through a few of its frequencies, at a fraction of attention's cost
    where there are many positions; only the last stage, which has few, is left to attention.
    """

    def __init__(self, config: ShfinConfig, width: int) -> None:
        super().__init__()
        self.stages = ShfinModel(config)
        _, halving = CELLS[config.cells]
        self.reduce = halving(config.dims[-1], width, 2)

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch width _ _"]:
        """Return the map of patches, channels first as a convolution has them."""
        return self.reduce(self.stages(x)).permute(0, 3, 1, 2)


def make_stem(config: "DualEncoderConfig") -> nn.Module:
    """Return what turns pixels into patches: SHFIN stages where the config has them, else convolutions."""
    if config.shfin is not None:
        return SpectralStem(ShfinConfig(image_size=config.image_size, **config.shfin), config.width)
    thin, wide = config.stem
    return nn.Sequential(
        convolution(3, thin, stride=2),
        nn.ReLU(),
        ConvBlock(thin, wide, stride=2),
        ConvBlock(wide, config.width, stride=2),
    )


class ImageEncoder(ClassTokenTower):
    """Convolutions or SHFIN stages down to patches, Fourier position features, then attention over the patches."""

    def __init__(self, config: "DualEncoderConfig") -> None:
        super().__init__()
        self.depth, self.width, self.features = config.depth, config.width, config.features
        self.stem = make_stem(config)
        self.positions = FourierFeatures.random(2, config.width // 2, config.position_std)
        self.position_map = nn.Linear(self.positions.out_dim, config.width)
        self.cls = nn.Parameter(torch.zeros(config.width))
        self.layers = nn.ModuleList(AttentionBlock(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.features, bias=False)

    def embed(self, inputs: Float[Tensor, "batch 3 h w"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return a class token, which starts as the mean patch, and a token for every patch, with its position."""
        patches = self.stem(inputs)
        encoded = self.positions(grid(*patches.shape[-2:]).to(self.positions.frequencies))
        where = self.position_map(encoded.to(patches.dtype))
        tokens = patches.flatten(2).transpose(1, 2) + where
        return torch.cat([self.cls + tokens.mean(dim=1, keepdim=True), tokens], dim=1), None


class TextEncoder(Tower):
    """A BERT (or RoBERTa) whose mean token, as in sentence-transformers, is mapped into the common space."""

    leading = 1
    bert: Any

    def __init__(self, bert: PreTrainedModel, features: int) -> None:
        super().__init__()
        self.bert = bert
        self.depth, self.width = self.bert.config.num_hidden_layers, self.bert.config.hidden_size
        self.features = features
        self.projection = nn.Linear(self.width, features, bias=False)

    def embed(
        self, inputs: Int[Tensor, "batch length"]
    ) -> tuple[Float[Tensor, "batch length width"], Bool[Tensor, "batch length"]]:
        """Return the embedded word pieces, and which are real."""
        return self.bert.embeddings(inputs), inputs.ne(self.bert.config.pad_token_id or 0)

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run BERT's layers start..stop-1, blind to padding."""
        attention_mask = create_bidirectional_mask(self.bert.config, inputs_embeds=tokens, attention_mask=mask)
        for layer in self.bert.encoder.layer[start:stop]:
            tokens = layer(tokens, attention_mask)
        return tokens

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Project the mean of the real tokens."""
        assert mask is not None
        real = mask.unsqueeze(-1).to(tokens.dtype)
        return self.projection((tokens * real).sum(1) / real.sum(1))

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The map from the mean token to the embedding."""
        return self.projection.weight
