"""Which pictures are the same, byte for byte. Sizes are compared first, so that hardly any file is read for it."""

import os
from collections import defaultdict
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from overtone.data.images import Held, kind_of
from overtone.data.imageset import Record, Row
from overtone.data.threads import on_all_cores

END = 4096  # bytes at the end, compared before the whole
DIGEST = 16  # bytes that stand for a picture's


def copies(rows: Sequence[Row]) -> dict[int, int]:
    """Map the id() of each row to the position of the first row with the same content, its own where it is the first.

    A file that is named twice, or linked to, is one file. Others are the same where size, end and then all bytes are:
    each is looked at only where the one before says so. What is empty or cannot be read is like nothing else.
    """
    first: dict[Hashable, int] = {}
    places = [_place(row) for row in rows]
    for position, place in enumerate(places):
        first.setdefault(place, position)
    alike = dict.fromkeys(first.values(), 0)  # position -> the group that it may be of
    for look in (_size, _end, _digest):
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for position, seen in zip(alike, on_all_cores(look, [rows[position] for position in alike]), strict=True):
            groups[alike[position], seen].append(position)
        shared = [group for group in groups.values() if len(group) > 1]
        alike = {position: number for number, group in enumerate(shared) for position in group}
    same = {position: shared[number][0] for position, number in alike.items()}
    return {id(row): same.get(first[place], first[place]) for row, place in zip(rows, places, strict=True)}


def digests(pictures: Sequence[Record]) -> list[str]:
    """Return what tells each picture's bytes from others; an empty text for one that cannot be read."""
    return [found.hex() if isinstance(found, bytes) else "" for found in on_all_cores(_digest, pictures)]


def _place(row: Row) -> Hashable:
    """Return what is equal for two paths to one file."""
    try:
        found = None if row.encoded is not None else Path(row.source).stat()
    except (OSError, ValueError):
        found = None
    return (found.st_dev, found.st_ino) if found and found.st_ino else object()


def _size(row: Row) -> Hashable:
    if isinstance(row.encoded, np.ndarray):
        return row.encoded.shape, row.encoded.dtype.str
    if row.encoded is not None:
        return len(row.encoded) or object()
    return (Path(row.source).stat().st_size if kind_of(row.source) == "file" else 0) or object()


def _end(row: Row) -> Hashable:
    if row.encoded is not None:
        return bytes(_flat(row.encoded)[-END:])
    try:
        with Path(row.source).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - END))
            return file.read()
    except OSError:
        return object()


def _digest(row: Row | Record) -> Hashable:
    try:
        held = Path(row.source).read_bytes() if row.encoded is None else _flat(row.encoded)
        return blake2b(held, digest_size=DIGEST).digest()
    except OSError:
        return object()


def _flat(held: Held) -> memoryview:
    return memoryview(held.tobytes() if isinstance(held, np.ndarray) else held).cast("B")
