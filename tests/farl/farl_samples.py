"""Tiny frozen backbones of every kind, and a handful of pictures to adapt them to."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_models import EOS, SIZE, build_clip, build_siglip, scatter
from torch import Tensor, nn

from overtone.data import ImageSet, Record
from overtone.farl import Adapter, FarlConfig, FarlModel, ImageStates, TextStates, image_states, text_states
from overtone.models.backbone import Backbone
from overtone.models.clip import ClipImageTower, ClipTextTower
from overtone.models.dual_encoder import DualEncoder, DualEncoderConfig
from overtone.models.siglip import SiglipImageTower, SiglipTextTower
from overtone.models.tower import Tower
from overtone.training import TrainingConfig

CLASSES = ("red cat", "dog", "a blue bird")
PICTURES = 9
FAST = TrainingConfig(epochs=2, batch_size=4)

# Tokens are the letters, numbered from 1


def letters(texts: Sequence[str], length: int) -> Tensor:
    ids = [[ord(c) % 32 + 1 for c in text][:length] for text in texts]
    longest = max(map(len, ids))
    return torch.tensor([row + [0] * (longest - len(row)) for row in ids])


def clip_letters(texts: Sequence[str]) -> Tensor:
    ids = letters(texts, 14)
    after = torch.nn.functional.pad(torch.where(ids == 0, EOS, ids), (0, 1), value=EOS)
    return torch.nn.functional.pad(after, (1, 0), value=298)


def siglip_letters(texts: Sequence[str]) -> Tensor:
    ids = letters(texts, 12)
    return torch.nn.functional.pad(ids, (0, 12 - ids.shape[1]))


def pixels(image: Image.Image) -> Tensor:
    array = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


# A pair of towers as a user would wrap them: convolution patches, gated sums, another width in each, no CLS, no norm


class MixBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.common = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        real = torch.ones(x.shape[:2]) if mask is None else mask.to(x.dtype)
        mean = (x * real.unsqueeze(-1)).sum(1, keepdim=True) / real.sum(1)[:, None, None]
        return x + 0.3 * torch.tanh(self.own(x) * self.common(mean))


class MixTower(Tower):
    def __init__(self, embedding: nn.Module, width: int, depth: int, features: int) -> None:
        super().__init__()
        self.embedding, self.width, self.depth, self.features = embedding, width, depth, features
        self.layers = nn.ModuleList(MixBlock(width) for _ in range(depth))
        self.out = nn.Linear(width, features, bias=False)

    def blocks(self, tokens: Tensor, mask: Tensor | None, start: int = 0, stop: int | None = None) -> Tensor:
        for layer in self.layers[start:stop]:
            tokens = layer(tokens, mask)
        return tokens

    def pool(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return self.out(tokens.mean(1))
        return self.out((tokens * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))

    @property
    def projection_weight(self) -> Tensor:
        return self.out.weight


class MixImage(MixTower):
    def embed(self, inputs: Tensor) -> tuple[Tensor, None]:
        return self.embedding(inputs).flatten(2).transpose(1, 2), None


class MixText(MixTower):
    def embed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding(inputs), inputs != 0


def hand_backbone(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    image = MixImage(nn.Conv2d(3, 24, 8, stride=8), 24, 4, 10)
    text = MixText(nn.Embedding(40, 16), 16, 2, 10)
    return Backbone("hand", image, text, lambda t: letters(t, 20), pixels, SIZE, (0.5,) * 3, (0.25,) * 3, 10.0)


def clip_backbone() -> Backbone:
    model = build_clip()
    return Backbone("clip", ClipImageTower(model), ClipTextTower(model), clip_letters, pixels, SIZE, logit_scale=14.0)


def siglip_backbone() -> Backbone:
    model = build_siglip()
    return Backbone("siglip", SiglipImageTower(model), SiglipTextTower(model), siglip_letters, pixels, SIZE)


def dual_config() -> DualEncoderConfig:
    text = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"intermediate_size": 48, "max_position_embeddings": 24}
    return DualEncoderConfig(image_size=SIZE, stem=(8, 16), width=40, depth=5, heads=4, text=text, features=24)


def dual_backbone() -> Backbone:
    torch.manual_seed(0)
    model = scatter(DualEncoder(dual_config()))
    return Backbone("dual", model.image, model.text, lambda t: letters(t, 24), pixels, SIZE, logit_scale=20.0)


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "dual": dual_backbone,
    "clip": clip_backbone,
    "siglip": siglip_backbone,
    "hand": hand_backbone,
}


def config(injection: str = "by_modality", **changes: Any) -> FarlConfig:
    return replace(FarlConfig(injection=injection, tokens=3, width=16, heads=2), **changes)  # type: ignore[arg-type]


def model_of(backbone: Backbone, injection: str, seed: int = 0, **changes: Any) -> FarlModel:
    torch.manual_seed(seed)
    return FarlModel(backbone, config(injection, **changes), classes=3)


def moved(model: FarlModel) -> FarlModel:
    """Take the model far from its start: every weight and mean random."""
    generator = torch.Generator().manual_seed(5)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data += 0.3 * torch.randn(tensor.shape, generator=generator)
    return model.eval()


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (SIZE, SIZE + 8, 3), dtype=np.uint8))


def pictures(count: int = PICTURES) -> Tensor:
    return torch.stack([pixels(picture(number)) for number in range(count)])


def train_set(count: int = PICTURES) -> ImageSet:
    return _image_set(picture(number) for number in range(count))


def coloured_set() -> ImageSet:
    """Pictures that can be told apart: red, green and blue with a little noise."""
    colours = ("red", "green", "blue")
    images = [Image.new("RGB", (SIZE, SIZE + 8), colours[number % 3]) for number in range(PICTURES)]
    return _image_set(Image.blend(one, picture(i).resize(one.size), 0.2) for i, one in enumerate(images))


def _image_set(images: Iterable[Image.Image]) -> ImageSet:
    rows = enumerate(images)
    return ImageSet(tuple(Record(f"picture {i}", i % len(CLASSES), None, _png(one)) for i, one in rows), CLASSES)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def states(backbone: Backbone, injection: str, count: int = 5) -> tuple[ImageStates, TextStates]:
    images = image_states(backbone, pictures(count), injection != "plain")
    return images, text_states(backbone, CLASSES, ("{}", "a {}"), "cpu")


def fit(backbone: Backbone | None = None, injection: str = "by_modality", **arguments: Any) -> Adapter:
    settings: dict[str, Any] = {"training": FAST, "method": config(injection), "templates": ("{}",)} | arguments
    return Adapter.fit(settings.pop("train_set", None) or train_set(), backbone or hand_backbone(), **settings)


def weights(adapter: Adapter) -> dict[str, Tensor]:
    return adapter.model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
