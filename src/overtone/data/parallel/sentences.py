"""Sentences in two languages, side by side."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from overtone.data.imageset import Skipped


@dataclass(frozen=True)
class Sentences:
    """Sentences and their translations: `target[i]` says what `source[i]` says.

    `target` is empty where there is only text to translate. Raises ValueError where the numbers differ.
    """

    source: Sequence[str]
    target: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(self.target) not in (0, len(self.source)):
            raise ValueError(f"target: {len(self.target):,} sentences do not go with {len(self.source):,} of source")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        """What tells these sentences, in this order, from others."""
        found = hashlib.sha256()
        for texts in (self.source, self.target):
            found.update("".join(f"{text}\n" for text in texts).encode())
        return found.hexdigest()

    def select(self, places: Iterable[int]) -> "Sentences":
        """Return the sentences at `places`, in that order."""
        places = list(places)
        target = [self.target[place] for place in places] if self.target else ()
        return Sentences([self.source[place] for place in places], target)


@dataclass(frozen=True)
class ParallelSplits:
    """Sentences to learn from, to choose by and to be judged on; no pair of one part is in another."""

    train: Sentences
    val: Sentences
    test: Sentences
    source_language: str  # as named: "en"
    target_language: str
    skipped: tuple[Skipped, ...]  # "FILE:LINE" and why it could not be used
    choices: tuple[tuple[str, str, str], ...]  # (what, value, why) of every decision made here


@dataclass(frozen=True)
class TestSentences:
    """Sentences to judge a translator on."""

    __test__ = False  # no test, whatever pytest makes of the name

    sentences: Sentences
    skipped: tuple[Skipped, ...]
    choices: tuple[tuple[str, str, str], ...]
