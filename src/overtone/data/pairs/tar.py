"""Webdataset shards: tar files whose members of one key (a.jpg, a.txt, a.json) are one sample.

The layout: github.com/webdataset/webdataset. A key is a member's path up to the first dot of its name, the rest is
what the member is of the sample. Archives are read as they stand, never unpacked.
"""

import itertools
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from overtone.data.images import EXTENSIONS
from overtone.data.imageset import Skipped
from overtone.data.names import some
from overtone.data.pairs.set import Inside, Pair, caption_lines
from overtone.data.pairs.table import CAPTION_NAMES, captions_of
from overtone.data.tables import BadRow
from overtone.errors import UserError, did_you_mean

PEEKED = 1000  # members that are looked at to find out what a sample is made of
TEXTS = ("txt", "caption", "text")  # parts that are captions, a line each, the surest first
BLOCK = 512  # bytes; an archive ends with two blocks of zeros


class BadShard(Exception):  # noqa: N818  a state of the data: what came before it is used
    """A shard that cannot be read on, with the reason."""


@dataclass(frozen=True)
class Parts:
    """Which parts of a sample are its picture and its captions."""

    images: frozenset[str]
    caption: str
    key: str | None = None  # of the JSON object that the captions stand in; None where they are lines of text

    def captions(self, data: bytes) -> tuple[str, ...] | str:
        """Return the captions in a member, or why there are none."""
        if self.key is None:
            return caption_lines(data)
        try:
            value = json.loads(data)
            return captions_of(value.get(self.key) if isinstance(value, dict) else None, self.key)
        except (ValueError, RecursionError):
            return f"its {self.caption} is not JSON in UTF-8"
        except BadRow as fault:
            return str(fault)


@dataclass
class Sample:
    """What has been found of a sample so far."""

    picture: tarfile.TarInfo | None = None
    captions: tuple[str, ...] | str | None = None  # a text says why there are none


@dataclass(frozen=True)
class TarShard:
    """One tar file of samples."""

    path: Path
    parts: Parts

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def samples(self) -> Iterator[Pair | Skipped]:
        """Yield the pairs, whichever way round their members come, by reference into the file; then what lacks a part.

        Where the archive is cut or damaged, what came before is used and the rest is one `Skipped`.
        """
        waiting: dict[str, Sample] = {}
        try:
            for tar, member in members(self.path):
                key, part = key_and_part(member.name)
                if part in self.parts.images:
                    waiting.setdefault(key, Sample()).picture = member
                elif part == self.parts.caption:
                    waiting.setdefault(key, Sample()).captions = self.parts.captions(_data(tar, member))
                else:
                    continue
                sample = waiting[key]
                if sample.picture is not None and sample.captions is not None:
                    yield self._pair(sample.picture, sample.captions)
                    del waiting[key]
        except BadShard as fault:
            yield Skipped(self.name, str(fault))
        for key, sample in waiting.items():
            missing = "a picture without captions" if sample.captions is None else "captions without a picture"
            yield Skipped(f"{self.path}/{key}", missing)

    def _pair(self, picture: tarfile.TarInfo, captions: tuple[str, ...] | str) -> Pair | Skipped:
        source = f"{self.path}/{picture.name}"
        if isinstance(captions, str):
            return Skipped(source, captions)
        return Pair(Inside(source, 0, file=self.name, offset=picture.offset_data, length=picture.size), captions)


