"""What every way of adapting offers, so that one harness measures them all."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from jaxtyping import Float
from torch import Tensor

from overtone.data import ImageSet
from overtone.models.backbone import Backbone

PictureFeatures: TypeAlias = Any  # what `Fitted.encode` gave; only the model that made it can read it


class Fitted(Protocol):
    """An adapted model."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Every hyper-parameter, with where it comes from: "5 (published)", "0.3 (chosen on validation shots)"."""
        ...

    @property
    def open(self) -> bool:
        """Whether it can score classes that it never saw."""
        ...

    def encode(self, images: ImageSet) -> PictureFeatures:
        """Return what `probabilities` wants of pictures: one encoding serves any list of classes."""
        ...

    def probabilities(
        self, features: PictureFeatures, classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the probabilities of `classes`, each put into words by `templates`, on the CPU.

        Raises ValueError for a class that was not adapted to where the model is not `open`.
        """
        ...


class Ensembled(Fitted, Protocol):
    """An adapted model with weights, which can be mixed with those it started from (WiSE-FT)."""

    def mixed(self, share: float) -> Fitted:
        """Return the model at this share of the way, in [0, 1], from zero-shot (0) to this model (1)."""
        ...


class Method(Protocol):
    """A way of adapting."""

    name: str
    source: str  # the paper

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> Fitted:
        """Adapt the backbone, which stays as it is, to the pictures of `train`.

        `validation`, pictures of the same classes, is there to choose settings by, where a method does so at all.
        """
        ...
