"""Pairs that `datasets` reads: parquet files, and sets of the Hugging Face hub, whole or streamed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from overtone.data import hub, tables
from overtone.data.images import BadImage, kind_of, open_image
from overtone.data.imageset import Record, Skipped
from overtone.data.names import some
from overtone.data.pairs.files import by_level, levels_said
from overtone.data.pairs.set import Pair, PairSource, unlabelled
from overtone.data.pairs.table import CAPTION_NAMES, IMAGE_NAMES, captions_of
from overtone.data.source import LEVELS, Level
from overtone.data.tables import SPLIT_NAMES, BadRow
from overtone.errors import UserError, did_you_mean

BY_TYPE = "by their types and names"


@dataclass(frozen=True)
class ArrowPicture(Record):
    """A picture in a row of a table that `datasets` maps from disk: read when it is opened."""

    table: Any = field(default=None, compare=False, repr=False)
    column: str = ""
    row: int = 0
    folder: str = ""  # where relative paths start

    def open(self) -> Image.Image:
        """Return the picture as RGB; raises BadImage."""
        data, path = bytes_and_path(self.table[self.row][self.column][0].as_py())
        return open_image(data if data is not None else Path(self.folder, path or ""))


def bytes_and_path(value: object) -> tuple[bytes | None, str | None]:
    """Return what a cell holds of a picture: `datasets`' struct of both, bytes alone, or a path alone."""
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path")
    return (None, value) if isinstance(value, str) else (value if isinstance(value, bytes) else None, None)


def read_parquet(
    files: list[Path], root: Path | None, image_column: str | None = None, caption_column: str | None = None
) -> PairSource:
    """Return the pairs of parquet files, whose levels are by a split column, else by the files' names.

    Files that are not whole are skipped. Raises UserError when none is, or a column is missing.
    """
    levels = by_level(files, root)
    skipped = [Skipped(str(file), fault) for file in files if (fault := _fault(file))]
    bad = {item.source for item in skipped}
    whole = {level: [str(file) for file in found if str(file) not in bad] for level, found in levels.items()}
    if not any(whole.values()):
        raise UserError(
            f"None of {len(files):,} parquet files can be read. The first, {files[0]}: {skipped[0].reason}."
        )
    splits = {level: _open_parquet(found) for level, found in whole.items() if found}
    place = str(root or files[0])
    source = _pairs(splits, place, "the files have no {} level", str(files[0].parent), image_column, caption_column)
    said = levels_said(levels, "file")
    return PairSource(source.levels, source.lacks, (*skipped, *source.skipped), (*source.choices, *said))


def read_hub_pairs(name: str, image_column: str | None = None, caption_column: str | None = None) -> PairSource:
    """Return the pairs of `owner/name` or `owner/name@revision`, brought and kept by `datasets`; raises UserError."""
    found, choices = _by_level(hub.load_set(name))
    source = _pairs(found, name, "the set has no {} split", "", image_column, caption_column)
    return PairSource(source.levels, source.lacks, source.skipped, (*source.choices, *choices))


def _fault(file: Path) -> str | None:
    try:
        pq.ParquetFile(file).close()
    except (OSError, pa.ArrowException) as error:
        return f"no whole parquet file: {' '.join(str(error).split())[:120]}"
    return None


def _open_parquet(files: list[str]) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset("parquet", data_files={"train": files}, split="train")
    except Exception as error:  # whatever its reader raises
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"The parquet files beginning with {files[0]!r} cannot be read together: {reason}.") from error


def _by_level(splits: dict[str, Any]) -> tuple[dict[Level, Any], list[tuple[str, str, str]]]:
    """Return the splits that are levels; a single one whatever it is called."""
    if len(splits) == 1:
        return {"all": next(iter(splits.values()))}, []
    levels = {LEVELS[name.lower()]: split for name, split in splits.items() if name.lower() in LEVELS}
    others = [name for name in splits if name.lower() not in LEVELS]
    if "train" not in levels:
        raise UserError(f"No split is called train: the set has {some(map(repr, splits))}.")
    left_out = ("splits left out", some(map(repr, others)), "they are not called train, val or test")
    return levels, [left_out] if others else []


