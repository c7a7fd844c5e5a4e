"""What the report of a pre-training is made from: plain records that a task fills and the page draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from overtone.data import Skipped

from .results import Choice, Interval

Curve = Sequence[tuple[float, float]]  # (step, value)


@dataclass(frozen=True)
class Retrieved:
    """One direction of retrieval: the share of queries that find one of their own among the first k."""

    direction: Literal["pictures to texts", "texts to pictures"]
    queries: int
    among: int
    recalls: dict[int, Interval]  # by k


@dataclass(frozen=True)
class ZeroShotScore:
    """Classification of pictures by the names of their classes, without training on them."""

    group: str
    pictures: int
    names: int
    accuracy: Interval


@dataclass(frozen=True)
class Measure:
    """A figure of the embeddings of the test pairs, with its definition."""

    name: str
    value: float
    meaning: str


@dataclass
class PretrainReport:
    """Everything the report of `pretrain` shows; what is empty is left out of the page."""

    title: str
    summary: str  # one plain sentence: how well does it do?
    retrieval: list[Retrieved] = field(default_factory=list)
    zero_shot: list[ZeroShotScore] = field(default_factory=list)
    spectrum: list[Measure] = field(default_factory=list)  # those that are shown
    metrics: dict[str, float] = field(default_factory=dict)  # all of them, for machines
    panels: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)  # charts by title: curves by name
    choices: list[Choice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # anything a reader must know to trust the figures
