"""What the report of a translator is made from: plain records that a task fills and the page draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overtone.data import Skipped

from .results import Choice
from .training import FrequencyMap

Curve = Sequence[tuple[float, float]]  # (step, value)


@dataclass(frozen=True)
class Score:
    """A figure from 0 to 100 over all sentences, with half the width of its 95 % interval, and what computed it."""

    name: str
    value: float
    half_width: float | None
    signature: str


@dataclass(frozen=True)
class TranslatedSentence:
    """A test sentence with its translation, the reference, and how near they are: chrF, 0 to 100."""

    number: int  # among the test sentences, from 1
    source: str
    translation: str
    reference: str
    chrf: float


@dataclass
class TranslationReport:
    """Everything the report of `train --task translate` (or of `evaluate` on its run) shows; what is empty is left out.

    `sentences` are all test sentences; the page shows those in `samples` and the worst of all.
    """

    title: str
    summary: str  # one plain sentence: how well does it do?
    source_language: str
    target_language: str
    scores: list[Score]
    sentences: list[TranslatedSentence]
    samples: list[TranslatedSentence] = field(default_factory=list)
    panels: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)  # charts by title: curves by name
    frequencies: list[FrequencyMap] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # anything a reader must know to trust the figures
