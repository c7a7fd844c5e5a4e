"""What the report of a fit is made from: plain records that the task fills and the page draws."""

from dataclasses import dataclass, field

import numpy as np

from .results import Choice

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class View:
    """A signal as a picture: what was given, what the network holds, and how far apart they are."""

    about: str  # which part of the signal; "" for all of it
    original: np.ndarray  # (height, width, 1 or 3) in [0, 1], NaN where it is missing
    fit: np.ndarray  # the same, without NaN
    error: np.ndarray  # (height, width), of the signal's range, NaN where it is unknown
    caption: str = "Original"


@dataclass(frozen=True)
class Detail:
    """A small part of a picture: its samples, and the network between them; both (height, width, 1 or 3) in [0, 1]."""

    original: np.ndarray
    fit: np.ndarray


@dataclass(frozen=True)
class Trace:
    """A signal along one axis, in its own units: samples, and the network on as many positions as it takes."""

    about: str
    axis: str
    samples: Points
    fit: Points
    error: Points = field(default_factory=list)  # fit - sample


@dataclass(frozen=True)
class Spectra:
    """Root mean square amplitude by frequency, a share of the signal's range."""

    unit: str  # of the frequencies
    frequencies: list[float]
    original: list[float]
    fit: list[float]
    error: list[float]


@dataclass(frozen=True)
class BandwidthCurve:
    """The score of every candidate, the lower the better, and which was taken; in cycles over the signal's extent."""

    method: str
    candidates: list[float]
    scores: list[float]
    chosen: float


@dataclass(frozen=True)
class Learning:
    """PSNR in dB by step: observed, on samples held out where there are any, and as the kernel predicts it."""

    observed: Points
    held: Points = field(default_factory=list)
    predicted: Points = field(default_factory=list)
    matched: int = 0  # the step up to which the kernel's clock was set by what was observed


@dataclass(frozen=True)
class EncodingRow:
    """One encoding of a comparison: what it was set to, and its PSNR on samples learned from and on those between."""

    encoding: str
    setting: str
    parameters: int
    steps: int
    seconds: float  # of the processor
    train: float
    test: float
    tested: Points  # PSNR on the samples between, by step
    views: list[View] = field(default_factory=list)


@dataclass
class FitReport:
    """Everything the report of `fit` shows; what is empty is left out of the page."""

    title: str
    summary: str  # one plain sentence: how well does the network hold the signal?
    figures: dict[str, float | int | None] = field(default_factory=dict)  # for machines
    tiles: list[tuple[str, str, str]] = field(default_factory=list)  # label, value, remark
    views: list[View] = field(default_factory=list)
    detail: Detail | None = None
    scale: float = 1.0  # of the detail's rendering
    traces: list[Trace] = field(default_factory=list)
    spectra: Spectra | None = None
    bandwidth: BandwidthCurve | None = None
    learning: Learning | None = None
    encodings: list[EncodingRow] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # anything a reader must know to trust the figures
