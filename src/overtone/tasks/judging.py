"""Judge an adapter on labelled pictures, against its own backbone without adapting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from overtone.data import ImageSet, Record
from overtone.farl import Adapter, image_states
from overtone.report import ClassRow, Comparison, ConfusedPair, Mistake, StreamView, compare, compare_harmonic
from overtone.spectral import amplitude_only, phase_only

Part = Literal["seen", "unseen"]
MISTAKES, PAIRS, EXAMPLES = 24, 12, 6  # shown in the report
SHOWN = 256  # pixels of their longer side


@dataclass(frozen=True)
class Scored:
    """Pictures of one part with what the backbone and the adapter make of them."""

    part: Part
    images: ImageSet
    zero_shot: np.ndarray  # (pictures,) predicted classes
    adapted: np.ndarray
    probability: np.ndarray  # (pictures,) that the adapter gives its prediction

    @property
    def labels(self) -> np.ndarray:
        """The true classes."""
        return np.array(self.images.labels)

    @property
    def correct(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the backbone and where the adapter is right."""
        return self.zero_shot == self.labels, self.adapted == self.labels


def score(adapter: Adapter, images: ImageSet, part: Part) -> Scored:
    """Predict every picture among the classes of `images`, with and without the adapter."""
    features = adapter.encode_images(images.records, frozen=True)
    zero_shot = adapter.zero_shot(features, images.classes)
    adapted = adapter.probabilities(features, images.classes)
    best = adapted.max(dim=-1)
    return Scored(
        part, images, zero_shot.argmax(-1).cpu().numpy(), best.indices.cpu().numpy(), best.values.cpu().numpy()
    )


def comparisons(scored: Sequence[Scored]) -> list[Comparison]:
    """Return the comparison on each part and, where both are there, on their harmonic mean."""
    rows = [compare(f"{s.part} classes", *s.correct) for s in scored]
    if len(scored) == 2:
        rows.append(compare_harmonic(scored[0].correct, scored[1].correct))
    return rows


def domain_comparisons(scored: Sequence[Scored]) -> list[Comparison]:
    """Return the comparison on each part in each domain that the data names."""
    rows = []
    for s in scored:
        for domain in s.images.domains if len(s.images.domains) > 1 else ():
            inside = np.array([record.domain == domain for record in s.images.records])
            rows.append(compare(f"{s.part} classes · {domain}", *(correct[inside] for correct in s.correct)))
    return rows


def class_rows(scored: Sequence[Scored]) -> list[ClassRow]:
    """Return a line for each class that has test pictures."""
    rows = []
    for s in scored:
        for label, name in enumerate(s.images.classes):
            inside = s.labels == label
            if inside.any():
                zero_shot, adapted = (float(correct[inside].mean()) for correct in s.correct)
                rows.append(ClassRow(name, s.part, int(inside.sum()), zero_shot, adapted))
    return rows


def mistakes(scored: Sequence[Scored]) -> list[Mistake]:
    """Return the wrong predictions that the adapter was surest of."""
    wrong = [(s.probability[i], s, int(i)) for s in scored for i in np.flatnonzero(~s.correct[1])]
    wrong.sort(key=lambda row: -row[0])
    return [
        Mistake(
            picture=_small(s.images.records[i]),
            source=s.images.records[i].source,
            domain=s.images.records[i].domain,
            truth=s.images.classes[s.labels[i]],
            predicted=s.images.classes[s.adapted[i]],
            probability=float(probability),
        )
        for probability, s, i in wrong[:MISTAKES]
    ]


def confused(scored: Sequence[Scored]) -> list[ConfusedPair]:
    """Return the pairs of classes that the adapter mixes up most often and that the tests have pictures of."""
    counts: Counter[tuple[int, int, int]] = Counter()
    for part, s in enumerate(scored):
        for truth, predicted in zip(s.labels, s.adapted, strict=True):
            if truth != predicted:
                counts[part, int(truth), int(predicted)] += 1
    pairs: list[ConfusedPair] = []
    for (part, truth, predicted), count in counts.most_common():
        images = scored[part].images
        examples = [next((r for r in images.records if r.label == label), None) for label in (truth, predicted)]
        if examples[0] is not None and examples[1] is not None and len(pairs) < PAIRS:
            names = images.classes[truth], images.classes[predicted]
            pairs.append(ConfusedPair(*names, count, _small(examples[0]), _small(examples[1])))
    return pairs


def confusion(scored: Scored) -> np.ndarray:
    """Return the counts of (true class, predicted class)."""
    counts = np.zeros((len(scored.images.classes),) * 2, dtype=np.int64)
    np.add.at(counts, (scored.labels, scored.adapted), 1)
    return counts


@torch.no_grad()
def stream_views(adapter: Adapter, images: ImageSet) -> list[StreamView]:
    """Return evenly spaced example pictures as FARL sees them; nothing where the method reads no streams."""
    if not adapter.model.uses_streams or not len(images):
        return []
    chosen = [images.records[i] for i in np.linspace(0, len(images) - 1, min(EXAMPLES, len(images))).astype(int)]
    pixels = torch.stack([adapter.backbone.pixels(record.open()) for record in chosen]).to(adapter.device)
    states = image_states(adapter.backbone, pixels, streams=True)
    assert states.phase is not None
    assert states.amplitude is not None
    attention = adapter.model.tokens.attention(states.phase, states.amplitude)
    maps = [_square(a[:, adapter.backbone.image.leading :]) for a in attention]
    views = [
        x.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() for x in (pixels, phase_only(pixels), amplitude_only(pixels))
    ]
    return [
        StreamView(images.classes[record.label], *(view[i] for view in views), *(m[i] for m in maps))
        for i, record in enumerate(chosen)
    ]


def _small(record: Record) -> Image.Image:
    """Return a picture no larger than a page shows it: dozens are kept."""
    picture = record.open()
    picture.thumbnail((SHOWN, SHOWN))
    return picture


def _square(attention: torch.Tensor) -> np.ndarray:
    """Lay attention over a square grid of patches out as (pictures, rows, columns), the largest value 1."""
    side = round(attention.shape[1] ** 0.5)
    grid = attention.unflatten(1, (side, side))
    return (grid / grid.amax(dim=(1, 2), keepdim=True)).cpu().numpy()
