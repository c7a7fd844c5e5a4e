"""What the report of a protocol is made from: accuracies over seeds, methods and data sets."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .results import Choice


@dataclass(frozen=True)
class Figure:
    """An accuracy in [0, 1] as it came out under several seeds."""

    by_seed: Mapping[int, float] = field(default_factory=dict)
    mean: float | None = None  # none where nothing could be measured
    failed: int = 0  # seeds under which there is no value because the work failed

    @classmethod
    def of(cls, by_seed: Mapping[int, float], failed: int = 0) -> "Figure":
        """Return the figure of what the seeds gave."""
        return cls(by_seed, statistics.mean(by_seed.values()) if by_seed else None, failed)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; none of fewer than two."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return "failed" if self.failed else "-"
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        return f"{100 * self.mean:.1f}{spread}{f' ({self.failed} failed)' if self.failed else ''}"


def combined(figures: Sequence[Figure], combine: Callable[[Sequence[float]], float]) -> Figure:
    """Return what `combine` makes of the figures' means; its spread is that of what it makes of each seed's values.

    So the harmonic mean of base and new is that of their means, as the field has it, and not the mean of harmonic
    means. Nothing comes of figures of which one is missing.
    """
    failed = sum(figure.failed for figure in figures)
    means = [figure.mean for figure in figures if figure.mean is not None]
    if not figures or len(means) < len(figures):
        return Figure(failed=failed)
    seeds = [seed for seed in figures[0].by_seed if all(seed in figure.by_seed for figure in figures)]
    by_seed = {seed: combine([figure.by_seed[seed] for figure in figures]) for seed in seeds}
    return Figure(by_seed, combine(means), failed)


@dataclass(frozen=True)
class Row:
    """One method's figures, one a column."""

    method: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Block:
    """The rows of one data set, or of the average over all."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Setting:
    """A hyper-parameter of a method: its value and where that came from."""

    method: str
    name: str
    value: str


@dataclass
class ProtocolReport:
    """Everything the report of a protocol shows; what is empty is left out."""

    protocol: str
    title: str
    summary: str  # one plain sentence: which way of adapting does best?
    columns: tuple[str, ...]
    blocks: list[Block]
    across: str = ""  # what the columns are where they are numbers to draw a line over: "shots"
    settings: list[Setting] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)  # (cell, why)
    choices: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the table."""
        return [row.method for row in self.blocks[0].rows]

    def __str__(self) -> str:
        """Return the table, the notes and the summary as lines to print."""
        return "\n\n".join([self.title, "\n".join(self._lines()).rstrip(), *self.notes, self.summary])

    def _lines(self) -> Iterator[str]:
        columns = [f"{column} {self.across}".rstrip() for column in self.columns]
        rows = [(row.method, *map(str, row.figures)) for block in self.blocks for row in block.rows]
        names = [block.name for block in self.blocks]
        first, *others = (max(map(len, column)) for column in zip((max(names, key=len), *columns), *rows, strict=True))
        for block in self.blocks:
            heads = [f"{head:>{width}}" for head, width in zip(columns, others, strict=True)]
            yield "  ".join([f"{block.name:<{first}}", *heads])
            for row in block.rows:
                figures = [f"{figure!s:>{width}}" for figure, width in zip(row.figures, others, strict=True)]
                yield "  ".join([f"{row.method:<{first}}", *figures])
            yield ""
