"""`overtone predict`: the class of new pictures, among the classes adapted to or among names never seen."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

from tyro.conf import Positional, arg

from overtone.errors import UserError
from overtone.tasks.names import read_names

if TYPE_CHECKING:
    from torch import Tensor

    from overtone.farl import Adapter

BATCH = 64  # pictures at once


@dataclass(frozen=True)
class PredictConfig:
    """Print class and probability for pictures: files, folders or patterns."""

    adapter: Positional[str]
    """The run folder that `overtone adapt` wrote."""
    images: Positional[tuple[str, ...]]
    """Picture files, folders of them, or patterns such as "*.jpg"."""
    classes: str = ""
    """Score these names and no others, seen in training or not ("cat, dog", or a file with a name a line)."""
    top: int = 1
    """How many classes to print a picture."""
    json: Annotated[bool, arg(help="One JSON object a line, for machines.")] = False
    model: Annotated[str | None, arg(metavar="STR")] = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        """Raise UserError for a number out of range, or when no picture is named."""
        if self.top < 1:
            raise UserError(f"--top {self.top}: give a number of 1 or more.")
        if not self.images:
            raise UserError("No picture is named. Give picture files, folders of them, or patterns such as '*.jpg'.")


@dataclass(frozen=True)
class Prediction:
    """One picture's most probable classes, or why it could not be read."""

    image: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict(config: PredictConfig) -> Iterator[Prediction]:
    """Return the predictions, made as they are asked for, in the order given; a bad picture has an error instead.

    Raises UserError for what the user can mend; at the end also when every picture was bad.
    """
    from overtone.data import find_images
    from overtone.farl import Adapter
    from overtone.training import pick_device

    device, names, files = pick_device(config.device), read_names(config.classes), find_images(config.images)
    if names is not None and len(names) < 2:
        raise UserError(f"--classes {config.classes!r}: a name alone always has probability 1. Give two or more.")
    adapter = Adapter.load(config.adapter, config.model, device)
    return _predictions(adapter, files, names or adapter.classes, config.top)


def _predictions(adapter: "Adapter", files: Sequence[Path], names: Sequence[str], top: int) -> Iterator[Prediction]:
    first_bad, good = None, 0
    for start in range(0, len(files), BATCH):
        for prediction in _batch(adapter, files[start : start + BATCH], names, top):
            if prediction.error is None:
                good += 1
            else:
                first_bad = first_bad or prediction
            yield prediction
    if first_bad and not good:
        raise UserError(f"No picture can be read. The first of {len(files)}, {first_bad.image!r}: {first_bad.error}.")


def _batch(adapter: "Adapter", files: Sequence[Path], names: Sequence[str], top: int) -> Iterator[Prediction]:
    import torch

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(lambda file: _pixels(adapter, file), files))
    good = [pixels for pixels in read if not isinstance(pixels, str)]
    if good:
        probabilities = adapter.probabilities(adapter.encode_pixels(torch.stack(good)), names)
        best = probabilities.topk(min(top, len(names)))
        ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    for file, pixels in zip(files, read, strict=True):
        if isinstance(pixels, str):
            yield Prediction(str(file), error=pixels)
        else:
            yield Prediction(str(file), tuple((names[i], p) for i, p in zip(*next(ranked), strict=True)))


def _pixels(adapter: "Adapter", file: Path) -> Union["Tensor", str]:
    """Return a picture as the backbone wants it, or why it cannot be read."""
    from overtone.data import BadImage, open_image

    try:
        return adapter.backbone.pixels(open_image(file))
    except BadImage as error:
        return str(error)
