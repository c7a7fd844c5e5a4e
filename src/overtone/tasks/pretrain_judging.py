"""What a dual encoder can do: retrieval, zero-shot classification, and the shape of its embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from overtone.data import ImageSet, Record, emoji_part
from overtone.data.emoji import STYLES
from overtone.data.loading import EMOJI
from overtone.data.pairs import PairSet
from overtone.data.pairs.emoji import STYLES as LEARNED_STYLES
from overtone.data.pixels import evenly, threads
from overtone.data.threads import on_all_cores
from overtone.models.preparation import Preparation
from overtone.spectral import embedding_metrics
from overtone.tasks.pretrain_model import Objective
from overtone.tasks.retrieval import recalls

WATCHED = 500  # pairs, and pictures of each zero-shot group, that are measured while training; all of them at the end
BATCH = 64
SHARED = 2  # pictures a caption, on average, from which captions count as class names
# Of `embedding_metrics`, those that are drawn as curves
CURVES = (
    *(f"{side}/{view}" for side in ("image", "text") for view in ("raw/rankme", "raw/top_energy", "cone")),
    *(f"{side}/centred/{part}_share" for side in ("image", "text") for part in ("strong", "weak")),
    *(f"pair/{name}" for name in ("gap", "alignment", "matched_cosine")),
    *(f"{side}/uniformity" for side in ("image", "text")),
    *(f"pair/raw/{name}" for name in ("hellinger", "subspace_overlap")),
)


@dataclass(frozen=True)
class EvaluationPairs:
    """Pictures, as the image tower's processor makes them, and the texts that belong to them, each text once."""

    pixels: UInt8[Tensor, "images 3 size size"]
    texts: tuple[str, ...]
    links: Int[Tensor, "links 2"]  # rows (image, text)
    first: Int[Tensor, " images"]  # the text of each image's first caption


@dataclass(frozen=True)
class ZeroShot:
    """Pictures to be told apart by the names of their classes."""

    group: str  # "unseen concepts, seen styles"
    pixels: UInt8[Tensor, "images 3 size size"]
    labels: Int[Tensor, " images"]
    names: tuple[str, ...]


def evaluation_pairs(pairs: PairSet, preparation: Preparation, most: int | None = None) -> EvaluationPairs | None:
    """Open pairs to be measured on, evenly chosen where there are more than `most`; None for fewer than two."""
    chosen = pairs if most is None else pairs.select(evenly(len(pairs), most).tolist())
    if len(chosen) < 2:
        return None
    texts = {caption: None for pair in chosen.pairs for caption in pair.captions}
    row = {text: i for i, text in enumerate(texts)}
    links = [(i, row[caption]) for i, pair in enumerate(chosen.pairs) for caption in pair.captions]
    first = torch.tensor([row[pair.captions[0]] for pair in chosen.pairs])
    pixels = open_pixels([pair.image for pair in chosen.pairs], preparation)
    return EvaluationPairs(pixels, tuple(texts), torch.tensor(links), first)


def zero_shot_sets(
    data: str,
    held: PairSet,
    preparation: Preparation,
    most: int | None = None,
    labelled: Mapping[str, ImageSet] | None = None,
) -> list[ZeroShot]:
    """Return what classification without training can be measured on.

    For `emoji` these are its unseen concepts, in the styles that were learned from and in the other. Elsewhere it is
    the held-out pairs, their first captions being the class names, where each is shared by two pictures on average.
    What is `labelled` follows, by its name.
    """
    groups = _of_emoji() if data == EMOJI else _by_caption(held)
    return [
        _zero_shot(group, images, preparation, most) for group, images in [*groups.items(), *(labelled or {}).items()]
    ]


def _of_emoji() -> dict[str, ImageSet]:
    others = [style for style in STYLES if style not in LEARNED_STYLES]
    groups = {"new concepts, styles learned from": LEARNED_STYLES, "new concepts, another style": others}
    return {group: emoji_part("new", styles) for group, styles in groups.items()}


def _by_caption(held: PairSet) -> dict[str, ImageSet]:
    names = tuple(dict.fromkeys(pair.captions[0] for pair in held.pairs))
    if len(names) < 2 or len(held) < SHARED * len(names):
        return {}
    label = {name: i for i, name in enumerate(names)}
    records = (replace(pair.image, label=label[pair.captions[0]]) for pair in held.pairs)
    return {"held-out captions as names": ImageSet(tuple(records), names)}


def _zero_shot(group: str, images: ImageSet, preparation: Preparation, most: int | None) -> ZeroShot:
    chosen = images if most is None else images.select(evenly(len(images), most).tolist())
    return ZeroShot(group, open_pixels(chosen.records, preparation), torch.tensor(chosen.labels), chosen.classes)


def open_pixels(records: Sequence[Record], preparation: Preparation) -> UInt8[Tensor, "images 3 size size"]:
    """Return pictures as the processor makes them, as bytes."""

    def opened(record: Record) -> UInt8[Tensor, "3 size size"]:
        return preparation.pixels(record.open()).mul(255).round().to(torch.uint8)

    return torch.stack(list(on_all_cores(opened, records, threads())))


class Judge:
    """Measures a model that is being trained."""

    def __init__(
        self,
        objective: Objective,
        preparation: Preparation,
        pairs: EvaluationPairs | None,
        zero_shot: Sequence[ZeroShot],
    ) -> None:
        self.objective, self.preparation, self.pairs, self.zero_shot = objective, preparation, pairs, zero_shot

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return recalls, accuracies ("zero_shot/GROUP") and all of `embedding_metrics`, by name."""
        training = self.objective.training
        self.objective.eval()
        figures: dict[str, float] = {}
        if self.pairs is not None:
            image, text = self.encode_pixels(self.pairs.pixels), self.encode_texts(self.pairs.texts)
            figures |= recalls(image, text, self.pairs.links.to(image.device))
            figures |= embedding_metrics(image, text[self.pairs.first.to(text.device)])
        for part in self.zero_shot:
            figures[f"zero_shot/{part.group}"] = float(self.right(part).cpu().double().mean())
        self.objective.train(training)
        return figures

    def watched(self) -> dict[str, float]:
        """Return what is drawn as a curve, for the log."""
        figures = self.measure()
        kept = {k: v for k, v in figures.items() if "recall" in k or k.startswith("zero_shot/") or k in CURVES}
        return kept | self.objective.spectral_terms()

    @torch.no_grad()
    def right(self, part: ZeroShot) -> Tensor:
        """Return which pictures have their class named first."""
        names = normalize(self.encode_texts(part.names), dim=-1)
        nearest = (normalize(self.encode_pixels(part.pixels), dim=-1) @ names.T).argmax(1)
        return nearest.cpu() == part.labels

    def encode_pixels(self, pixels: UInt8[Tensor, "images 3 size size"]) -> Float[Tensor, "images features"]:
        """Return embeddings in float32."""
        device = self.objective.model.device
        return torch.cat([self.objective.encode_image(part.to(device)) for part in pixels.split(BATCH)]).float()

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "texts features"]:
        """Return embeddings in float32."""
        device, parts = self.objective.model.device, range(0, len(texts), BATCH)
        ids = (self.preparation.tokenize(texts[start : start + BATCH]).to(device) for start in parts)
        return torch.cat([self.objective.model.text(part) for part in ids]).float()
