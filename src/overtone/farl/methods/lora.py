"""CLIP-LoRA: low-rank differences in the attention of both towers, through peft."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from overtone.data import ImageSet
from overtone.errors import UserError
from overtone.farl.methods.settings import as_published, best, chosen, learn, ours, published, share_right
from overtone.farl.methods.zero_shot import FrozenTower
from overtone.farl.recipes import recipe_for
from overtone.farl.states import encode_buckets, mean_over_templates, text_buckets
from overtone.farl.views import Pixels, Views
from overtone.models.backbone import Backbone
from overtone.models.tower import Tower
from overtone.training import TrainingConfig

RANK, ALPHA, DROPOUT = 2, 1, 0.25
RATE, DECAY, BATCH, STEPS_A_SHOT = 2e-4, 1e-2, 32, 500
RATES = (2e-4, 2e-3, 2e-2)  # tried where the published one was chosen for another kind of backbone
VIEWS = 4  # as FARL
ATTENTION = ("q_proj", "k_proj", "v_proj", "query", "key", "value", "query_key_value")  # as the towers call q, k and v


def with_lora(backbone: Backbone, seed: int) -> Backbone:
    """Return a copy of the backbone with trainable differences B A in every map to queries, keys and values.

    B starts at zero, so the copy starts as the backbone. Where no map has such a name, all linear maps of the tower get
    a difference but the last, into the common space (ours). UserError where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("The method 'lora' needs peft. Get it with: pip install 'overtone[lora]'") from error
    adapted = replace(backbone, image=copy.deepcopy(backbone.image), text=copy.deepcopy(backbone.text))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for tower in (adapted.image, adapted.text):
            # rslora divides alpha by the root of the rank, as the authors' code does
            settings: dict[str, Any] = {"r": RANK, "lora_alpha": ALPHA, "lora_dropout": DROPOUT, "use_rslora": True}
            inject_adapter_in_model(LoraConfig(**settings, target_modules=_targets(tower)), tower)
            tower.eval()
    return adapted


def _targets(tower: Tower) -> list[str]:
    linear = {name: module for name, module in tower.named_modules() if isinstance(module, nn.Linear)}
    attention = [name for name in linear if name.rsplit(".", 1)[-1] in ATTENTION]
    return attention or [name for name in linear if linear[name].weight is not tower.projection_weight]


def lora_layers(backbone: Backbone) -> Iterator[Any]:
    """Yield peft's layers in both towers."""
    from peft.tuners.lora.layer import LoraLayer

    for tower in (backbone.image, backbone.text):
        yield from (module for module in tower.modules() if isinstance(module, LoraLayer))


def set_share(backbone: Backbone, share: float) -> None:
    """Set how much of every difference counts: W + share B A."""
    for layer in lora_layers(backbone):
        for name in layer.scaling:
            layer.set_scale(name, share)


def encode_texts(
    backbone: Backbone, buckets: list[tuple[Tensor, Tensor | None]], order: Tensor, templates: int
) -> Float[Tensor, "classes features"]:
    """Return unit class embeddings, each a mean over templates, through the whole text tower."""
    tower = backbone.text

    def encode(tokens: Tensor, mask: Tensor | None) -> Tensor:
        return normalize(tower.finish(tokens, mask, 0), dim=-1)

    return mean_over_templates(encode_buckets(encode, buckets, tower.depth)[order], templates)


class _Objective(nn.Module):
    """The cross-entropy of cosine logits over all classes, of which the differences alone are parameters."""

    def __init__(self, backbone: Backbone, classes: Sequence[str], templates: Sequence[str], device: str) -> None:
        super().__init__()
        self._backbone = (backbone,)
        towers = (backbone.image, backbone.text)
        self.differences = nn.ParameterList(p for tower in towers for p in tower.parameters() if p.requires_grad)
        texts = text_buckets(backbone, [t.format(name) for name in classes for t in templates], device)
        self._texts = *texts, len(templates)

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        backbone = self._backbone[0]
        f = normalize(backbone.image(backbone.normalize(pixels)), dim=-1)
        w = encode_texts(backbone, *self._texts)
        return {"loss": cross_entropy(backbone.logit_scale * f @ w.T, labels)}

    def train(self, mode: bool = True) -> "_Objective":
        """Switch the differences' dropout alone: the frozen towers stay as they are when they predict."""
        super().train(mode)
        for layer in lora_layers(self._backbone[0]):
            layer.lora_dropout.train(mode)
        return self


