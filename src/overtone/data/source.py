"""What a reader of folders or tables hands on, before it is decided which pictures are for what."""

from dataclasses import dataclass
from typing import Literal

from overtone.data.imageset import Row, Skipped

Level = Literal["train", "val", "test", "all"]

LEVELS: dict[str, Level] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Source:
    """The pictures as found: by level where the data has levels, under "all" where it has none. Names are cleaned."""

    levels: dict[Level, list[Row]]
    lacks: str  # how to say that a level is not there: "the folder has no {} level"
    skipped: tuple[Skipped, ...] = ()
    choices: tuple[tuple[str, str, str], ...] = ()
    published: bool = False  # whether its test pictures are the field's, and so are left as they are
