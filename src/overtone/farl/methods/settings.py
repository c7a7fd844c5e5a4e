"""Where a hyper-parameter comes from, in the words of a table, and the training loop that the methods share."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from overtone.data import ImageSet
from overtone.farl.fitting import Rows
from overtone.farl.recipes import PUBLISHED, recipe_for
from overtone.farl.states import BATCH
from overtone.farl.views import Pixels, Views
from overtone.models.backbone import Backbone
from overtone.progress import shown
from overtone.training import Loop, TrainingConfig, train

Value = TypeVar("Value")
Outcome = TypeVar("Outcome")


def published(value: object) -> str:
    """Return a setting as its paper or its authors' code has it."""
    return f"{value} (published)"


def chosen(value: object) -> str:
    """Return a setting that validation pictures decided."""
    return f"{value} (chosen on validation shots)"


def ours(value: object, why: str) -> str:
    """Return a setting of our own."""
    return f"{value} (ours: {why})"


def as_published(backbone: Backbone) -> bool:
    """Return whether the backbone is of the kind that the papers chose their settings for; the embedded one is not."""
    return recipe_for(backbone) is PUBLISHED


def best(
    candidates: Iterable[Value], attempt: Callable[[Value], Outcome], accuracy: Callable[[Outcome], float]
) -> tuple[Value, Outcome]:
    """Return the candidate with the highest accuracy, the first of several, and what it led to."""
    found: list[tuple[float, Value, Outcome]] = []
    for value in candidates:
        outcome = attempt(value)
        score = accuracy(outcome)
        if not found or score > found[0][0]:
            found = [(score, value, outcome)]
    return found[0][1:]


def share_right(scores: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose highest score is at their label."""
    return (scores.argmax(dim=1) == labels).float().mean().item()


@torch.no_grad()
def view_features(
    backbone: Backbone, images: ImageSet, views: int, seed: int, device: str
) -> Tensor:  # (views, images, features)
    """Return the unit embeddings of random views of pictures, the same views that FARL learns from, on the CPU."""
    source = Views(Pixels(images.records, backbone.pixels), seed)
    rows = [(picture, view) for view in range(views) for picture in range(len(images))]
    parts = []
    for start in shown(range(0, len(rows), BATCH), "encoding views of the pictures"):
        pictures, numbers = zip(*rows[start : start + BATCH], strict=True)
        x = backbone.normalize(source.batch(pictures, numbers)).to(device)
        parts.append(nn.functional.normalize(backbone.image(x), dim=-1).cpu())
    return torch.cat(parts).unflatten(0, (views, len(images)))


def learn(
    model: nn.Module, count: int, collate: Callable[[list[int]], dict[str, Any]], config: TrainingConfig, **options: Any
) -> None:
    """Train `model` on `count` pictures by their numbers, with further options of the Trainer; no checkpoints."""
    loop = Loop(arguments={"save_strategy": "no", **options})
    with tempfile.TemporaryDirectory() as scratch:
        train(model, Rows(count), collate, config, Path(scratch), resume=False, loop=loop)
    model.eval()
