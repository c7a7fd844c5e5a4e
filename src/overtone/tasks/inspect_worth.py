"""What the noise directions are worth: retrieval, or nearest neighbours, with and without them."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from overtone.report import paired_difference, wilson
from overtone.report.inspect_results import Recall, Task, Worth
from overtone.report.statistics import verdict_of
from overtone.tasks.inspect_measure import Side

ALL, SIGNAL, STRONG, NOISE = "all directions", "strong and weak", "strong alone", "noise alone"
DEPTHS = (1, 5, 10)  # the k of recall at k
BLOCK = 1000  # queries at once
BINS = 64  # of a histogram of cosines
PAIRS = 200_000  # random pairs behind a histogram


def worth_of(sides: dict[str, Side]) -> tuple[list[Worth], dict[str, Task]]:
    """Return what the parts of the spectrum are worth: by retrieval for a pair, by neighbours for one matrix."""
    return worth_of_pair(**sides) if len(sides) == 2 else (worth_of_one(**sides), {})


def worth_of_pair(image: Side, text: Side) -> tuple[list[Worth], dict[str, Task]]:
    """Return recall in both directions on the sampled rows, with some directions of each modality kept.

    Equal rows are one image or one text, with all that they match: a picture's several captions are all right. A tie
    counts against. Nothing for fewer than two different images or texts.
    """
    matching = torch.zeros(len(image.sampled), len(text.sampled), dtype=torch.bool)
    matching[image.place, text.place] = True
    depths = [k for k in DEPTHS if k < min(matching.shape)]
    if not depths:
        return [], {}
    rows, before = [], dict[str, np.ndarray]()
    for kept, directions in directions_kept({"image": image, "text": text}).items():
        x, y = (normalize(projected(side, kept), dim=1) for side in (image, text))
        found = {"image → text": ranks(x, y, matching).numpy(), "text → image": ranks(y, x, matching.T).numpy()}
        before = before or found
        recall = {way: _recall(found[way], before[way], depths, kept) for way in found}
        rows.append(Worth(kept, directions, recall))
    tasks = {"image → text": _task(matching), "text → image": _task(matching.T)}
    return rows, tasks


def worth_of_one(embeddings: Side) -> list[Worth]:
    """Return which share of each sampled row's nearest neighbours stays when some directions alone are kept."""
    depths = [k for k in DEPTHS if k < len(embeddings.sampled)]
    if not depths:
        return []
    before = neighbours(projected(embeddings, ALL), depths[-1])
    rows = []
    for kept, directions in directions_kept({"embeddings": embeddings}).items():
        if kept != ALL:
            after = neighbours(projected(embeddings, kept), depths[-1])
            rows.append(Worth(kept, directions, neighbours={k: agreement(before[:, :k], after[:, :k]) for k in depths}))
    return rows


def directions_kept(sides: dict[str, Side]) -> dict[str, dict[str, int]]:
    """Return which directions are kept in turn, with their number by modality; none where a modality has no such."""
    counts: dict[str, dict[str, int]] = {ALL: {}, SIGNAL: {}, STRONG: {}, NOISE: {}}
    for name, side in sides.items():
        parts = side.parts["raw"]
        width, signal = len(side.sketch.moments.mean), parts.strong.count + parts.weak.count
        for kept, count in zip(counts, (width, signal, parts.strong.count, width - signal), strict=True):
            counts[kept][name] = count
    return {kept: by_side for kept, by_side in counts.items() if all(by_side.values())}


def projected(side: Side, kept: str) -> Float[Tensor, "rows width"]:
    """Return the sampled rows, projected onto the directions kept: parts of the raw spectrum, as SDE has it."""
    parts, (_, V) = side.parts["raw"], side.sketch.spectra["raw"]
    if kept == ALL:
        return side.sampled
    basis = V[:, : parts.strong.count + (0 if kept == STRONG else parts.weak.count)]
    signal = side.sampled @ basis @ basis.T
    return side.sampled - signal if kept == NOISE else signal


def ranks(
    queries: Float[Tensor, "queries width"],
    gallery: Float[Tensor, "gallery width"],
    matching: Bool[Tensor, "queries gallery"],
) -> Int[Tensor, " queries"]:
    """Return how many of the gallery that do not match stand before the first that does, ties included."""
    found = []
    for start in range(0, len(queries), BLOCK):
        right = matching[start : start + BLOCK]
        cosines = queries[start : start + BLOCK] @ gallery.T
        best = cosines.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        found.append(((cosines >= best) & ~right).sum(1))
    return torch.cat(found)


def neighbours(rows: Float[Tensor, "rows width"], most: int) -> Int[Tensor, "rows most"]:
    """Return the nearest other rows of each row by cosine, the nearest first."""
    x = normalize(rows, dim=1)
    found = []
    for start in range(0, len(x), BLOCK):
        cosines = x[start : start + BLOCK] @ x.T
        cosines[torch.arange(len(cosines)), start + torch.arange(len(cosines))] = -torch.inf
        found.append(cosines.topk(most).indices)
    return torch.cat(found)


def agreement(before: Int[Tensor, "rows k"], after: Int[Tensor, "rows k"]) -> float:
    """Return the share of each row's k neighbours that are still among its k, a mean over rows."""
    return float((before[:, :, None] == after[:, None, :]).any(2).double().mean())


def cosines(sides: dict[str, Side], seed: int) -> dict[str, list[tuple[float, float]]]:
    """Return the density of cosines of random pairs of different sampled rows, and of matching ones, as (x, y)."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, side in sides.items():
        if len(side.sampled) > 1:
            i, j = generator.integers(len(side.sampled), size=(2, PAIRS))
            noun = {"image": "two images", "text": "two texts"}.get(name, "two rows")
            found[noun] = _density(side.sampled, side.sampled, i[i != j], j[i != j])
    if len(sides) == 2:
        image, text = sides["image"], sides["text"]
        found["matching"] = _density(image.sampled, text.sampled, image.place, text.place)
        i, j = generator.integers(len(image.place), size=(2, PAIRS))
        if (other := text.place[i] != text.place[j]).any():
            found["not matching"] = _density(image.sampled, text.sampled, image.place[i[other]], text.place[j[other]])
    return found


def _density(x: Tensor, y: Tensor, i: np.ndarray, j: np.ndarray) -> list[tuple[float, float]]:
    values = np.empty(len(i), np.float32)  # filled in place: small results between large ones would scatter over memory
    for start in range(0, len(i), BLOCK):
        block = slice(start, start + BLOCK)
        values[block] = (x[i[block]] * y[j[block]]).sum(1).clamp(-1, 1)
    heights, edges = np.histogram(values, BINS, (-1, 1), density=True)
    return [(float((a + b) / 2), float(h)) for a, b, h in zip(edges, edges[1:], heights, strict=False)]


def _recall(after: np.ndarray, before: np.ndarray, depths: list[int], kept: str) -> Recall:
    at = {k: wilson(int((after < k).sum()), len(after)) for k in depths}
    if kept == ALL:
        return Recall(at)
    change = paired_difference(before < 1, after < 1)
    return Recall(at, change, verdict_of(change))


def _task(matching: Bool[Tensor, "queries gallery"]) -> Task:
    return Task(len(matching), matching.shape[1], float(matching.double().mean()))