@dataclass
class LoraFitted(FrozenTower):
    """Both towers with their differences, of which `share` counts."""

    settings: Mapping[str, str]
    share: float = 1.0
    open: bool = True

    def encode(self, images: ImageSet) -> Float[Tensor, "images features"]:
        """Return unit embeddings of the adapted image tower."""
        set_share(self.backbone, self.share)
        return super().encode(images)

    def probabilities(
        self, features: Float[Tensor, "images features"], classes: Sequence[str], templates: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """Return the softmax of the scaled cosines, with the adapted text tower."""
        set_share(self.backbone, self.share)
        return (self.backbone.logit_scale * features @ self.zero_shot_weights(classes, templates).T).softmax(dim=-1)

    def accuracy(self, images: ImageSet, templates: Sequence[str]) -> float:
        """Return the share of pictures that it tells right."""
        p = self.probabilities(self.encode(images), images.classes, templates)
        return share_right(p, torch.tensor(images.labels))

    def mixed(self, share: float) -> "LoraFitted":
        """Mix all weights: (1 - share) W + share (W + B A) = W + share B A (WiSE-FT, section 3)."""
        return replace(self, share=share * self.share)


class Lora:
    """Low-rank adaptation of queries, keys and values in all layers of both towers."""

    name, source = "lora", "Zanella and Ben Ayed 2024, arXiv 2405.18541"

    def fit(
        self,
        backbone: Backbone,
        train: ImageSet,
        validation: ImageSet | None,
        templates: Sequence[str],
        seed: int,
        device: str,
    ) -> LoraFitted:
        """Train the differences; where the backbone is not of the published kind, validation pictures choose the rate.

        Every weight below may change, so there is nothing to cache, and both towers run whole at every step.
        """
        backbone.to(device)
        epochs = round(STEPS_A_SHOT * len(train) / len(train.classes) / -(-len(train) // BATCH))
        config = TrainingConfig(max(1, epochs), BATCH, RATE, DECAY, warmup_epochs=0, seed=seed, device=device)
        lasts, rate = published(f"{STEPS_A_SHOT} steps a shot: {config.epochs}"), published(RATE)
        if not as_published(backbone):
            recipe = recipe_for(backbone)
            config = replace(config, epochs=recipe.training.epochs, batch_size=recipe.training.batch_size)
            lasts = ours(config.epochs, "as long as FARL's")
        views = Views(Pixels(train.records, backbone.pixels), seed)

        def attempt(rate: float) -> LoraFitted:
            adapted = with_lora(backbone, seed)
            self._learn(adapted, train, views, templates, replace(config, learning_rate=rate))
            return LoraFitted(adapted, device, {})

        if validation is not None and not as_published(backbone):
            found, fitted = best(RATES, attempt, lambda f: f.accuracy(validation, templates))
            rate = chosen(found)
        else:
            fitted = attempt(RATE)
        fitted.settings = {
            "rank": published(RANK),
            "alpha": published(f"{ALPHA} / sqrt(rank)"),
            "dropout": published(DROPOUT),
            "epochs": lasts,
            "batch": published(BATCH) if as_published(backbone) else ours(config.batch_size, "as FARL's"),
            "rate": rate,
            "optimiser": published(f"AdamW, weight decay {DECAY}, cosine"),
            "views": ours(VIEWS, "as FARL's"),
        }
        return fitted

    def _learn(
        self, adapted: Backbone, train: ImageSet, views: Views, templates: Sequence[str], config: TrainingConfig
    ) -> None:
        labels = torch.tensor(train.labels)

        def collate(rows: list[int]) -> dict[str, Any]:
            return {"pixels": views.batch(rows, torch.randint(VIEWS, (len(rows),)).tolist()), "labels": labels[rows]}

        objective = _Objective(adapted, train.classes, templates, config.device)
        learn(objective, len(labels), collate, config, max_grad_norm=0.0)
