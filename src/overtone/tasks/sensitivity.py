"""Structure against style: how far predictions move when a picture's phase, or its amplitude, is another picture's.

Phase carries structure and amplitude style (Oppenheim and Lim 1981; FARL, arXiv 2512.04395, builds on it). The score is
ours: the total variation between the probabilities of the picture and of the exchanged one, sum_c |p_c - q_c| / 2, the
share of the probability that moves to other classes, in [0, 1].
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from overtone.data import ImageSet, Record
from overtone.farl import Adapter
from overtone.farl.methods import Fitted
from overtone.models.backbone import Backbone
from overtone.report.results import ClassRow, ExchangeView, Interval, Moved, Sensitivity
from overtone.report.statistics import Z
from overtone.spectral import amplitude_mix

FEWEST, MOST = 32, 256  # pictures measured: a quarter of those there are, within these bounds
BATCH = 64
SHOWN = 4  # examples in the report
STYLE, STRUCTURE = "amplitude exchanged (style)", "phase exchanged (structure)"
Predict = Callable[[Float[Tensor, "batch 3 h w"]], Float[Tensor, "models batch classes"]]


def exchange(
    x: Float[Tensor, "batch 3 h w"], other: Float[Tensor, "batch 3 h w"]
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch 3 h w"]]:
    """Return pictures in [0, 1] with the amplitude of `other`, and with the phase of `other`."""
    return amplitude_mix(x, other, 1.0).clamp(0, 1), amplitude_mix(other, x, 1.0).clamp(0, 1)


@torch.no_grad()
def measure(
    predict: Predict, pixels: Float[Tensor, "pictures 3 h w"]
) -> tuple[Float[np.ndarray, "models 2 pictures"], Float[np.ndarray, "models 3 pictures"]]:
    """Return how far the predictions for each picture move with another's amplitude and with another's phase.

    The other picture is the one before it. Beside that, return the classes predicted for the picture, with the other's
    amplitude and with its phase. Raises ValueError for fewer than two pictures.
    """
    if len(pixels) < 2:
        raise ValueError(f"an exchange takes two pictures or more, got {len(pixels)}")
    distances, predicted = [], []
    for x, other in zip(pixels.split(BATCH), pixels.roll(1, 0).split(BATCH), strict=True):
        p, *moved = (predict(view).cpu().double() for view in (x, *exchange(x, other)))
        distances.append(torch.stack([(p - q).abs().sum(-1) / 2 for q in moved], dim=1))
        predicted.append(torch.stack([q.argmax(-1) for q in (p, *moved)], dim=1))
    return torch.cat(distances, dim=-1).numpy(), torch.cat(predicted, dim=-1).numpy()


def choose(images: ImageSet, most: int) -> list[int]:
    """Return at most `most` pictures, one of each class before any second; neighbours are of two classes if they can.

    Of more classes than that, evenly spaced ones.
    """
    number: Counter[int] = Counter()
    ranked = []
    for i, record in enumerate(images.records):
        ranked.append((number[record.label], record.label, i))
        number[record.label] += 1
    order = [i for _, _, i in sorted(ranked)]
    if len(number) <= most:
        return order[:most]
    return [order[place] for place in np.linspace(0, len(number) - 1, most).astype(int)]


@dataclass(frozen=True)
class Part:
    """The chosen pictures of one part with what the exchanges do to them: zero-shot first, then adapted."""

    name: str  # "seen" or "unseen"
    images: ImageSet
    pixels: Float[Tensor, "pictures 3 h w"]
    moved: Float[np.ndarray, "2 2 pictures"]
    predicted: Float[np.ndarray, "2 3 pictures"]


def of_adapter(adapter: Adapter, images: ImageSet, part: str) -> Part | None:
    """Measure an adapter and its backbone on pictures of one part; None where there are not two."""
    chosen = images.select(choose(images, min(MOST, max(FEWEST, len(images) // 4))))
    if len(chosen) < 2:
        return None
    pixels = torch.stack([adapter.backbone.pixels(record.open()) for record in chosen.records])

    def predict(x: Tensor) -> Tensor:
        features = adapter.encode_pixels(x, frozen=True)
        return torch.stack(
            [adapter.zero_shot(features, images.classes), adapter.probabilities(features, images.classes)]
        )

    return Part(part, chosen, pixels, *measure(predict, pixels))


def of_method(
    fitted: Fitted, backbone: Backbone, images: ImageSet, templates: Sequence[str]
) -> tuple[Interval, Interval]:
    """Return the style and the structure score of any adapted model, on at most MOST pictures."""
    chosen = images.select(choose(images, MOST))
    pixels = torch.stack([backbone.pixels(record.open()) for record in chosen.records])

    def predict(x: Tensor) -> Tensor:
        records = tuple(Record(f"{i}", 0, encoded=one.permute(1, 2, 0).cpu().numpy()) for i, one in enumerate(x))
        features = fitted.encode(ImageSet(records, images.classes))
        return fitted.probabilities(features, images.classes, templates)[None]

    [[style, structure]], _ = measure(predict, pixels)
    return mean(style), mean(structure)


def sensitivity(parts: Sequence[Part]) -> Sensitivity | None:
    """Return the scores over all parts with a few examples of the first; None where nothing was measured."""
    if not parts:
        return None
    moved = np.concatenate([part.moved for part in parts], axis=-1)
    style, structure = (
        Moved(group, mean(moved[0, i]), mean(moved[1, i])) for i, group in enumerate((STYLE, STRUCTURE))
    )
    return Sensitivity(moved.shape[-1], style, structure, examples(parts[0]))


def with_scores(rows: Sequence[ClassRow], parts: Sequence[Part]) -> list[ClassRow]:
    """Return the classes' rows with the adapted model's scores, where a picture of the class was measured."""
    scores: dict[tuple[str, str], tuple[float, float]] = {}
    for part in parts:
        labels = np.array(part.images.labels)
        for label in np.unique(labels):
            style, structure = part.moved[1][:, labels == label].mean(axis=1).tolist()
            scores[part.name, part.images.classes[label]] = style, structure
    found = [(row, scores.get((row.part, row.name), (None, None))) for row in rows]
    return [replace(row, style=style, structure=structure) for row, (style, structure) in found]


def examples(part: Part) -> list[ExchangeView]:
    """Return evenly spaced pictures of a part with their exchanged views and what the adapted model takes them for."""
    views = part.pixels, *exchange(part.pixels, part.pixels.roll(1, 0))
    shown = np.linspace(0, len(part.images) - 1, min(SHOWN, len(part.images))).astype(int)
    return [
        ExchangeView(
            part.images.classes[part.images.records[i].label],
            tuple(view[i].permute(1, 2, 0).cpu().numpy() for view in views),
            tuple(part.images.classes[label] for label in part.predicted[1, :, i]),
        )
        for i in shown.tolist()
    ]


def mean(values: np.ndarray) -> Interval:
    """Return a mean of values in [0, 1] with its normal 95 % interval, cut at 0 and 1."""
    centre = float(values.mean())
    half = Z * float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(centre, max(0.0, centre - half), min(1.0, centre + half))
