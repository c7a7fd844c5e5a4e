"""Picture sets of the Hugging Face hub, read by `datasets`: splits are levels, the columns' types say the rest."""

import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

from huggingface_hub import constants

from overtone.data.imageset import Row, Skipped
from overtone.data.names import clean_names, some
from overtone.data.source import LEVELS, Level, Source
from overtone.data.tables import LABEL_NAMES
from overtone.errors import UserError, did_you_mean

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")  # owner/name, or owner/name@revision


def hub_answers(timeout: float = 5.0) -> bool:
    """Whether the hub can be reached: asked once and quickly, as its own client retries for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    address = urlparse(constants.ENDPOINT)
    if address.scheme in getproxies():
        return True  # the proxy decides
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout).close()
    except OSError:
        return False
    return True


def read_hub(name: str, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Return the pictures of `owner/name` or `owner/name@revision`, as their files' bytes where `datasets` keeps them.

    The column of pictures is the first of that type, the classes are the first column of class labels, else one of a
    name that says so. Pictures without a label, or with one out of its range, are skipped.

    Raises UserError when the set cannot be had, or has no such columns.
    """
    splits = load_set(name)
    features = next(iter(splits.values())).features
    image = _image_column(name, features, image_column)
    label = _label_column(name, features, label_column)
    levels: dict[Level, list[Row]] = {}
    skipped: list[Skipped] = []
    others = []
    for split, table in splits.items():
        level = LEVELS.get(split.lower())
        if level is None:
            others.append(split)
            continue
        for item in _rows(f"{name}/{split}", table, image, label):
            (skipped if isinstance(item, Skipped) else levels.setdefault(level, [])).append(item)  # type: ignore[arg-type]
    if not any(levels.values()):
        raise UserError(f"No labelled picture in {name!r}: its splits are {some(map(repr, splits))}.")
    choices = [("columns", f"pictures from {image!r}, classes from {label!r}", "by their types and names")]
    if others:
        choices.append(("splits left out", some(map(repr, others)), "they are not called train, val or test"))
    return Source(_cleaned(levels, name), "the set has no {} split", tuple(skipped), tuple(choices))


def load_set(name: str) -> dict[str, Any]:
    """Return the set's splits; without a hub that answers, from the cache."""
    import datasets  # half a second at best: only who reads from the hub waits for it

    repository, _, revision = name.partition("@")
    datasets.disable_progress_bars()
    reachable = hub_answers()
    datasets.config.HF_HUB_OFFLINE = not reachable
    try:
        return dict(datasets.load_dataset(repository, revision=revision or None))
    except Exception as error:  # whatever its many readers raise
        reason = (
            " ".join(str(error).split())[:200] if reachable else "the hub cannot be reached, and it is not in the cache"
        )
        raise UserError(f"{name!r} is neither a folder nor a table, nor to be had from the hub: {reason}.") from error


def _image_column(name: str, features: Any, wanted: str | None) -> str:
    import datasets

    columns = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if wanted is not None and wanted not in columns:
        raise UserError(
            f"--image-column {wanted!r}: no column of pictures in {name!r}.{did_you_mean(wanted, columns)} "
            f"It has {some(map(repr, columns)) or 'none'}."
        )
    if not columns:
        raise UserError(f"{name!r} has no column of pictures. Its columns are {some(map(repr, features))}.")
    return wanted or columns[0]


def _label_column(name: str, features: Any, wanted: str | None) -> str:
    import datasets

    if wanted is not None and wanted not in features:
        raise UserError(f"--label-column {wanted!r}: no such column in {name!r}.{did_you_mean(wanted, features)}")
    typed = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    named = [column for column in LABEL_NAMES if column in features]
    if not (columns := [*filter(None, [wanted]), *typed, *named]):
        raise UserError(
            f"{name!r} has no column of labels. Its columns are {some(map(repr, features))}: "
            "name one with --label-column."
        )
    return columns[0]


def _rows(place: str, table: Any, image: str, label: str) -> Iterator[Row | Skipped]:
    """Yield the pictures of a split, none of them decoded or even read."""
    import datasets

    kind = table.features[label]
    names = kind.names if isinstance(kind, datasets.ClassLabel) else None
    labels = table.data.column(label).to_pylist()
    for number, (file, value) in enumerate(zip(_files(table.data.column(image)), labels, strict=True)):
        source = f"{place}/{number}"
        fault = _fault(value, names)
        if fault is None and file is None:
            fault = "no picture"
        if fault is not None:
            yield Skipped(source, fault)
            continue
        path, data = file  # type: ignore[misc]
        yield Row(source if data is not None else path, names[value] if names else str(value), encoded=data)


def _files(column: Any) -> Iterator[tuple[str, memoryview | None] | None]:
    """Yield path and bytes of each picture; the bytes are where they are in the mapped file until they are decoded."""
    for chunk in column.chunks:
        columns = dict(zip((field.name for field in chunk.type), chunk.flatten(), strict=True))
        for held, path in zip(columns["bytes"], columns["path"], strict=True):
            if held.is_valid:
                yield path.as_py() or "", memoryview(held.as_buffer()).cast("B")
            else:
                yield (path.as_py(), None) if path.is_valid else None


def _fault(value: object, names: list[str] | None) -> str | None:
    if value in (None, "", -1):  # -1 is how `datasets` writes that a picture has no label
        return "no label"
    if names and isinstance(value, int) and not 0 <= value < len(names):
        return f"label {value}, where 0 to {len(names) - 1} is expected"
    return None


def _cleaned(levels: dict[Level, list[Row]], name: str) -> dict[Level, list[Row]]:
    found: Iterable[str] = dict.fromkeys(row.name for rows in levels.values() for row in rows)
    clean = clean_names(found, repr(name))
    return {
        level: [Row(row.source, clean[row.name], row.domain, row.encoded) for row in rows]
        for level, rows in levels.items()
    }
