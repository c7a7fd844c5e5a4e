"""From what the user names (`debian-en-de`, a folder, a table, a hub id) to sentences with their translations."""

import re
from pathlib import Path

from overtone.data.folders import neighbours
from overtone.data.images import kind_of
from overtone.data.loading import is_hub_id
from overtone.data.names import count
from overtone.data.parallel.debian import DEBIAN, read_debian
from overtone.data.parallel.folder import read_folder
from overtone.data.parallel.hub import read_parallel_hub
from overtone.data.parallel.sentences import ParallelSplits, TestSentences
from overtone.data.parallel.source import ParallelSource, join
from overtone.data.parallel.split import arrange
from overtone.data.parallel.table import read_parallel_table
from overtone.data.tables import CSV_EXTENSIONS, JSON_EXTENSIONS
from overtone.errors import UserError, did_you_mean

LANGUAGE = re.compile(r"[a-z]{2,3}([-_]\w+)?", re.IGNORECASE)
KINDS = "a folder of aligned files (train.en, train.de), a table (TSV, CSV, JSON lines), or a hub id"


def load_parallel(data: str, seed: int, source: str = "en", target: str = "de") -> ParallelSplits:
    """Return the splits of `data`: "debian-en-de", a folder of aligned files, a TSV, CSV or JSON-lines table, or a hub
    id, with sentences of the language `source` and their translations into `target`.

    A validation or test part that the data lacks is drawn under `seed`; no sentence of one part is in another.
    A folder of your own that is called debian-en-de is "./debian-en-de".

    Raises UserError.
    """
    return arrange(_find(data, source, target), data, seed, source, target)


def load_test_sentences(data: str, source: str = "en", target: str = "de") -> TestSentences:
    """Return the test sentences of `data`, which is as for `load_parallel`, or all where it sets none apart.

    Raises UserError.
    """
    found = _find(data, source, target)
    sentences, choices = found.levels.get("test"), found.choices
    if not sentences:
        sentences = join(found.levels.values())
        choices = (*choices, ("test sentences", f"all, {count(len(sentences), 'pair')}", found.lacks.format("test")))
    if not sentences:
        raise UserError(f"No sentence with its translation in {data!r}.")
    return TestSentences(sentences, found.skipped, choices)


def _find(data: str, source: str, target: str) -> ParallelSource:
    for name, language in (("source", source), ("target", target)):
        if not LANGUAGE.fullmatch(language):
            raise UserError(f"The {name} language {language!r} is no language code: give one such as 'en' or 'de'.")
    if source == target:
        raise UserError(f"Source and target are both {source!r}: a translation takes two languages.")
    if data == DEBIAN:
        return read_debian(source, target)
    if is_hub_id(data):
        return read_parallel_hub(data, source, target)
    path = Path(data)
    kind = kind_of(path)
    if kind is None:
        near = did_you_mean(data, [DEBIAN, *neighbours(path)])
        raise UserError(f"No data at {data!r}: there is no such file or folder.{near} Give {DEBIAN!r}, {KINDS}.")
    if kind == "folder":
        return read_folder(path, source, target)
    if path.suffix.lower() not in CSV_EXTENSIONS | JSON_EXTENSIONS:
        raise UserError(f"{data!r} is nothing that parallel text is read from: give {DEBIAN!r}, {KINDS}.")
    return read_parallel_table(path, source, target)