@dataclass(frozen=True)
class Columns:
    """Which column holds what."""

    image: str
    caption: str
    split: str | None

    @property
    def said(self) -> str:
        """What is from where."""
        return f"pictures from {self.image!r}, captions from {self.caption!r}"


def find_columns(features: Any, place: str, image: str | None, caption: str | None) -> Columns:
    """Return the columns named, else those found by their types and names; raises UserError."""
    import datasets

    names = list(features)
    for option, wanted in (("image", image), ("caption", caption)):
        if wanted is not None and wanted not in names:
            raise UserError(
                f"--{option}-column {wanted!r}: no such column in {place!r}.{did_you_mean(wanted, names)} "
                f"It has {some(map(repr, names), 12)}."
            )
    typed = [name for name in names if isinstance(features[name], datasets.Image) or _is_file(features[name])]
    binary = [name for name in names if _is_value(features[name], "binary")]
    texts = [name for name in names if _is_text(features[name])]
    named = tables.recognised([*binary, *texts], IMAGE_NAMES)
    image = image or next(filter(None, [*typed, named, *binary]), None)
    if image is None:
        raise UserError(_lacks(place, "pictures", names, "image"))
    texts = [name for name in texts if name != image]
    caption = caption or tables.recognised(texts, CAPTION_NAMES) or (texts[0] if len(texts) == 1 else None)
    if caption is None:
        raise UserError(_lacks(place, "captions", names, "caption"))
    return Columns(image, caption, tables.recognised(names, SPLIT_NAMES))


def _is_value(kind: Any, *starts: str) -> bool:
    return str(getattr(kind, "dtype", "")).removeprefix("large_").startswith(starts)


def _is_text(kind: Any) -> bool:
    inner = getattr(kind, "feature", kind)  # of a list of texts
    return _is_value(kind[0] if isinstance(kind, list) else inner, "string")


def _is_file(kind: Any) -> bool:
    return isinstance(kind, dict) and kind.keys() == {"bytes", "path"}


def _lacks(place: str, what: str, names: list[str], option: str) -> str:
    return f"No column of {what} in {place!r}: it has {some(map(repr, names), 12)}. Name one with --{option}-column."


def _pairs(
    splits: dict[Level, Any], place: str, lacks: str, folder: str, image: str | None, caption: str | None
) -> PairSource:
    columns = find_columns(next(iter(splits.values())).features, place, image, caption)
    levels: dict[Level, list[Pair]] = {}
    skipped: list[Skipped] = []
    for level, table in splits.items():
        for found, item in _rows(table, columns, place if level == "all" else f"{place}/{level}", folder):
            (skipped if isinstance(item, Skipped) else levels.setdefault(found or level, [])).append(item)  # type: ignore[arg-type]
    if not levels:
        raise UserError(f"No row of {place!r} can be used. The first, {skipped[0].source}: {skipped[0].reason}.")
    how = "named by you" if image and caption else BY_TYPE
    return PairSource(levels, lacks, tuple(skipped), (("columns", columns.said, how),))


def _rows(table: Any, columns: Columns, place: str, folder: str) -> Iterator[tuple[Level | None, Pair | Skipped]]:
    """Yield the pairs of a table with their levels, where a column says them, none of the pictures read."""
    arrow = table.with_format("arrow")
    captions = table.data.column(columns.caption).to_pylist()
    levels = table.data.column(columns.split).to_pylist() if columns.split else [None] * len(table)
    paths = _paths(table.data.column(columns.image))
    for row, (path, cell, word) in enumerate(zip(paths, captions, levels, strict=True)):
        source = f"{place}/{row}"
        try:
            level = _level_said(word, columns.split) if columns.split else None
            if path is not None and kind_of(Path(folder, path)) != "file":
                raise BadRow("no picture" if not path else f"there is no file {str(Path(folder, path))!r}")
            texts = captions_of(cell, columns.caption)
            yield level, Pair(ArrowPicture(source, 0, table=arrow, column=columns.image, row=row, folder=folder), texts)
        except BadRow as fault:
            yield None, Skipped(source, str(fault))


