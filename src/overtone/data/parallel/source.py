"""What a reader of parallel text hands on, before it is decided which sentences are for what."""

from collections.abc import Iterable
from dataclasses import dataclass

from overtone.data.imageset import Skipped
from overtone.data.parallel.sentences import Sentences
from overtone.data.source import Level


@dataclass(frozen=True)
class ParallelSource:
    """The sentences as found: by level where the data has levels, under "all" where it has none."""

    levels: dict[Level, Sentences]
    lacks: str  # how to say that a level is not there: "the folder has no {} level"
    skipped: tuple[Skipped, ...] = ()
    choices: tuple[tuple[str, str, str], ...] = ()


def tidy(text: str) -> str:
    """Return a sentence without white space around it, and with one space for any within."""
    return " ".join(text.split())


def aligned(rows: Iterable[tuple[str, str, str]]) -> tuple[Sentences, list[Skipped]]:
    """Return the pairs of which both sentences say something, from rows of (place, source, target), and the others."""
    sources, targets, skipped = [], [], []
    for place, text, translation in rows:
        text, translation = tidy(text), tidy(translation)
        if text and translation:
            sources.append(text)
            targets.append(translation)
        else:
            lacking = "both sentences are" if text == translation else f"the {'target' if text else 'source'} is"
            skipped.append(Skipped(place, f"{lacking} empty"))
    return Sentences(sources, targets), skipped


def join(parts: Iterable[Sentences]) -> Sentences:
    """Return the sentences of all parts, one after the other."""
    parts = list(parts)
    return Sentences([text for part in parts for text in part.source], [text for part in parts for text in part.target])
