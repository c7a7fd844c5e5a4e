"""What the page of `inspect` is made from: plain records that the task fills and the page draws."""

from dataclasses import dataclass, field
from typing import Literal

from overtone.data import Skipped
from overtone.spectral import Partition

from .results import Choice, Interval, Verdict

Tone = Literal["good", "bad", "mixed", "open"]


@dataclass(frozen=True)
class Reading:
    """What a figure means in plain words, by which rule, and where the rule is from."""

    about: str  # "image", "text", "embeddings" or "pair"
    word: str  # "collapsed"; "gap 0.82, typical of CLIP"
    tone: Tone
    sentence: str
    rule: str
    source: str


@dataclass(frozen=True)
class Spectrum:
    """A spectrum in its three parts: of the rows as they are ("raw") or less their mean ("centred")."""

    about: str
    view: str
    parts: Partition


@dataclass(frozen=True)
class Recall:
    """How many queries find what they belong to among the first k, and how that differs from all directions kept."""

    at: dict[int, Interval]
    change: Interval | None = None  # of recall at 1; None where all directions are kept
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Worth:
    """What the embeddings can do with some of their directions alone."""

    kept: str
    directions: dict[str, int]  # by modality
    recall: dict[str, Recall] = field(default_factory=dict)  # of a pair: by "image → text" and "text → image"
    neighbours: dict[int, float] = field(default_factory=dict)  # of one matrix: by k, the share of neighbours kept


@dataclass(frozen=True)
class Task:
    """Which rows retrieval was tried on: a direction's queries, gallery, and recall at 1 by guessing."""

    queries: int
    gallery: int
    chance: float


def way_name(way: str, labelled: bool) -> str:
    """Return how a direction of retrieval is called, where the texts may be names of classes."""
    return {"image → text": "picture → class", "text → image": "class → picture"}[way] if labelled else way


@dataclass
class InspectReport:
    """Everything the page of `inspect` shows; whatever is empty is left out of it."""

    title: str
    rows: int
    sampled: int  # rows
    metrics: dict[str, float]
    spectra: list[Spectrum]
    readings: list[Reading]
    worth: list[Worth] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)  # by direction
    labelled: bool = False  # whether the texts are names of classes
    cosines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name -> (cosine, density)
    choices: list[Choice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sides(self) -> list[str]:
        """The modalities, in order."""
        return list(dict.fromkeys(spectrum.about for spectrum in self.spectra))

    @property
    def summary(self) -> str:
        """The readings in one line."""
        subjects = {about: [r.word for r in self.readings if r.about == about] for about in (*self.sides, "pair")}
        return " ".join(f"{about.capitalize()}: {', '.join(words)}." for about, words in subjects.items() if words)
