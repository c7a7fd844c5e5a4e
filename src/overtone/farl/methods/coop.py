"""CoOp: the words around a class name, learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from overtone.data import ImageSet
from overtone.farl.methods.settings import (
    as_published,
    best,
    chosen,
    learn,
    ours,
    published,
    share_right,
    view_features,
)
from overtone.farl.methods.zero_shot import FrozenTower
from overtone.farl.recipes import recipe_for
from overtone.farl.states import encode_buckets, text_buckets
from overtone.models.backbone import Backbone
from overtone.training import TrainingConfig

WORDS = "a photo of a"  # the context's start, which the authors' code offers and CoCoOp's comparison uses
VIEWS = 4  # as FARL
RATE, DECAY, MOMENTUM, BATCH = 2e-3, 5e-4, 0.9, 32
RATES = (2e-3, 2e-2, 2e-1)  # tried where the published one was chosen for another kind of backbone


def epochs_for(shots: float) -> int:
    """Return the published length of training: 50 epochs for a shot, 100 for up to four, 200 for more."""
    return 50 if shots <= 1 else 100 if shots <= 4 else 200


class Context(nn.Module):
    """Learnable vectors in the place of a sentence's first words, before every class name: [V]_1 ... [V]_M [CLASS].

    They live where a tower's `embed` ends, so their positions are part of them; to gradient descent that makes no
    difference where positions are added.
    """

    def __init__(self, backbone: Backbone, device: str) -> None:
        super().__init__()
        self._backbone = (backbone,)  # in a tuple, so that the frozen weights are no part of this module
        self.device = device
        ids = backbone.tokenize([f"{WORDS} cat.", f"{WORDS} dog."])
        self.start, self.stop = backbone.text.leading, int((ids[0] == ids[1]).int().cumprod(0).sum())
        with torch.no_grad():
            tokens, _ = backbone.text.embed(ids[:1].to(device))
        self.V = nn.Parameter(tokens[0, self.start : self.stop].clone())

    def prompts(self, classes: Sequence[str]) -> tuple[list[tuple[Tensor, Tensor | None]], Tensor]:
        """Return the embedded sentences, in buckets of like length, and each one's row among them."""
        return text_buckets(self._backbone[0], [f"{WORDS} {name}." for name in classes], self.device)

    def forward(
        self, buckets: list[tuple[Tensor, Tensor | None]], order: Int[Tensor, " classes"]
    ) -> Float[Tensor, "classes features"]:
        """Return the classes' unit embeddings with the learned context in place."""
        tower = self._backbone[0].text

        def encode(tokens: Tensor, mask: Tensor | None) -> Tensor:
            V = self.V.expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, : self.start], V, tokens[:, self.stop :]], dim=1)
            return normalize(tower.finish(tokens, mask, 0), dim=-1)

        return encode_buckets(encode, buckets, tower.depth)[order]


class _Objective(nn.Module):
    """The cross-entropy of cosine logits over all classes (eq. 1)."""

    def __init__(self, context: Context, classes: Sequence[str], scale: float) -> None:
        super().__init__()
        self.context, self.scale = context, scale
        self._prompts = context.prompts(classes)

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.scale * features @ self.context(*self._prompts).T, labels)}


@dataclass
class CoOpFitted(FrozenTower):
    """The backbone with a learned context in its prompts, in place of the templates."""

    context: Context
    settings: Mapping[str, str]
    share: float = 1.0  # of the learned prompts' class weights against the zero-shot ones
    open: bool = True

    def __post_init__(self) -> None:
        """Start with no embeddings kept."""
        super().__post_init__()
        self._prompted: dict[tuple[str, ...], Tensor] = {}

    @torch.no_grad()
    def weights(self, classes: Sequence[str]) -> Float[Tensor, "classes features"]:
        """Return the classes' embeddings under the learned context; the last ones asked for are kept."""
        key = tuple(classes)
        if key not in self._prompted:
            self._prompted = {key: self.context(*self.context.prompts(key)).cpu()}
        return self._prompted[key]

    def probabilities(
        self, features: Float[Tensor, "images features"], classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax of the scaled cosines with the prompted names; templates count in a mixture alone."""
        w = self.weights(classes)
        if self.share < 1:
            w = self.share * w + (1 - self.share) * self.zero_shot_weights(classes, templates)
        return (self.backbone.logit_scale * features @ w.T).softmax(dim=-1)

    def mixed(self, share: float) -> "CoOpFitted":
        """Mix with the zero-shot classifier: a class's weights are its embedding, and these are mixed (WiSE-FT)."""
        return replace(self, share=share * self.share)


class CoOp:
    """Context optimisation, one context for all classes, the class name last."""

    name, source = "coop", "Zhou et al. 2022, arXiv 2109.01134"

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> CoOpFitted:
        """Learn the context; where the backbone is not of the published kind, validation pictures choose the rate."""
        tower = FrozenTower(backbone.to(device), device)
        views, labels = view_features(backbone, train, VIEWS, seed, device), torch.tensor(train.labels)
        config = TrainingConfig(
            epochs_for(len(train) / len(train.classes)), BATCH, RATE, DECAY, seed=seed, device=device
        )
        lasts, rate = published(config.epochs), published(RATE)
        if not as_published(backbone):
            recipe = recipe_for(backbone)
            config = replace(config, epochs=recipe.training.epochs, batch_size=recipe.training.batch_size)
            lasts = ours(config.epochs, "as long as FARL's")

        def attempt(rate: float) -> Context:
            return self._learn(backbone, train.classes, views, labels, replace(config, learning_rate=rate))

        if validation is not None and not as_published(backbone):
            held, truth = tower.encode(validation), torch.tensor(validation.labels)
            found, context = best(RATES, attempt, lambda c: self._accuracy(c, train.classes, held, truth))
            rate = chosen(found)
        else:
            context = attempt(RATE)
        settings = {
            "context": published(f"{context.stop - context.start} vectors, from {WORDS!r}"),
            "epochs": lasts,
            "batch": published(BATCH) if as_published(backbone) else ours(config.batch_size, "as FARL's"),
            "rate": rate,
            "optimiser": published(f"SGD, momentum {MOMENTUM}, weight decay {DECAY}, cosine, one warm-up epoch"),
            "views": ours(VIEWS, "as FARL's, whose features are computed once"),
        }
        return CoOpFitted(backbone, device, context, settings)

    def _learn(
        self, backbone: Backbone, classes: Sequence[str], views: Tensor, labels: Tensor, config: TrainingConfig
    ) -> Context:
        context = Context(backbone, config.device)

        def collate(rows: list[int]) -> dict[str, Any]:
            return {"features": views[torch.randint(len(views), (len(rows),)), rows], "labels": labels[rows]}

        objective = _Objective(context, classes, backbone.logit_scale)
        options = {"optim": "sgd", "optim_args": f"momentum={MOMENTUM}", "max_grad_norm": 0.0}
        learn(objective, len(labels), collate, config, **options)
        return context

    @torch.no_grad()
    def _accuracy(self, context: Context, classes: Sequence[str], held: Tensor, truth: Tensor) -> float:
        return share_right(held @ context(*context.prompts(classes)).cpu().T, truth)
