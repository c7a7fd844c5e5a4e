"""What the user names as image-text pairs, and the reader that can read it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from overtone.data.folders import files_below, neighbours
from overtone.data.images import EXTENSIONS, kind_of
from overtone.data.imageset import Skipped
from overtone.data.loading import EMOJI, is_hub_id
from overtone.data.names import count, some
from overtone.data.pairs.arrow import hub_shards, read_hub_pairs, read_parquet
from overtone.data.pairs.emoji import read_emoji_pairs
from overtone.data.pairs.files import by_level, is_pattern, levels_said, named_files
from overtone.data.pairs.folder import read_pair_folder
from overtone.data.pairs.set import PairSource
from overtone.data.pairs.stream import StreamSource
from overtone.data.pairs.table import read_pair_table
from overtone.data.pairs.tar import tar_shards
from overtone.data.tables import CSV_EXTENSIONS, JSON_EXTENSIONS
from overtone.errors import UserError, did_you_mean

TABLES = CSV_EXTENSIONS | JSON_EXTENSIONS
SHARDS = (".tar", ".parquet")
KINDS = "a folder of pictures with .txt beside, a table (CSV, TSV, JSON lines), parquet files, .tar shards, or a hub id"


def find_pairs(data: str, image: str | None, caption: str | None, stream: bool) -> PairSource | StreamSource:
    """Return what is called `data`, in memory or to be streamed; raises UserError where no reader can read it."""
    if not data.strip():
        raise UserError(f"No data is named. Give {EMOJI!r}, {KINDS}.")
    if stream and not is_hub_id(data):
        raise UserError(
            f"--stream is for sets of the hub, named as owner/name: {data!r} is none. Leave it out; .tar shards are "
            "always streamed."
        )
    if data == EMOJI:
        _refuse_columns("the emoji set", image, caption)
        return read_emoji_pairs()
    if is_pattern(data):
        files, missing = named_files(data)
        return _read(files, None, image, caption, missing)
    if is_hub_id(data):
        return _hub_stream(data, image, caption) if stream else read_hub_pairs(data, image, caption)
    path = Path(data)
    kind = kind_of(path)
    if kind is None:
        near = did_you_mean(data, [EMOJI, *neighbours(path)])
        raise UserError(f"No data at {data!r}: there is no such file or folder.{near} Give {EMOJI!r}, {KINDS}.")
    if kind != "folder":
        return _read([path], None, image, caption)
    return _read_folder(path, image, caption)


def _read_folder(path: Path, image: str | None, caption: str | None) -> PairSource | StreamSource:
    """Read the pictures below a folder, or its shards where it has none: of one kind, and what is left out is said."""
    files = list(files_below(path))
    shards = {ending: [file for file in files if file.suffix.lower() == ending] for ending in SHARDS}
    pictures = any(file.suffix.lower() in EXTENSIONS for file in files)
    ending = None if pictures else next(filter(shards.get, SHARDS), None)
    source: PairSource | StreamSource
    if ending:
        source = _read(shards.pop(ending), path, image, caption)
    else:
        _refuse_columns(f"{str(path)!r}, a folder of pictures,", image, caption)
        source = read_pair_folder(path, files)
    if not (left := [file.name for members in shards.values() for file in members]):
        return source
    how = f"{ending} files alone are read" if ending else "pictures beside their texts alone are read"
    choice = ("shards left out", f"{count(len(left), 'file')}: {some(map(repr, left))}", how)
    return replace(source, choices=(*source.choices, choice))


def _refuse_columns(what: str, image: str | None, caption: str | None) -> None:
    if image or caption:
        raise UserError(f"Columns are named for tables, parquet files, shards and sets of the hub: {what} has none.")


def _read(
    files: list[Path], root: Path | None, image: str | None, caption: str | None, missing: Sequence[Skipped] = ()
) -> PairSource | StreamSource:
    """Read files of one kind, those of `root` where they are all below a folder; `missing` are files that are not."""
    ending = files[0].suffix.lower()
    if other := next((file for file in files if file.suffix.lower() != ending), None):
        raise UserError(f"Files of one kind are read together: {files[0].name!r} and {other.name!r} are of two.")
    if ending == ".tar":
        shards, choice = tar_shards(files, image, caption)
        levels = by_level(files, root)
        by_path = {shard.path: shard for shard in shards}
        found = {level: [by_path[file] for file in members] for level, members in levels.items()}
        lacks = "the shards have no {} level"
        return StreamSource(found, lacks, tuple(missing), (choice, *levels_said(levels, "shard")))
    if ending == ".parquet":
        source = read_parquet(files, root, image, caption)
    elif ending in TABLES and len(files) == 1:
        source = read_pair_table(files[0], image, caption)
    else:
        raise UserError(f"{str(files[0])!r} is nothing that pairs are read from: give {KINDS}.")
    return replace(source, skipped=(*missing, *source.skipped))


def _hub_stream(data: str, image: str | None, caption: str | None) -> StreamSource:
    shards, choices = hub_shards(data, image, caption)
    return StreamSource(shards, "the set has no {} split", choices=tuple(choices))