def _level_said(word: object, column: str) -> Level:
    if str(word).lower() not in LEVELS:
        raise BadRow(f"{word!r} in the column {column!r}, where train, val or test is expected")
    return LEVELS[str(word).lower()]


def _paths(column: Any) -> Iterator[str | None]:
    """Yield for each picture the path that it has to be read from: None where its bytes are here, "" for nothing."""
    for chunk in column.chunks:
        if pa.types.is_struct(chunk.type):
            held = pc.is_valid(pc.struct_field(chunk, "bytes")).to_pylist()
            paths = pc.struct_field(chunk, "path").to_pylist()
        elif pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            held, paths = [False] * len(chunk), chunk.to_pylist()
        else:
            held, paths = pc.is_valid(chunk).to_pylist(), [None] * len(chunk)
        for here, path in zip(held, paths, strict=True):
            yield None if here else path or ""


@dataclass(frozen=True)
class HubShard:
    """One of the files of a set that is streamed from the hub."""

    name: str
    table: Any = field(compare=False, repr=False)  # datasets.IterableDataset
    number: int
    columns: Columns

    def samples(self) -> Iterator[Pair | Skipped]:
        """Yield the pairs; where the stream breaks off, the rest of the shard is one `Skipped`."""
        try:
            shard = self.table.shard(num_shards=self.table.num_shards, index=self.number)
            # Not iter(shard), which divides what it has over a DataLoader's workers: PairStream has done that.
            for row, cells in enumerate(shard.iter(batch_size=1)):
                yield self._pair(f"{self.name}/{row}", {column: value for column, (value,) in cells.items()})
        except Exception as error:  # whatever its readers raise for a file that is damaged, or a line that is lost
            yield Skipped(self.name, f"breaks off: {' '.join(str(error).split())[:200]}")

    def _pair(self, source: str, cells: dict[str, object]) -> Pair | Skipped:
        try:
            captions = captions_of(cells.get(self.columns.caption), self.columns.caption)
            data, path = bytes_and_path(cells.get(self.columns.image))
            if data is None and not path:
                raise BadRow("no picture")
            return Pair(unlabelled(source, data if data is not None else _fetch(str(path))), captions)
        except (BadRow, BadImage) as fault:
            return Skipped(source, str(fault))


def _fetch(path: str) -> bytes:
    """Return the bytes of a file of the set, which `datasets` finds on the hub."""
    from datasets.utils.file_utils import xopen

    try:
        with xopen(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadImage(f"{path!r} cannot be read: {error}") from error


def hub_shards(
    name: str, image_column: str | None = None, caption_column: str | None = None
) -> tuple[dict[Level, list[HubShard]], list[tuple[str, str, str]]]:
    """Return the shards of `owner/name` or `owner/name@revision` by level, and what was decided; raises UserError."""
    import datasets

    splits, choices = _by_level(_open_stream(name))
    first = next(iter(splits.values()))
    features = first.features or datasets.Dataset.from_list(list(first.take(1))).features
    columns = find_columns(features, name, image_column, caption_column)
    shards: dict[Level, list[HubShard]] = {}
    for level, table in splits.items():
        if isinstance(features[columns.image], datasets.Image):
            table = table.cast_column(columns.image, datasets.Image(decode=False))
        shards[level] = [HubShard(f"{name}/{level}/{i}", table, i, columns) for i in range(table.num_shards)]
    how = "named by you" if image_column and caption_column else BY_TYPE
    return shards, [("columns", columns.said, how), *choices]


def _open_stream(name: str) -> dict[str, Any]:
    import datasets

    repository, _, revision = name.partition("@")
    if not hub.hub_answers():
        raise UserError(f"{name!r} is neither a file nor a folder, and the hub cannot be reached to stream it.")
    try:
        return dict(datasets.load_dataset(repository, revision=revision or None, streaming=True))
    except Exception as error:  # whatever its many readers raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name!r} is not to be had from the hub: {reason}.") from error
