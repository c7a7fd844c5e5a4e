"""Tip-Adapter: a cache of the training pictures beside the zero-shot classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from overtone.data import ImageSet
from overtone.farl.methods.settings import as_published, chosen, learn, published, share_right, view_features
from overtone.farl.methods.zero_shot import FrozenTower, columns
from overtone.models.backbone import Backbone
from overtone.training import TrainingConfig

VIEWS = 10  # random views of a picture, whose mean feature is its key
ALPHA, BETA = 1.17, 1.0  # where the authors' code starts on ImageNet
# The widest grid that it searches on validation pictures: in 20 and in 200 steps from 0.1 up to 13
ALPHAS, BETAS = (tuple(0.1 + i * (13 - 0.1) / steps for i in range(steps)) for steps in (20, 200))
WIDER = (20.0, 30.0, 50.0, 80.0, 120.0)  # alpha too, where the backbone is not of the published kind (ours)
EPOCHS, BATCH, RATE, DECAY = 20, 256, 1e-3, 1e-2


def cache_logits(
    features: Float[Tensor, "images features"],
    keys: Float[Tensor, "rows features"],
    values: Float[Tensor, "rows classes"],
    beta: float,
) -> Float[Tensor, "images classes"]:
    """Return exp(-beta (1 - f F^T)) L (eq. 5): with beta to infinity, the nearest picture's class."""
    return (-beta * (1 - features @ keys.T)).exp() @ values


@dataclass
class TipAdapterFitted(FrozenTower):
    """Zero-shot logits plus those of the cache; names that the cache does not hold get the zero-shot part alone."""

    classes: tuple[str, ...]
    keys: Float[Tensor, "rows features"]
    start: Float[Tensor, "rows features"]  # the keys before they were trained
    values: Float[Tensor, "rows classes"]
    alpha: float
    beta: float
    settings: Mapping[str, str]
    open: bool = True

    def probabilities(
        self, features: Float[Tensor, "images features"], classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax of f W^T + alpha exp(-beta (1 - f F^T)) L, f W^T at the backbone's scale (eq. 6)."""
        logits = self.backbone.logit_scale * features @ self.zero_shot_weights(classes, templates).T
        known = [i for i, name in enumerate(classes) if name in self.classes]
        if known:
            values = self.values[:, columns([classes[i] for i in known], self.classes)]
            logits[:, known] += self.alpha * cache_logits(features, self.keys, values, self.beta)
        return logits.softmax(dim=-1)

    def mixed(self, share: float) -> "TipAdapterFitted":
        """Mix with the zero-shot classifier: the one whose values L are zero, and whose keys are as they were."""
        keys = (1 - share) * self.start + share * self.keys
        return replace(self, keys=keys, values=share * self.values)


class TipAdapter:
    """Tip-Adapter, training-free, or with trained keys (Tip-Adapter-F)."""

    source = "Zhang et al. 2022, arXiv 2207.09519"

    def __init__(self, trained: bool) -> None:
        self.name, self.trained = "tip-adapter-f" if trained else "tip-adapter", trained

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> TipAdapterFitted:
        """Fill the cache, train its keys where they are to be, and choose alpha and beta on validation pictures.

        The authors' code keeps the epoch that is best on the test pictures; here it is the last.
        """
        tower = FrozenTower(backbone.to(device), device)
        views = view_features(backbone, train, VIEWS, seed, device)
        start = normalize(views.mean(dim=0), dim=-1)
        values = one_hot(torch.tensor(train.labels), len(train.classes)).float()
        w = backbone.logit_scale * tower.zero_shot_weights(train.classes, templates)
        keys = self._train(views, start, values, w, torch.tensor(train.labels), seed) if self.trained else start
        alpha, beta = ALPHA, BETA
        settings = {"alpha": published(ALPHA), "beta": published(BETA), "views": published(VIEWS)}
        if validation is not None:
            held, truth = tower.encode(validation), torch.tensor(validation.labels)
            alphas = ALPHAS if as_published(backbone) else ALPHAS + WIDER
            alpha, beta = search(held, held @ w.T, keys, values, truth, alphas)
            settings |= {"alpha": chosen(f"{alpha:.2f}"), "beta": chosen(f"{beta:.2f}")}
        if self.trained:
            settings["training"] = published(f"AdamW, rate {RATE}, {EPOCHS} epochs, batch {BATCH}")
        return TipAdapterFitted(backbone, device, train.classes, keys, start, values, alpha, beta, settings)

    def _train(self, views: Tensor, start: Tensor, values: Tensor, w: Tensor, labels: Tensor, seed: int) -> Tensor:
        model = _Keys(start, values, w)

        def collate(rows: list[int]) -> dict[str, Any]:
            return {"features": views[torch.randint(len(views), (len(rows),)), rows], "labels": labels[rows]}

        config = TrainingConfig(EPOCHS, BATCH, RATE, DECAY, warmup_epochs=0, seed=seed)
        learn(model, len(labels), collate, config, adam_epsilon=1e-4)
        return model.keys.detach()


class _Keys(nn.Module):
    """The cross-entropy of Tip-Adapter's logits, of which the keys F are learned."""

    def __init__(self, keys: Tensor, values: Tensor, w: Tensor) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys.clone())
        self.values, self.w = values, w

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = features @ self.w.T + ALPHA * cache_logits(features, self.keys, self.values, BETA)
        return {"loss": cross_entropy(logits, labels)}


def search(
    features: Float[Tensor, "images features"],
    zero_shot: Float[Tensor, "images classes"],
    keys: Float[Tensor, "rows features"],
    values: Float[Tensor, "rows classes"],
    labels: Int[Tensor, " images"],
    alphas: Sequence[float] = ALPHAS,
) -> tuple[float, float]:
    """Return the alpha and beta with the best accuracy on pictures, the first of several."""
    found, alpha, beta = -1.0, ALPHA, BETA
    for sharp in BETAS:
        cached = cache_logits(features, keys, values, sharp)
        for weight in alphas:
            right = share_right(zero_shot + weight * cached, labels)
            if right > found:
                found, alpha, beta = right, weight, sharp
    return alpha, beta
