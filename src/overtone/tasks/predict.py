"""`overtone predict`: the class of new pictures, of those learned or, by an adapter, of names never seen.

A translator's run translates instead: see `translate_predict`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.names import read_names
from overtone.tasks.options import require_at_least
from overtone.tasks.runs import finished_by

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from overtone.tasks.translate_predict import Translation

BATCH = 64  # pictures at once


@dataclass(frozen=True)
class PredictConfig:
    """Print class and probability for pictures, or translations of text and of files line by line."""

    adapter: Positional[str]
    """The run folder that `overtone adapt` or `overtone train` wrote."""
    images: Positional[tuple[str, ...]]
    """Picture files, folders of them, or patterns such as "*.jpg"; for a translator text, files of it, or - to pipe."""
    classes: str = ""
    """Score these names and no others ("cat, dog", or a file with a name a line); an adapter takes any name."""
    top: int = 1
    """How many classes to print a picture."""
    json: Annotated[bool, arg(help="One JSON object a line, for machines.")] = False
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range, or when no picture is named."""
        require_at_least(self, top=1)
        if not self.images and finished_by(self.adapter) == "translate":
            raise UserError("No text is named. Give text to translate, files of it, or - for what is piped in.")
        if not self.images:
            raise UserError("No picture is named. Give picture files, folders of them, or patterns such as '*.jpg'.")


@dataclass(frozen=True)
class Prediction:
    """One picture's most probable classes, or why it could not be read."""

    image: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Scorer:
    """What predicts: how it wants a picture, and the probabilities that it gives a batch of them."""

    names: Sequence[str]
    pixels: Callable[["Image"], "Tensor"]
    probabilities: Callable[["Tensor"], "Tensor"]  # (batch, names)


def predict(config: PredictConfig) -> "Iterator[Prediction] | Iterator[Translation]":
    """Return the predictions, made as they are asked for, in the order given; a bad picture has an error instead.

    Raises UserError for what the user can mend; at the end also when every picture was bad.
    """
    from overtone.data import find_images
    from overtone.tasks.translate_predict import translations
    from overtone.training import pick_device

    if finished_by(config.adapter) == "translate":
        return translations(config)
    device, names, files = pick_device(config.device), read_names(config.classes), find_images(config.images)
    if names is not None and len(names) < 2:
        raise UserError(f"--classes {config.classes!r}: a name alone always has probability 1. Give two or more.")
    load = _classifier if finished_by(config.adapter) == "train" else _adapter
    return _predictions(load(config, names, device), files, config.top)


def _adapter(config: PredictConfig, names: list[str] | None, device: str) -> Scorer:
    from overtone.farl import Adapter

    adapter = Adapter.load(config.adapter, config.model, device)
    wanted = names or adapter.classes
    return Scorer(
        wanted,
        adapter.backbone.pixels,
        lambda pixels: adapter.probabilities(adapter.encode_pixels(pixels), wanted),
    )


def _classifier(config: PredictConfig, names: list[str] | None, device: str) -> Scorer:
    """Return a trained network; with `names`, the probabilities of these among each other."""
    from overtone.data.imageset import require_classes
    from overtone.tasks.classifier import Classifier

    if config.model is not None:
        raise UserError(f"--model is the backbone of an adapter: {config.adapter!r} is a trained network and has none.")
    classifier = Classifier.load(config.adapter, device)
    if names is None:
        return Scorer(classifier.classes, classifier.pixels, classifier.probabilities)
    require_classes(names, classifier.classes)
    columns = [classifier.classes.index(name) for name in names]

    def among(pixels: "Tensor") -> "Tensor":
        chosen = classifier.probabilities(pixels)[:, columns]
        return chosen / chosen.sum(dim=1, keepdim=True)

    return Scorer(names, classifier.pixels, among)


def _predictions(scorer: Scorer, files: Sequence[Path], top: int) -> Iterator[Prediction]:
    first_bad, good = None, 0
    for start in range(0, len(files), BATCH):
        for prediction in _batch(scorer, files[start : start + BATCH], top):
            if prediction.error is None:
                good += 1
            else:
                first_bad = first_bad or prediction
            yield prediction
    if first_bad and not good:
        raise UserError(f"No picture can be read. The first of {len(files)}, {first_bad.image!r}: {first_bad.error}.")


def _batch(scorer: Scorer, files: Sequence[Path], top: int) -> Iterator[Prediction]:
    import torch

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(lambda file: _pixels(scorer, file), files))
    good = [pixels for pixels in read if not isinstance(pixels, str)]
    if good:
        best = scorer.probabilities(torch.stack(good)).topk(min(top, len(scorer.names)))
        ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    for file, pixels in zip(files, read, strict=True):
        if isinstance(pixels, str):
            yield Prediction(str(file), error=pixels)
        else:
            yield Prediction(str(file), tuple((scorer.names[i], p) for i, p in zip(*next(ranked), strict=True)))


def _pixels(scorer: Scorer, file: Path) -> Union["Tensor", str]:
    """Return a picture as the scorer wants it, or why it cannot be read."""
    from overtone.data import BadImage, open_image

    try:
        return scorer.pixels(open_image(file))
    except BadImage as error:
        return str(error)
