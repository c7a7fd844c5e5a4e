"""Perceivers for pictures: to classify them, or to put values at every position; native to transformers."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, mse_loss
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import ImageClassifierOutput, SemanticSegmenterOutput

from overtone.nn.fourier_features import FourierFeatures
from overtone.nn.perceiver import STD, CrossAttention, PerceiverEncoder

IGNORED = 255  # a position's label that counts for nothing, as in transformers
CHOICES = {"positions": ("fourier", "learned"), "head": ("mean", "query"), "queries": ("positions", "inputs")}


class ImagePerceiverConfig(PreTrainedConfig):
    """The sizes of a Perceiver; the default is the published one for ImageNet, 45 M parameters.

    Jaegle et al. 2021, arXiv 2103.03206, section 4.1. Perceiver IO (arXiv 2107.14795) has cross_attends=1 and
    head="query". The name is not transformers' own, since its Auto classes go by names.
    """

    model_type = "overtone-perceiver"

    def __init__(
        self,
        image_size: int = 224,
        num_channels: int = 3,
        embed_dim: int = 0,
        positions: Literal["fourier", "learned"] = "fourier",
        bands: int = 64,
        resolution: int | Sequence[int] | None = None,
        latents: int = 512,
        dim: int = 1024,
        blocks: int = 8,
        cross_attends: int = 8,
        self_attends: int = 6,
        heads: int = 8,
        cross_heads: int = 1,
        cross_dim: int | None = None,
        head: Literal["mean", "query"] = "mean",
        queries: Literal["positions", "inputs"] = "positions",
        **kwargs: Any,
    ) -> None:
        """Take what the inputs are, how many latents of what width read them, how often, and how the output is read.

        - `embed_dim`: channels to which a pixel is mapped before its position joins it; 0 leaves the pixel as it is.
        - `positions`: Fourier features of `bands` frequencies an axis from 1 to `resolution` / 2 (`image_size` where
          None; one for each axis, or one for both), or trained positions of the same width on `image_size` squared
          positions.
        - `blocks`, `cross_attends`, `self_attends`, `heads`, `cross_heads`, `cross_dim`: see
          `overtone.nn.PerceiverEncoder`; `cross_dim` is the inputs' width where None, as published.
        - `head`: what the classifier sees, the latents' mean (Perceiver) or what a trained query reads (Perceiver IO).
        - `queries`: what asks for the output at a position, its encoding alone or with its pixel (as for optical flow
          in Perceiver IO).

        Raises ValueError for what is out of range.
        """
        resolution = image_size if resolution is None else resolution
        counts = {"image_size": image_size, "num_channels": num_channels, "bands": bands, "latents": latents}
        counts |= {"dim": dim, "blocks": blocks, "self_attends": self_attends, "heads": heads}
        counts |= {"cross_heads": cross_heads, "cross_dim": 1 if cross_dim is None else cross_dim}
        _check_counts(counts)
        _check_choices({"positions": positions, "head": head, "queries": queries})
        if embed_dim < 0:
            raise ValueError(f"embed_dim must be 0 or more, got {embed_dim}")
        if not 1 <= cross_attends <= blocks:
            raise ValueError(f"cross_attends must be from 1 to blocks={blocks}, got {cross_attends}")
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim} and heads={heads}")
        self.image_size, self.num_channels, self.embed_dim = image_size, num_channels, embed_dim
        self.positions, self.bands = positions, bands
        self.resolution = [resolution] * 2 if isinstance(resolution, int) else list(resolution)
        if len(self.resolution) != 2 or min(self.resolution) < 2:
            raise ValueError(f"resolution is a number of pixels, at least 2, for one or both axes, got {resolution}")
        self.latents, self.dim, self.blocks = latents, dim, blocks
        self.cross_attends, self.self_attends = cross_attends, self_attends
        self.heads, self.cross_heads, self.cross_dim = heads, cross_heads, cross_dim
        if self.cross_width % cross_heads:
            raise ValueError(f"cross_dim must be a multiple of cross_heads={cross_heads}, got {self.cross_width}")
        self.head, self.queries = head, queries
        super().__init__(**kwargs)

    @property
    def position_width(self) -> int:
        """The width of an encoded position: both coordinates, and sine and cosine of each frequency of each axis."""
        return 2 * (2 * self.bands + 1)

    @property
    def input_width(self) -> int:
        """The width of a pixel with its position."""
        return (self.embed_dim or self.num_channels) + self.position_width

    @property
    def cross_width(self) -> int:
        """The width of queries, keys and values where latents read inputs."""
        return self.input_width if self.cross_dim is None else self.cross_dim


class PerceiverInputs(nn.Module):
    """Make a picture the set of its pixels, each with its encoded position.

    Positions follow the picture's size: its corners are (-1, -1) and (1, 1), whatever lies between. On a side of fewer
    pixels than `resolution` the highest frequencies are above the Nyquist limit and alias.
    """

    def __init__(self, config: ImagePerceiverConfig) -> None:
        super().__init__()
        self.bands, self.resolution = config.bands, config.resolution
        self.embed = nn.Linear(config.num_channels, config.embed_dim) if config.embed_dim else nn.Identity()
        self.learned = None
        if config.positions == "learned":
            self.learned = nn.Parameter(torch.empty(1, config.position_width, config.image_size, config.image_size))

    def forward(
        self, pixel_values: Float[Tensor, "batch channels h w"]
    ) -> tuple[Float[Tensor, "batch M width"], Float[Tensor, "1 M position_width"]]:
        """Return the inputs, M = h w of them, and their encoded positions alone."""
        height, width = pixel_values.shape[-2:]
        pixels = self.embed(pixel_values.flatten(2).transpose(1, 2))
        positions = self._fourier(height, width, pixels) if self.learned is None else self._learned(height, width)
        return torch.cat([pixels, positions.expand(pixels.shape[0], -1, -1)], dim=-1), positions

    def _fourier(self, height: int, width: int, like: Tensor) -> Float[Tensor, "1 M position_width"]:
        """Encode the grid anew each time, which is cheap: frequencies kept as a buffer would be cast to half precision.

        With them, phases of up to resolution / 4 turns would be lost.
        """
        encode = FourierFeatures.perceiver(2, self.bands, self.resolution).to(like.device)
        axes = [torch.linspace(-1, 1, n, device=like.device, dtype=torch.float32) for n in (height, width)]
        return encode(torch.cartesian_prod(*axes))[None].to(like.dtype)

    def _learned(self, height: int, width: int) -> Float[Tensor, "1 M position_width"]:
        """Return the table, or at another size what lies between its entries; the corners stay."""
        assert self.learned is not None
        table = interpolate(self.learned, (height, width), mode="bilinear", align_corners=True)
        return table.flatten(2).transpose(1, 2)


class QueryHead(nn.Module):
    """Make one vector of the latents: what a trained query reads from them (Perceiver IO)."""

    def __init__(self, config: ImagePerceiverConfig) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, config.dim))
        self.read = CrossAttention(config.dim, config.dim, config.dim)

    def forward(self, z: Float[Tensor, "batch N dim"]) -> Float[Tensor, "batch dim"]:
        """Return it."""
        return self.read(self.query, z)[:, 0]


class _PerceiverModel(PreTrainedModel):
    """What both networks have in common: the inputs and the latents that read them."""

    config_class = ImagePerceiverConfig
    config: ImagePerceiverConfig
    base_model_prefix = "perceiver"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: ImagePerceiverConfig) -> None:
        super().__init__(config)
        self.inputs = PerceiverInputs(config)
        self.encoder = PerceiverEncoder(
            config.input_width,
            config.latents,
            config.dim,
            config.cross_width,
            config.blocks,
            config.cross_attends,
            config.self_attends,
            config.heads,
            config.cross_heads,
        )

    def _init_weights(self, module: nn.Module) -> None:
        """Draw as published: linear maps keep the variance, what is looked up is small."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
        for name in ("latents", "learned", "query"):
            if isinstance(parameter := getattr(module, name, None), nn.Parameter):
                nn.init.trunc_normal_(parameter, std=STD)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that are looked up, not multiplied with: decay would pull them to one another."""
        return {
            name for name, _ in self.named_parameters() if name.rsplit(".", 1)[-1] in ("latents", "learned", "query")
        }


class PerceiverForImageClassification(_PerceiverModel):
    """A Perceiver that classifies pictures of any size (arXiv 2103.03206)."""

    def __init__(self, config: ImagePerceiverConfig) -> None:
        super().__init__(config)
        self.head = QueryHead(config) if config.head == "query" else None
        self.classifier = nn.Linear(config.dim, config.num_labels or 0)
        self.post_init()

    def forward(
        self, pixel_values: Float[Tensor, "batch channels h w"], labels: Int[Tensor, " batch"] | None = None
    ) -> ImageClassifierOutput:
        """Return logits (batch, num_labels), and the cross-entropy when there are labels."""
        inputs, _ = self.inputs(pixel_values)
        z = self.encoder(inputs)
        logits = self.classifier(z.mean(1) if self.head is None else self.head(z))
        loss = None if labels is None else cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class PerceiverForDenseOutput(_PerceiverModel):
    """A Perceiver with `num_labels` values at every position of the picture: segmentation, restoration, optical flow.

    The decoder of Perceiver IO (arXiv 2107.14795, section 3.2): the output at a position is what a query made of its
    encoding reads from the latents, in time O(M N). No two positions' outputs depend on each other.
    """

    def __init__(self, config: ImagePerceiverConfig) -> None:
        super().__init__(config)
        query = config.input_width if config.queries == "inputs" else config.position_width
        self.decoder = CrossAttention(query, config.dim, config.dim, residual=False)
        self.output = nn.Linear(query, config.num_labels or 0)
        self.post_init()

    def forward(
        self,
        pixel_values: Float[Tensor, "batch channels h w"],
        labels: Int[Tensor, "batch h w"] | Float[Tensor, "batch values h w"] | None = None,
    ) -> SemanticSegmenterOutput:
        """Return logits (batch, num_labels, h, w), and the loss when there are labels.

        It is the mean cross-entropy over positions for classes, where 255 is left out, and the mean squared error for
        values.
        """
        inputs, positions = self.inputs(pixel_values)
        queries = inputs if self.config.queries == "inputs" else positions
        values = self.output(self.decoder(queries, self.encoder(inputs)))
        logits = values.transpose(1, 2).unflatten(2, pixel_values.shape[-2:])
        return SemanticSegmenterOutput(loss=None if labels is None else _loss(logits, labels), logits=logits)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return mse_loss(logits, labels)
    return cross_entropy(logits, labels, ignore_index=IGNORED)


def _check_counts(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be 1 or more, got {count}")


def _check_choices(chosen: dict[str, str]) -> None:
    for name, choice in chosen.items():
        if choice not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, got {choice!r}")


AutoConfig.register(ImagePerceiverConfig.model_type, ImagePerceiverConfig)
AutoModelForImageClassification.register(ImagePerceiverConfig, PerceiverForImageClassification)
AutoModelForSemanticSegmentation.register(ImagePerceiverConfig, PerceiverForDenseOutput)
