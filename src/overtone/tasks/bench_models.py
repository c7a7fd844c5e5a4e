"""The networks that `overtone bench` measures, by name: built from configs with random weights, nothing is downloaded.

To add one, add an entry to `MODELS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

CLASSES: dict[str, Any] = {"num_labels": 1000}
VIT_SMALL_16: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}


@dataclass(frozen=True)
class Network:
    """How a network comes to be."""

    build: Callable[[int], "nn.Module"]
    """From the pictures' side in pixels to a module that takes (batch, 3, side, side)."""
    about: str = ""
    """What its name does not say."""
    sized: bool = False
    """Whether its weights depend on the pictures' side: it is then built anew for each resolution."""


def _backbone(preset: str, mixer: str = "shfin") -> Callable[[int], "nn.Module"]:
    """Return a builder of our own backbone in one of its sizes, with SHFIN or another mixer in its place."""

    def build(image_size: int) -> "nn.Module":
        from overtone.models.shfin import ShfinConfig, ShfinForImageClassification

        # SHFIN's patches are the same at any resolution: only a filter as large as its map has to know of it
        changes = {} if mixer == "shfin" else {"mixer": mixer, "image_size": image_size}
        return ShfinForImageClassification(getattr(ShfinConfig, preset)(**CLASSES, **changes))

    return build


def _resnet_50(image_size: int) -> "nn.Module":
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(**CLASSES))


def _convnext_tiny(image_size: int) -> "nn.Module":
    from transformers import ConvNextConfig, ConvNextForImageClassification

    return ConvNextForImageClassification(ConvNextConfig(**CLASSES))


def _vit_small_16(image_size: int) -> "nn.Module":
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**VIT_SMALL_16, **CLASSES, image_size=image_size))


def _rival(mixer: str, what: str, sized: bool = False) -> Network:
    return Network(_backbone("small", mixer), f"the backbone of shfin-small with {what} in SHFIN's place", sized)


MODELS: dict[str, Network] = {
    "shfin-small": Network(_backbone("small")),
    "shfin-fast": Network(_backbone("fast")),
    "resnet-50": Network(_resnet_50),
    "convnext-tiny": Network(_convnext_tiny),
    "vit-small-16": Network(_vit_small_16, sized=True),
    "fnet": _rival("fnet", "FNet"),
    "gfnet": _rival("gfnet", "GFNet", sized=True),
    "afno": _rival("afno", "AFNO"),
    "attention": _rival("attention", "attention"),
    "conv": _rival("conv", "a depthwise 7 x 7 convolution"),
}
MEASURED = ("shfin-small", "shfin-fast", "resnet-50", "convnext-tiny", "vit-small-16", "fnet", "gfnet", "afno")
GROWING = ("shfin-small", "shfin-fast", "attention", "vit-small-16")  # measured at other resolutions
