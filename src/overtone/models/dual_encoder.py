"""The embedded model: a small image encoder beside a small text encoder, in one space."""

from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import normalize, relu
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.masking_utils import create_bidirectional_mask

from overtone.models.backbone import EMBEDDED, Backbone, digest_of_files, weight_files
from overtone.models.tower import Tower
from overtone.nn import AttentionBlock, FourierFeatures, grid


class DualEncoderConfig(PreTrainedConfig):
    """Sizes of a `DualEncoder`; `text` holds the fields of a BertConfig."""

    model_type = "overtone-dual-encoder"

    def __init__(
        self,
        image_size: int = 48,
        stem: Sequence[int] = (32, 64),
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        position_std: float = 2.0,
        text: dict[str, Any] | None = None,
        features: int = 384,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size
        self.stem = list(stem)
        self.width = width
        self.depth = depth
        self.heads = heads
        self.position_std = position_std
        self.text = text or BertConfig().to_dict()
        self.features = features


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


class ImageEncoder(Tower):
    """Convolutions down to an eighth of the resolution, Fourier position features, then attention over the patches."""

    leading = 1

    def __init__(self, config: DualEncoderConfig) -> None:
        super().__init__()
        self.depth, self.width, self.features = config.depth, config.width, config.features
        thin, wide = config.stem
        self.stem = nn.Sequential(
            convolution(3, thin, stride=2),
            nn.ReLU(),
            ConvBlock(thin, wide, stride=2),
            ConvBlock(wide, config.width, stride=2),
        )
        self.positions = FourierFeatures.random(2, config.width // 2, config.position_std)
        self.position_map = nn.Linear(self.positions.out_dim, config.width)
        self.cls = nn.Parameter(torch.zeros(config.width))
        self.layers = nn.ModuleList(AttentionBlock(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.features, bias=False)

    def embed(self, inputs: Float[Tensor, "batch 3 h w"]) -> tuple[Float[Tensor, "batch length width"], None]:
        """Return a class token, which starts as the mean patch, and a token for every 8 x 8 pixels, with positions."""
        patches = self.stem(inputs)
        where = self.position_map(self.positions(grid(*patches.shape[-2:]).to(self.positions.frequencies)))
        tokens = patches.flatten(2).transpose(1, 2) + where
        return torch.cat([self.cls + tokens.mean(dim=1, keepdim=True), tokens], dim=1), None

    def blocks(
        self,
        tokens: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch length"] | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """Run the attention blocks start..stop-1."""
        for layer in self.layers[start:stop]:
            tokens = layer(tokens)
        return tokens

    def pool(
        self, tokens: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch length"] | None
    ) -> Float[Tensor, "batch features"]:
        """Project the class token."""
        return self.projection(self.norm(tokens[:, 0]))

    @property
    def projection_weight(self) -> Float[Tensor, "features width"]:
        """The map from the normed class token to the embedding."""
        return self.projection.weight


class TextEncoder(Tower):
    """A BERT whose mean token, as in sentence-transformers, is mapped into the common space."""

    leading = 1

    def __init__(self, config: DualEncoderConfig) -> None:
        super().__init__()
        self.bert = BertModel(BertConfig(**config.text), add_pooling_layer=False)
        self.depth, self.width = self.bert.config.num_hidden_layers, self.bert.config.hidden_size
        self.features = config.features
        self.projection = nn.Linear(self.width, config.features, bias=False)

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


class DualEncoder(PreTrainedModel):
    """An image and a text encoder whose embeddings of a matching pair point the same way."""

    config_class = DualEncoderConfig
    config: DualEncoderConfig
    base_model_prefix = "dual_encoder"

    def __init__(self, config: DualEncoderConfig) -> None:
        super().__init__(config)
        self.image = ImageEncoder(config)
        self.text = TextEncoder(config)
        self.logit_scale = nn.Parameter(torch.tensor(30.0).log())
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep what the layers chose for themselves."""

    def forward(
        self, pixel_values: Float[Tensor, "batch 3 h w"], input_ids: Int[Tensor, "texts length"]
    ) -> Float[Tensor, "batch texts"]:
        """Return the scaled cosine of every image with every text."""
        image, text = normalize(self.image(pixel_values), dim=-1), normalize(self.text(input_ids), dim=-1)
        return self.logit_scale.exp() * image @ text.T


AutoConfig.register(DualEncoderConfig.model_type, DualEncoderConfig)
AutoModel.register(DualEncoderConfig, DualEncoder)


MEAN, STD = 0.5, 0.25  # of pixels in [0, 1], the same for every channel


def load_embedded(directory: Path | None = None) -> Backbone:
    """Return the model that comes with Overtone, or a `DualEncoder` saved in `directory` with its tokenizer."""
    folder = directory or Path(str(files("overtone") / "assets/embedded"))
    model = DualEncoder.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    size = model.config.image_size
    return Backbone(
        name=EMBEDDED,
        image=model.image,
        text=model.text,
        tokenize=partial(_tokenize, tokenizer, model.config.text["max_position_embeddings"]),
        pixels=partial(_pixels, size),
        size=size,
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        logit_scale=model.logit_scale.exp().item(),
        preprocessing={"resize": f"cover {size} x {size}, centred", "filter": "lanczos", "mean": MEAN, "std": STD},
        digest=digest_of_files(weight_files(folder)),
    )


def _tokenize(tokenizer: PreTrainedTokenizerFast, length: int, texts: Sequence[str]) -> Int[Tensor, "batch length"]:
    return tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt").input_ids


def _pixels(size: int, image: Image.Image) -> Float[Tensor, "3 size size"]:
    """Cover a square with the picture, cutting what stands over on both sides."""
    fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).view(size, size, 3).permute(2, 0, 1) / 255