def members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the files of an archive that are whole; raises BadShard where it goes no further before its end."""
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise BadShard(f"cut in the middle: the file ends within {member.name!r}")
                if member.isfile() and not Path(member.name).name.startswith("."):
                    yield tar, member
            _require_end(path, tar.offset)
    except OSError as error:
        raise BadShard(f"cannot be read: {error.strerror}") from error
    except BadShard:
        raise
    except Exception as error:  # damaged headers end in many exceptions of tarfile
        raise BadShard(f"no whole tar file: {error}") from error


def _require_end(path: Path, offset: int) -> None:
    """Raise BadShard where tarfile stopped, as it does without a word, at no mark of the end."""
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise BadShard("cut: the file ends without the mark that ends a tar file")
    if any(block):
        raise BadShard(f"damaged at byte {offset:,}: no more can be read")


def _data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def key_and_part(name: str) -> tuple[str, str]:
    """Return a member's key and what it is of the sample: ("a/b", "seg.png") of "a/b.seg.PNG"."""
    folder, slash, file = name.rpartition("/")
    stem, _, part = file.partition(".")
    return folder + slash + stem, part.lower()


def tar_shards(
    paths: Sequence[Path], image_column: str | None = None, caption_column: str | None = None
) -> tuple[list[TarShard], tuple[str, str, str]]:
    """Return the shards, and the choice that says which parts of a sample are used, found in the first of them.

    `image_column` names a part ("jpg"); `caption_column` a part ("txt") or a key of the JSON part.
    Raises UserError when no shard has both, or none of what was named.
    """
    seen, keys = _peek(paths)
    images = _image_parts(seen, image_column)
    parts = Parts(images, *_caption_part(seen, keys, caption_column))
    where = f"{parts.caption!r}" if parts.key is None else f"the key {parts.key!r} of {parts.caption!r}"
    how = "named by you" if image_column and caption_column else "recognised by their names"
    choice = ("parts", f"pictures from {', '.join(map(repr, sorted(images)))}, captions from {where}", how)
    return [TarShard(path, parts) for path in paths], choice


def _peek(paths: Sequence[Path]) -> tuple[Counter[str], dict[str, list[str]]]:
    """Return the parts that the first members are, from as many shards as it takes, and each JSON part's keys."""
    seen: Counter[str] = Counter()
    keys: dict[str, list[str]] = {}
    faults = []
    for path in paths:
        try:
            for tar, member in itertools.islice(members(path), PEEKED - seen.total()):
                part = key_and_part(member.name)[1]
                seen[part] += 1
                if part.endswith("json") and part not in keys:
                    keys[part] = _keys(_data(tar, member))
        except BadShard as fault:
            faults.append(f"{str(path)!r}: {fault}")
        if seen.total() == PEEKED:
            break
    if not seen:
        first = f" The first, {faults[0]}." if faults else ""
        raise UserError(f"Nothing can be read in any of {len(paths):,} shards.{first}")
    return seen, keys


def _keys(data: bytes) -> list[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []


def _image_parts(seen: Counter[str], wanted: str | None) -> frozenset[str]:
    if wanted is not None:
        if wanted.lower() not in seen:
            raise UserError(f"--image-column {wanted!r}: no such part in the shards.{_parts_said(wanted, seen)}")
        return frozenset((wanted.lower(),))
    pictures = [part for part in seen if f".{part.rpartition('.')[2]}" in EXTENSIONS]
    if not pictures:
        raise UserError(f"No pictures in the shards.{_parts_said('', seen)} Name a part with --image-column.")
    return frozenset([part for part in pictures if "." not in part] or pictures)


def _caption_part(seen: Counter[str], keys: dict[str, list[str]], wanted: str | None) -> tuple[str, str | None]:
    named = CAPTION_NAMES if wanted is None else (wanted,)
    for part in TEXTS if wanted is None else (wanted.lower(),):
        if part in seen and part not in keys:
            return part, None
    for name, part in itertools.product(named, keys):
        if name in keys[part]:
            return part, name
    known = [*seen, *(key for found in keys.values() for key in found)]
    if wanted is None:
        raise UserError(f"No captions in the shards.{_parts_said('', known)} Name one with --caption-column.")
    raise UserError(f"--caption-column {wanted!r}: no such part or JSON key.{_parts_said(wanted, known)}")


def _parts_said(wanted: str, known: Sequence[str] | Counter[str]) -> str:
    return f"{did_you_mean(wanted, known)} Found: {some(map(repr, known), 12) or 'nothing'}."
