"""The backbone as it is, and what every method that leaves the image tower alone shares with it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from overtone.data import ImageSet, Record
from overtone.farl.states import BATCH, text_states
from overtone.models.backbone import Backbone
from overtone.progress import shown

CLASSES = 1024  # class names in one pass


@torch.no_grad()
def image_features(
    backbone: Backbone, records: Sequence[Record], device: torch.device | str
) -> Float[Tensor, "images features"]:
    """Return the unit embeddings that the backbone gives pictures, on the CPU."""
    parts = []
    for start in shown(range(0, len(records), BATCH), "encoding pictures"):
        x = torch.stack([backbone.preprocess(record.open()) for record in records[start : start + BATCH]])
        parts.append(normalize(backbone.image(x.to(device)), dim=-1).cpu())
    return torch.cat(parts)


def class_features(
    backbone: Backbone, classes: Sequence[str], templates: Sequence[str], device: torch.device | str
) -> Float[Tensor, "classes features"]:
    """Return the unit embeddings that the backbone gives class names, each a mean over templates, on the CPU."""
    parts = [
        text_states(backbone, classes[start : start + CLASSES], templates, device).frozen.cpu()
        for start in range(0, len(classes), CLASSES)
    ]
    return torch.cat(parts)


def columns(classes: Sequence[str], fitted: Sequence[str]) -> list[int]:
    """Return where each class stands among the fitted ones; of two with one name, as ImageNet has them, in order."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(fitted):
        places[name].append(place)
    again: Counter[str] = Counter()
    found = []
    for name in classes:
        found.append(places[name][again[name] % len(places[name])])
        again[name] += 1
    return found


@dataclass
class FrozenTower:
    """An adapted model that sees pictures as the backbone does."""

    backbone: Backbone
    device: str

    def __post_init__(self) -> None:
        """Start with no class embeddings kept."""
        self._classes: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}

    def encode(self, images: ImageSet) -> Float[Tensor, "images features"]:
        """Return unit embeddings."""
        return image_features(self.backbone, images.records, self.device)

    def zero_shot_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "classes features"]:
        """Return the backbone's embeddings of class names; the last ones asked for are kept."""
        key = tuple(classes), tuple(templates)
        if key not in self._classes:
            self._classes = {key: class_features(self.backbone, classes, templates, self.device)}
        return self._classes[key]


@dataclass
class ZeroShotFitted(FrozenTower):
    """The backbone as it is."""

    settings: Mapping[str, str]
    open: bool = True

    def probabilities(
        self, features: Float[Tensor, "images features"], classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax of the scaled cosines."""
        return (self.backbone.logit_scale * features @ self.zero_shot_weights(classes, templates).T).softmax(dim=-1)


class ZeroShot:
    """No adapting: the class whose name is nearest (Radford et al. 2021, arXiv 2103.00020)."""

    name, source = "zero-shot", "Radford et al. 2021, arXiv 2103.00020"

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> ZeroShotFitted:
        """Return the backbone; nothing is learned."""
        return ZeroShotFitted(backbone.to(device), device, {})
