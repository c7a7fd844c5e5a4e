"""What a report is made from: plain records that a task fills and the page draws."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from overtone.data import Skipped

Verdict = Literal["helped", "hurt", "cannot tell"]


@dataclass(frozen=True)
class Interval:
    """A value in [0, 1] (or a difference in [-1, 1]) with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Zero-shot against adapted on one group of test pictures: top-1 accuracies and their paired difference."""

    group: str  # "seen classes", "unseen classes", "harmonic mean", or "seen classes · openmoji"
    pictures: int
    zero_shot: Interval
    adapted: Interval
    difference: Interval  # adapted - zero_shot, paired over pictures
    verdict: Verdict


@dataclass(frozen=True)
class ClassRow:
    """One class in the per-class table."""

    name: str
    part: Literal["seen", "unseen"]
    pictures: int
    zero_shot: float
    adapted: float
    style: float | None = None  # how far predictions move with another picture's amplitude; None: not measured
    structure: float | None = None  # and with another picture's phase


@dataclass(frozen=True)
class Mistake:
    """A test picture that the adapted model got wrong, with how sure it was."""

    picture: Image.Image
    source: str  # file name or record
    domain: str | None
    truth: str
    predicted: str
    probability: float  # given to `predicted`


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that the adapted model mixes up: `truth` taken for `predicted`, `count` times."""

    truth: str
    predicted: str
    count: int
    truth_picture: Image.Image
    predicted_picture: Image.Image


@dataclass(frozen=True)
class StreamView:
    """An example picture as FARL sees it; arrays are (height, width, 3) or (rows, columns) in [0, 1]."""

    name: str
    picture: np.ndarray
    phase_only: np.ndarray
    amplitude_only: np.ndarray
    structure_attention: np.ndarray
    style_attention: np.ndarray


@dataclass(frozen=True)
class Moved:
    """How far predictions move when a part of the picture is exchanged: a mean over pictures, in [0, 1]."""

    group: str  # what is exchanged
    zero_shot: Interval
    adapted: Interval


@dataclass(frozen=True)
class ExchangeView:
    """An example: a picture, with another's amplitude, with another's phase; what the adapted model takes each for."""

    name: str
    pictures: tuple[np.ndarray, ...]  # three, (height, width, 3) in [0, 1]
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Structure against style: what an exchanged amplitude, and what an exchanged phase, do to predictions."""

    pictures: int
    style: Moved
    structure: Moved
    views: list[ExchangeView] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """One decision that the run made: its value, and how it was made."""

    what: str
    value: str
    how: str


@dataclass
class AdaptReport:
    """Everything the report of `adapt` (or `evaluate`) shows; whatever is empty is left out of the page."""

    title: str
    summary: str  # one plain sentence: did it help?
    comparisons: list[Comparison] = field(default_factory=list)  # seen, unseen, harmonic mean
    domains: list[Comparison] = field(default_factory=list)  # the same per style or domain
    classes: list[ClassRow] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name -> (epoch, value)
    confused: list[ConfusedPair] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    confusion: np.ndarray | None = None  # (classes, classes) counts on the seen classes
    confusion_names: list[str] = field(default_factory=list)
    streams: list[StreamView] = field(default_factory=list)
    sensitivity: Sensitivity | None = None
    choices: list[Choice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # anything a reader must know to trust the figures
