"""The methods with representation tokens: MMRL, MMRL++ and FARL, all of them `ot.farl.Adapter` with other settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from overtone.data import ImageSet
from overtone.farl.adapter import Adapter, ImageFeatures
from overtone.farl.methods.settings import ours, published
from overtone.farl.model import FarlConfig
from overtone.farl.recipes import Recipe, recipe_for
from overtone.models.backbone import Backbone
from overtone.training import TrainingConfig

MMRL, MMRLPP, FARL = (
    "Guo and Gu 2025, arXiv 2503.08497",
    "Guo and Gu 2025, arXiv 2505.10088",
    "arXiv 2512.04395",
)
LOW_RANK: dict[str, Any] = {"head_rank": 64, "map_rank": 4, "fresh": 0.9}  # of MMRL++, as its code has them


@dataclass
class TokensFitted:
    """A fitted adapter."""

    adapter: Adapter
    settings: Mapping[str, str]
    open: bool = True

    def encode(self, images: ImageSet) -> ImageFeatures:
        """Return class and token features."""
        return self.adapter.encode_images(images.records)

    def probabilities(
        self, features: ImageFeatures, classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the adapter's probabilities: both features on classes it saw, the class feature on others (MMRL)."""
        return self.adapter.probabilities(features, classes, templates).cpu()

    def mixed(self, share: float) -> "MixedTokensFitted":
        """Mix with the zero-shot model; see MixedTokensFitted for what of it is ours."""
        return MixedTokensFitted(self.adapter, self.settings, share)


@dataclass
class MixedTokensFitted:
    """A fitted adapter and its backbone, mixed where both have the same thing: in the common space (ours).

    WiSE-FT mixes weights. A tower with tokens inserted has no weights at which it is the tower without them (a token of
    zeros is still attended to), so there is no path between the two. What classifies are class weights w and features
    f: w is mixed as WiSE-FT mixes a linear classifier's, f likewise. At 0 that is zero-shot, at 1 the adapter.
    """

    adapter: Adapter
    settings: Mapping[str, str]
    share: float
    open: bool = True

    def encode(self, images: ImageSet) -> ImageFeatures:
        """Return class, token and frozen features."""
        return self.adapter.encode_images(images.records, frozen=True)

    def probabilities(
        self, features: ImageFeatures, classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax of the mixed features' logits with the mixed class weights."""
        _, zero_shot = self.adapter.encode_classes(classes, templates)
        adapted, seen = self.adapter.class_weights(classes, templates)
        w = self._between(zero_shot, adapted)
        assert features.frozen is not None
        f_c, f_r = (self._between(features.frozen, f) for f in (features.f_c, features.f_r))
        return self.adapter.model.logits(f_c, f_r, w, seen).softmax(dim=-1).cpu()

    def _between(self, zero_shot: Tensor, adapted: Tensor) -> Tensor:
        return (1 - self.share) * zero_shot + self.share * adapted


class Tokens:
    """One of the methods with tokens, by the settings in which it differs from the recipe."""

    def __init__(self, name: str, source: str, prototypes: bool = False, **changes: Any) -> None:
        self.name, self.source, self.prototypes, self.changes = name, source, prototypes, changes

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> TokensFitted:
        """Fit the adapter with the backbone's recipe; validation pictures choose nothing."""
        recipe = recipe_for(backbone, self.prototypes)
        method, training = self.configs(recipe, seed, device)
        adapter = Adapter.fit(train, backbone, method, training, templates)
        return TokensFitted(adapter, self._settings(recipe, adapter))

    def configs(self, recipe: Recipe, seed: int, device: str) -> tuple[FarlConfig, TrainingConfig]:
        """Return the recipe's settings with this method's own."""
        return replace(recipe.method, **self.changes), replace(recipe.training, seed=seed, device=device)

    def _settings(self, recipe: Recipe, adapter: Adapter) -> dict[str, str]:
        method, training = adapter.model.config, adapter.made["training"]
        values = {
            "tokens": method.tokens,
            "width": method.width,
            "alpha": method.alpha,
            "consistency": method.consistency,
            "epochs": training["epochs"],
            "batch": training["batch_size"],
            "rate": training["learning_rate"],
            "weight decay": training["weight_decay"],
        }
        settings = {name: f"{value} ({recipe.source})" for name, value in values.items()}
        settings["views"] = ours(adapter.made["views"], "their frozen states are computed once")
        if method.head_rank is None:
            settings["token head"] = ours("starts as the frozen projection", "as in MMRL++; MMRL's is random")
        if method.prototype:
            settings["prototype"] = ours(method.prototype, "weight of the mean of a class's pictures beside its name")
        for name in LOW_RANK:
            if name in self.changes:
                settings[name.replace("_", " ")] = published(self.changes[name])
        if method.injection != "plain":
            settings["injection"] = method.injection
        return settings


TOKEN_METHODS = (
    Tokens("mmrl", MMRL, injection="plain"),
    Tokens("mmrl++", MMRLPP, injection="plain", **LOW_RANK),
    Tokens("farl", FARL, injection="by_modality"),
    Tokens("farl-by-depth", FARL, injection="by_depth"),
    Tokens("farl-prototypes", f"ours, after {FARL} and arXiv 1703.05175", prototypes=True, injection="by_modality"),
)
