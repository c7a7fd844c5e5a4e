"""What the report of a training is made from: plain records that a task fills and the page draws."""

from dataclasses import dataclass, field

import numpy as np

from overtone.data import Skipped

from .results import Choice, ConfusedPair, Interval, Mistake


@dataclass(frozen=True)
class ClassScore:
    """One class in the per-class table: the share of its test pictures that are told right."""

    name: str
    pictures: int
    accuracy: float


@dataclass(frozen=True)
class FrequencyMap:
    """What a layer chose: 1 where a frequency is kept, of a patch's (vertical, horizontal) ones, zero in the middle."""

    layer: str
    kept: np.ndarray


@dataclass
class TrainReport:
    """Everything the report of `train` (or of `evaluate` on its run) shows; what is empty is left out of the page."""

    title: str
    summary: str  # one plain sentence: how well does it do?
    pictures: int  # test pictures
    top1: Interval
    top5: Interval | None = None  # where there are more than five classes
    classes: list[ClassScore] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name -> (epoch, value)
    confused: list[ConfusedPair] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    confusion: np.ndarray | None = None  # (classes, classes) counts
    confusion_names: list[str] = field(default_factory=list)
    frequencies: list[FrequencyMap] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # anything a reader must know to trust the figures
