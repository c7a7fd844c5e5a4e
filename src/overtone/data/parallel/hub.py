"""Sets of the Hugging Face hub with a translation column, read by `datasets`."""

from collections.abc import Iterator
from typing import Any

from overtone.data import hub
from overtone.data.imageset import Skipped
from overtone.data.names import some
from overtone.data.parallel.sentences import Sentences
from overtone.data.parallel.source import ParallelSource, aligned
from overtone.data.source import LEVELS, Level
from overtone.errors import UserError

NESTED = "translation"


def read_parallel_hub(name: str, source: str, target: str) -> ParallelSource:
    """Return the sentences of `owner/name` or `owner/name@revision`, from a translation column or one a language.

    Where the set has several configurations, the one called after the pair ("de-en") is read. Rows that lack a
    sentence are skipped. Raises UserError when the set cannot be had or has no such pair.
    """
    splits = _load(name, source, target)
    features = next(iter(splits.values())).features
    column = _column(name, features, source, target)
    rows: dict[Level, list[tuple[str, str, str]]] = {}
    others = []
    for split, table in splits.items():
        level = LEVELS.get(split.lower(), "all" if len(splits) == 1 else None)
        if level is None:
            others.append(split)
        else:
            rows[level] = list(_rows(f"{name}/{split}", table, column, source, target))
    levels: dict[Level, Sentences] = {}
    skipped: list[Skipped] = []
    for level, found in rows.items():
        levels[level], bad = aligned(found)
        skipped += bad
    if not any(map(len, levels.values())):
        raise UserError(f"No sentence with its translation in {name!r}: its splits are {some(map(repr, splits))}.")
    where = f"{source!r} and {target!r} of {column!r}" if column else f"{source!r} and {target!r}"
    choices = [("columns", where, "by their types and names")]
    if others:
        choices.append(("splits left out", some(map(repr, others)), "they are not called train, val or test"))
    return ParallelSource(levels, "the set has no {} split", tuple(skipped), tuple(choices))


def _load(name: str, source: str, target: str) -> dict[str, Any]:
    """Return the splits of the set, or of its configuration for the pair."""
    import datasets  # half a second at best: only who reads from the hub waits for it

    repository, _, revision = name.partition("@")
    datasets.disable_progress_bars()
    reachable = hub.hub_answers()
    datasets.config.HF_HUB_OFFLINE = not reachable
    try:
        known = datasets.get_dataset_config_names(repository, revision=revision or None)
        pair = _configuration(name, known, source, target)
        return dict(datasets.load_dataset(repository, pair, revision=revision or None))
    except UserError:
        raise
    except Exception as error:  # whatever its many readers raise
        reason = (
            " ".join(str(error).split())[:200] if reachable else "the hub cannot be reached, and it is not in the cache"
        )
        raise UserError(f"{name!r} is neither a folder nor a table, nor to be had from the hub: {reason}.") from error


def _configuration(name: str, known: list[str], source: str, target: str) -> str | None:
    if len(known) < 2:
        return next(iter(known), None)
    pairs = [first + sign + second for first, second in ((source, target), (target, source)) for sign in "-_"]
    found = next((pair for pair in pairs if pair in known), None)
    if found is None:
        raise UserError(f"{name!r} has no pair {source}-{target}: its configurations are {some(map(repr, known), 12)}.")
    return found


def _column(name: str, features: Any, source: str, target: str) -> str | None:
    """Return the column that holds both languages; None where each has its own."""
    nested = [column for column, kind in features.items() if _languages(kind) >= {source, target}]
    if nested:
        return nested[0]
    if source in features and target in features:
        return None
    languages = sorted({language for kind in features.values() for language in _languages(kind)})
    found = f" Its languages are {some(map(repr, languages))}." if languages else ""
    raise UserError(
        f"No translation from {source!r} to {target!r} in {name!r}.{found} Its columns are {some(map(repr, features))}."
    )


def _languages(kind: Any) -> set[str]:
    """Return the languages that a column holds: of `datasets`' translation type, or the keys of a plain struct."""
    return set(getattr(kind, "languages", kind if isinstance(kind, dict) else ()))


def _rows(place: str, table: Any, column: str | None, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    number = 0
    for batch in table.iter(batch_size=10_000):
        pairs = batch[column] if column else [dict(zip(batch, row)) for row in zip(*batch.values())]  # noqa: B905
        for pair in pairs:
            yield f"{place}:{number}", _text(pair, source), _text(pair, target)
            number += 1


def _text(pair: dict[str, Any] | None, language: str) -> str:
    """Return a sentence; nothing where the row has none, or no text."""
    value = (pair or {}).get(language)
    return value if isinstance(value, str) else ""
