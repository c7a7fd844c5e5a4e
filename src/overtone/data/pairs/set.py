"""Pictures with captions, not yet decoded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from overtone.data.images import BadImage, open_image
from overtone.data.imageset import Record, Skipped
from overtone.data.source import Level


@dataclass(frozen=True)
class Pair:
    """One picture with its captions: one or more, none of them empty, none twice. The picture's label means nothing."""

    image: Record
    captions: tuple[str, ...]

    @property
    def source(self) -> str:
        """Path or record name of the picture, as shown to the user."""
        return self.image.source


@dataclass(frozen=True)
class PairSet(Dataset[Pair]):
    """Pairs in memory, their pictures by reference: each is decoded when it is opened."""

    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]

    def select(self, indices: Iterable[int]) -> "PairSet":
        """Return the pairs at `indices`."""
        return PairSet(tuple(self.pairs[i] for i in indices))


@dataclass(frozen=True)
class PairSource:
    """The pairs as found: by level where the data has levels, under "all" where it has none."""

    levels: dict[Level, list[Pair]]
    lacks: str  # how to say that a level is not there: "the folder has no {} level"
    skipped: tuple[Skipped, ...] = ()
    choices: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Inside(Record):
    """A picture whose file is a stretch of bytes within another file."""

    file: str = ""
    offset: int = 0
    length: int = 0

    def read(self) -> bytes:
        """Return the bytes; raises BadImage where they cannot be had."""
        try:
            with Path(self.file).open("rb") as file:
                file.seek(self.offset)
                return file.read(self.length)
        except OSError as error:
            raise BadImage(f"{self.file!r} cannot be read: {error.strerror}") from error

    def open(self) -> Image.Image:
        """Return the picture as RGB; raises BadImage."""
        return open_image(self.read())


def unlabelled(source: str, encoded: bytes | None = None) -> Record:
    """Return the record of a picture that has no class."""
    return Record(source, 0, encoded=encoded)


def clean_captions(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct captions with runs of white space as one space, without those that are empty."""
    return tuple(dict.fromkeys(text for text in (" ".join(text.split()) for text in texts) if text))


def caption_lines(text: bytes) -> tuple[str, ...] | str:
    """Return the captions of a file, one a line, or why there are none."""
    try:
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        return f"the captions are not UTF-8 text (byte {error.start}): save them as UTF-8"
    return clean_captions(lines) or "the captions are empty"
