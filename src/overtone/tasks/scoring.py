"""Score a trained classifier on labelled pictures, and make the records of its report."""

from collections.abc import Sequence

import numpy as np

from overtone.data import ImageSet
from overtone.data.pixels import Pixels
from overtone.models.shfin import chosen_frequencies
from overtone.report import Choice, wilson
from overtone.report.training import ClassScore, FrequencyMap, TrainReport
from overtone.report.words import percent, percent_span
from overtone.tasks.classifier import RANKED, Classifier, Ranking
from overtone.tasks.judging import Scored, confused, confusion, mistakes


def training_report(
    title: str, classifier: Classifier, pixels: Pixels, choices: Sequence[Choice], notes: Sequence[str] = ()
) -> TrainReport:
    """Score the classifier on test pictures and return the report on it."""
    ranking = classifier.rank(pixels)
    hits = (ranking.classes == pixels.labels[:, None]).numpy()
    top1 = wilson(int(hits[:, 0].sum()), len(hits))
    top5 = wilson(int(hits.sum()), len(hits)) if len(classifier.classes) > RANKED else None
    scored = _scored(pixels.images, ranking)
    summary = f"{percent(top1.value)} of {len(hits):,} test pictures are told right ({percent_span(top1)})"
    return TrainReport(
        title=title,
        summary=summary + (f", and {percent(top5.value)} are among the first five." if top5 else "."),
        pictures=len(hits),
        top1=top1,
        top5=top5,
        classes=_class_scores(pixels.images, hits[:, 0]),
        confused=confused([scored]),
        mistakes=mistakes([scored]),
        confusion=confusion(scored),
        confusion_names=list(classifier.classes),
        frequencies=frequencies(classifier),
        choices=list(choices),
        notes=list(notes),
    )


def frequencies(classifier: Classifier) -> list[FrequencyMap]:
    """Return the frequencies that each layer chose; nothing for a network that chooses none."""
    return [FrequencyMap(layer, kept) for layer, kept in chosen_frequencies(classifier.network)]


def _scored(images: ImageSet, ranking: Ranking) -> Scored:
    """Return the predictions as the adapter's report reads them; there is no model before this one to compare with."""
    predicted = ranking.classes[:, 0].numpy()
    return Scored("seen", images, predicted, predicted, ranking.probability.numpy())


def _class_scores(images: ImageSet, hits: np.ndarray) -> list[ClassScore]:
    labels = np.array(images.labels)
    pictures = np.bincount(labels, minlength=len(images.classes))
    right = np.bincount(labels, weights=hits, minlength=len(images.classes))
    return [
        ClassScore(name, int(n), float(k / n)) for name, n, k in zip(images.classes, pictures, right, strict=True) if n
    ]
