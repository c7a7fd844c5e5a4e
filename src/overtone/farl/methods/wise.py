"""WiSE-FT: the mean of an adapted model's weights and of those it started from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from overtone.data import ImageSet
from overtone.farl.methods.interface import Ensembled, Fitted, Method, PictureFeatures
from overtone.farl.methods.settings import published
from overtone.models.backbone import Backbone

SHARE = 0.5  # which the paper recommends where nothing is known of the test pictures


@dataclass
class WiseFitted:
    """A mixture of an adapted model and its backbone."""

    model: Fitted
    settings: Mapping[str, str]

    @property
    def open(self) -> bool:
        """Whether it can score classes that it never saw."""
        return self.model.open

    def encode(self, images: ImageSet) -> PictureFeatures:
        """Return what the mixture wants of pictures."""
        return self.model.encode(images)

    def probabilities(
        self, features: PictureFeatures, classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the mixture's probabilities."""
        return self.model.probabilities(features, classes, templates)


class Wise:
    """Weight-space ensembling of a method that has weights.

    `mixed` of what the method fitted says which weights these are.
    """

    def __init__(self, base: Method) -> None:
        self.base, self.name = base, f"{base.name}+wise"
        self.source = f"Wortsman et al. 2022, arXiv 2109.01903, of {base.source}"

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> WiseFitted:
        """Fit the method and go half of the way."""
        fitted: Ensembled = self.base.fit(backbone, train, validation, templates, seed, device)  # type: ignore[assignment]
        settings = {**fitted.settings, "share of the adapted weights": published(SHARE)}
        return WiseFitted(fitted.mixed(SHARE), settings)
