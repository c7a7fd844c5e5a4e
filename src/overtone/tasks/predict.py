"""`overtone predict`: the class of new pictures, among the classes adapted to or among names never seen."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from overtone.tasks.names import read_names


@dataclass(frozen=True)
class PredictConfig:
    """Print class and probability for pictures: files, folders or patterns."""

    adapter: Positional[str]
    """The run folder that `overtone adapt` wrote."""
    images: Positional[tuple[str, ...]]
    """Picture files, folders of them, or patterns such as "*.jpg"."""
    classes: str = ""
    """Score these names instead of the classes adapted to, seen in training or not ("cat, dog", or a file with one a line)."""
    top: int = 1
    """How many classes to print a picture."""
    json: Annotated[bool, arg(help="One JSON object a line, for machines.")] = False
    model: str | None = None
    """Where the backbone is now, if it moved."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class Prediction:
    """One picture's most probable classes, or why it could not be read."""

    image: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict(config: PredictConfig) -> list[Prediction]:
    """Return a prediction for every picture, in the order given; a bad picture has an error instead.

    Raises UserError for what the user can mend, also when every picture is bad.
    """
    from overtone.data import BadImage, find_images, open_image
    from overtone.errors import UserError
    from overtone.farl import Adapter
    from overtone.training import pick_device

    if config.top < 1:
        raise UserError(f"--top {config.top}: ask for 1 class or more.")
    files = find_images(config.images)
    adapter = Adapter.load(config.adapter, config.model, pick_device(config.device))
    names = read_names(config.classes) or list(adapter.classes)
    predictions: list[Prediction] = []
    for file in files:
        try:
            probabilities = adapter.predict([open_image(file)], names)[0]
        except BadImage as error:
            predictions.append(Prediction(str(file), error=str(error)))
            continue
        best = probabilities.topk(min(config.top, len(names)))
        ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        predictions.append(Prediction(str(file), tuple((names[i], p) for i, p in ranked)))
    if all(p.error for p in predictions):
        raise UserError(
            f"None of the {len(files)} pictures can be read. The first, {predictions[0].image!r}: {predictions[0].error}."
        )
    return predictions
