"""Measure embeddings of any number in two readings: one to see which rows are good and alike, one to sum them up."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from overtone.data import Skipped
from overtone.data.embeddings import Matrix
from overtone.errors import UserError
from overtone.progress import shown
from overtone.spectral import (
    Matches,
    Moments,
    Partition,
    Sketch,
    rows_among,
    sketched_metrics,
    sketched_pair_metrics,
)

SAMPLED = 5000  # rows for what compares every row with every other: as many as COCO's test pictures
CHUNK = 2**22  # bytes of a matrix in float32 that are in memory at a time, several times over


@dataclass(frozen=True)
class Side:
    """What was measured of one modality."""

    sketch: Sketch  # of its different rows
    parts: dict[str, Partition]  # by view, "raw" and "centred"
    sampled: Float[Tensor, "different width"]  # the different ones among the sampled rows, of unit length
    place: Int[np.ndarray, " rows"]  # of each sampled row in `sampled`


@dataclass(frozen=True)
class Measured:
    """What was measured of a matrix, or of two that match row by row."""

    rows: int  # that were used
    sides: dict[str, Side]  # "embeddings", or "image" and "text"
    metrics: dict[str, float]  # "<side>/<metric>" and "pair/<metric>"
    skipped: list[Skipped]
    dropped: int  # rows
    sampled: int  # rows, for what compares every row with every other


def measure(matrices: dict[str, Matrix], seed: int) -> Measured:
    """Read the matrices twice and measure them; rows with numbers that are not finite are left out of all.

    Rows that are copies of others count once in a modality's own figures: noise that is repeated would look like
    signal. Raises UserError when no row is left.
    """
    used, skipped, alike = look(matrices)
    if not used.any():
        raise UserError(
            f"No row can be used: all {len(used):,} hold NaN or infinity, the first of {skipped[0].source}."
        )
    rows = np.flatnonzero(used)
    sampled = rows if len(rows) <= SAMPLED else np.sort(np.random.default_rng(seed).choice(rows, SAMPLED, False))
    gatherers = {name: Gatherer(rows, alike[name], sampled) for name in matrices}
    matches = Matches()
    for start, chunks in reading(matrices, "measuring"):
        here = torch.from_numpy(used[start : start + len(next(iter(chunks.values())))])
        units = [_unit(chunk) for chunk in chunks.values()]
        for gatherer, unit in zip(gatherers.values(), units, strict=True):
            gatherer.take(start, unit)
        if len(units) == 2 and here.any():
            matches.update(units[0][here], units[1][here])
    sides = {name: gatherer.side() for name, gatherer in gatherers.items()}
    return Measured(len(rows), sides, figures(sides, matches, len(rows)), skipped, len(used) - len(rows), len(sampled))


def figures(sides: dict[str, Side], matches: Matches, rows: int) -> dict[str, float]:
    """Return every metric by its full name; those of a single matrix begin with "embeddings/"."""
    if len(sides) == 2:
        metrics = sketched_pair_metrics(sides["image"].sketch, sides["text"].sketch, matches)
    else:
        ((name, side),) = sides.items()
        metrics = {f"{name}/{key}": value for key, value in sketched_metrics(side.sketch).items()}
    return {f"{name}/rows": float(rows) for name in sides} | metrics


def look(
    matrices: dict[str, Matrix],
) -> tuple[Bool[np.ndarray, " rows"], list[Skipped], dict[str, Int[np.ndarray, " rows"]]]:
    """Return which rows can be used, why others cannot, and for each side numbers by which equal rows are known."""
    count = next(iter(matrices.values())).rows
    used = np.ones(count, bool)
    skipped: list[Skipped] = []
    alike = {name: np.zeros(count, np.uint64) for name in matrices}
    for start, chunks in reading(matrices, "reading"):
        for name, chunk in chunks.items():
            good = chunk.isfinite().all(1).numpy()
            for row in np.flatnonzero(~good):
                skipped.append(Skipped(f"{matrices[name].name} row {start + row + 1:,}", "holds NaN or infinity"))
            used[start : start + len(chunk)] &= good
            alike[name][start : start + len(chunk)] = fingerprints(chunk)
    return used, skipped, alike


def fingerprints(chunk: Float[Tensor, "rows width"]) -> Int[np.ndarray, " rows"]:
    """Return 64 bits a row, the same for equal rows; a million different ones clash once in 30 million files."""
    digests = (hashlib.blake2b(row, digest_size=8).digest() for row in chunk.numpy())
    return np.frombuffer(b"".join(digests), np.uint64)


class Gatherer:
    """Takes a modality's rows of unit length as they come, and keeps what its figures are made from."""

    def __init__(
        self, used: Int[np.ndarray, " used"], alike: Int[np.ndarray, " rows"], sampled: Int[np.ndarray, " sampled"]
    ) -> None:
        _, first = np.unique(alike[used], return_index=True)
        self.different = np.sort(used[first])
        self.spread = self.different[rows_among(len(self.different))]
        _, first, self.place = np.unique(alike[sampled], return_index=True, return_inverse=True)
        self.sampled = sampled[first]  # not in order: `place` counts on it
        self.moments = Moments()
        self.wanted = np.union1d(self.spread, self.sampled)
        self.kept = torch.empty(0, 0)  # those wanted, in one piece: many small ones would scatter over memory

    def take(self, start: int, unit: Float[Tensor, "rows width"]) -> None:
        """Take the rows from `start` on in."""
        self.moments.update(unit[_within(self.different, start, len(unit))])
        if not self.kept.numel():
            self.kept = unit.new_empty(len(self.wanted), unit.shape[1])
        low, high = np.searchsorted(self.wanted, (start, start + len(unit)))
        self.kept[low:high] = unit[self.wanted[low:high] - start]

    def side(self) -> Side:
        """Return what was kept, when all rows have come."""
        sketch = Sketch(self.moments, self._rows(self.spread))
        return Side(sketch, sketch.parts, self._rows(self.sampled), self.place)

    def _rows(self, rows: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows width"]:
        return self.kept[np.searchsorted(self.wanted, rows)]


def reading(matrices: dict[str, Matrix], doing: str) -> Iterator[tuple[int, dict[str, Float[Tensor, "rows width"]]]]:
    """Yield the number of the first row and the same rows of every matrix, with a bar on a terminal."""
    matrix = next(iter(matrices.values()))
    rows = max(1, CHUNK // (4 * matrix.width))
    chunks = zip(*(m.chunks(rows) for m in matrices.values()), strict=True)
    for start, parts in zip(shown(range(0, matrix.rows, rows), doing), chunks, strict=True):
        yield start, dict(zip(matrices, parts, strict=True))


def _unit(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Return rows of unit length, however large or small their numbers are: their squares may be neither."""
    largest = rows.abs().amax(1, keepdim=True)
    return normalize(rows / torch.where(largest > 0, largest, 1), dim=1)


def _within(rows: Int[np.ndarray, " n"], start: int, count: int) -> Int[np.ndarray, " m"]:
    """Return those of the rows, in order, that are among `count` from `start` on, counted from there."""
    low, high = np.searchsorted(rows, (start, start + count))
    return rows[low:high] - start
