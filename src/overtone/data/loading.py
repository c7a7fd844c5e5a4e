"""From what the user names (`emoji`, a folder, a table) to the pictures to learn from and those to be judged on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from overtone.data.cifar import find_cifar, read_cifar
from overtone.data.copies import copies
from overtone.data.emoji import TEST_STYLES, TRAIN_STYLES, emoji_part
from overtone.data.fashion_mnist import FASHION_MNIST, read_fashion_mnist
from overtone.data.folders import neighbours, read_folder
from overtone.data.hub import HUB_ID, read_hub
from overtone.data.imagenet import find_imagenet, read_imagenet
from overtone.data.images import kind_of
from overtone.data.imageset import ImageSet, Row, Skipped, Splits, image_set, require_classes
from overtone.data.names import clean_name, count, natural_key, some
from overtone.data.shots import TEST_PERCENT, hold_out
from overtone.data.source import Level, Source
from overtone.data.tables import CSV_EXTENSIONS, JSON_EXTENSIONS, read_table
from overtone.errors import UserError, did_you_mean

EMOJI = "emoji"
NAMED = (EMOJI, FASHION_MNIST)  # sets that are known by name
KINDS = f"{' or '.join(map(repr, NAMED))}, a folder of class folders, a CSV, TSV or JSON table, or a hub id"
Choices = list[tuple[str, str, str]]


def load(
    data: str,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Splits:
    """Return the splits of `data`: "emoji", "fashion-mnist", a folder of class folders, a CSV, TSV or JSON table,
    or a hub id. CIFAR's and ImageNet's own layouts are known.

    With `classes`, only these are adapted to, and the test pictures of all others become `unseen`; so do test
    pictures of classes that have none to learn from. Without test pictures, a stratified part is held out under
    `seed`, all copies of a picture or none. Pictures to be judged on that are copies of pictures to learn from are left
    out, but of sets that are tested as published: emoji, Fashion-MNIST, CIFAR and ImageNet.

    A folder of your own that is called emoji is "./emoji". No picture is decoded here: `check` and `check_splits` do
    that, and files are read only as far as it takes to find copies.

    Raises UserError.
    """
    source = _source(data, image_column, label_column)
    held_out = source is not None and not (source.levels.get("test") or source.levels.get("val"))

    def divided(bad: Sequence[Skipped]) -> Splits:
        splits = _emoji() if source is None else _arrange(source, data, seed, bad)
        splits = splits if classes is None else _adapt_to(splits, classes)
        return replace(splits, anew=(lambda more: divided([*bad, *more])) if held_out else None)

    splits = divided([])
    _require_two(splits.train.classes, data)
    return splits


@dataclass(frozen=True)
class Tests:
    """Pictures to judge an adapter on."""

    images: ImageSet
    published: bool  # whether they are the field's, and so are left as they are
    skipped: tuple[Skipped, ...]
    choices: tuple[tuple[str, str, str], ...]


def load_tests(data: str, image_column: str | None = None, label_column: str | None = None) -> Tests:
    """Return the pictures of the test level of `data`, or of val where it has none, less copies of those to learn from.

    Without either, all pictures are returned. A picture that is there more than once in a class counts once. Sets that
    are tested as published are left as they are. Raises UserError.
    """
    source = _source(data, image_column, label_column)
    if source is None:
        splits = _emoji()
        rows = [row for part in (splits.test, splits.unseen) if part for row in _rows(part)]
        return Tests(image_set(rows), True, (), splits.choices[1:])
    level: Level | None = next((level for level in ("test", "val") if source.levels.get(level)), None)
    published = source.published and level is not None
    if level:
        rows, train = source.levels[level], source.levels.get("train", [])
        how = "the data has one" if level == "test" else source.lacks.format("test")
        choices = [("test pictures", f"the {level} level, {count(len(rows), 'picture')}", how)]
    else:
        rows, train = [row for level in source.levels.values() for row in level], []
        choices = [("test pictures", f"all, {count(len(rows), 'picture')}", source.lacks.format("test"))]
    if not published:
        same = copies([*train, *rows])
        rows = _once(_apart(rows, train, "test", data, same, choices), same, choices)
    return Tests(image_set(rows), published, source.skipped, (*source.choices, *choices))


def is_hub_id(data: str) -> bool:
    """Return whether `data` is read as owner/name on the hub: not where there is a folder called owner."""
    path = Path(data)
    return HUB_ID.fullmatch(data) is not None and kind_of(path) is None and kind_of(path.parent) is None


def _source(data: str, image_column: str | None, label_column: str | None) -> Source | None:
    """Return what is called `data`; None for the emoji set."""
    if not data.strip():
        raise UserError(f"No data is named. Give {KINDS}.")
    if data not in NAMED:
        read = read_hub if is_hub_id(data) else _read
        return read(data, image_column, label_column)
    if image_column or label_column:
        raise UserError(f"Columns are named for a CSV, TSV or JSON table: the {data} set is none.")
    return None if data == EMOJI else read_fashion_mnist()


def _read(data: str, image_column: str | None, label_column: str | None) -> Source:
    path = Path(data)
    kind = kind_of(path)
    if kind is None:
        near = did_you_mean(data, [*NAMED, *neighbours(path)])
        raise UserError(f"No data at {data!r}: there is no such file or folder.{near} Give {KINDS}.")
    if path.suffix.lower() in CSV_EXTENSIONS | JSON_EXTENSIONS and kind == "file":
        return read_table(path, image_column, label_column)
    if kind != "folder":
        raise UserError(
            f"{data!r} is neither a folder nor a table ({', '.join(sorted(CSV_EXTENSIONS | JSON_EXTENSIONS))})."
        )
    if image_column or label_column:
        raise UserError(f"Columns are named for a CSV, TSV or JSON table: {data!r} is a folder.")
    if cifar := find_cifar(path):
        return read_cifar(*cifar)
    if imagenet := find_imagenet(path):
        return read_imagenet(imagenet)
    return read_folder(path)


def _emoji() -> Splits:
    train, test = emoji_part("base", TRAIN_STYLES), emoji_part("base", TEST_STYLES)
    unseen = emoji_part("new")
    return Splits(
        train,
        None,
        test,
        unseen,
        (),
        (
            (
                "training pictures",
                f"{len(train.classes)} base concepts in {' and '.join(TRAIN_STYLES)}, {len(train)} pictures",
                "the emoji set: concepts and styles are divided once for all",
            ),
            (
                "test pictures",
                f"the same concepts in {' and '.join(TEST_STYLES)}, {len(test)} pictures",
                "each concept has one picture a style, so the training styles have none left to test these concepts on",
            ),
            (
                "unseen classes",
                f"{len(unseen.classes)} new concepts in all four styles, {len(unseen)} pictures",
                "concepts that neither the embedded model nor the adapter has learned from",
            ),
        ),
    )


def _arrange(source: Source, data: str, seed: int, bad: Sequence[Skipped]) -> Splits:
    """Divide what was found, less the pictures that proved `bad`; a class with no others stays, without a picture."""
    choices: Choices = list(source.choices)
    names = {level: {row.name for row in rows} for level, rows in source.levels.items()}
    without = {item.source for item in bad}
    levels = {level: [row for row in rows if row.source not in without] for level, rows in source.levels.items()}
    train, val, test = _divide(replace(source, levels=levels), data, seed, choices)
    known = sorted(names.get("train") or names.get("all") or {row.name for row in test}, key=natural_key)
    _require_two(known, data)
    unseen = [row for row in test if row.name not in known]
    if stray := sum(row.name not in known for row in val or ()):
        choices.append(
            ("validation pictures left out", count(stray, "picture"), "their classes have no training pictures")
        )
    if unseen:
        value = f"{count(len({row.name for row in unseen}), 'class')}, {count(len(unseen), 'picture')}"
        choices.append(("unseen classes", value, "they have test pictures and no training pictures"))
    return Splits(
        image_set(train, known),
        image_set(val, known) if val else None,
        _require_tests(image_set(test, known), data, bad),
        image_set(unseen) if unseen else None,
        (*source.skipped, *bad),
        tuple(choices),
    )


def _divide(source: Source, data: str, seed: int, choices: Choices) -> tuple[list[Row], list[Row], list[Row]]:
    """Settle which pictures are to learn from, to choose by and to be judged on; what was decided goes to `choices`."""
    train, val, test = (source.levels.get(level, []) for level in ("train", "val", "test"))
    train = train or source.levels.get("all", [])
    as_published = source.published and bool(val or test)
    same = {} if as_published else copies([*train, *val, *test])
    if not test and val:
        test, val = val, []
        choices.append(("test pictures", f"the validation pictures, {len(test)}", source.lacks.format("test")))
    if not test:
        choices += _copied(train, same)
        train, test, single = hold_out(train, seed, same)
        kept = f"; {count(single, 'class')} with a single picture, kept for training" if single else ""
        value = f"{TEST_PERCENT} % of each class, {count(len(test), 'picture')}{kept}"
        choices.append(("test split", value, f"made here with seed {seed}: {source.lacks.format('test')}"))
    if not train:
        choices.append(("training pictures", "none", source.lacks.format("train")))
    if not as_published:
        choices += _in_two_classes([*train, *val, *test], same)
        test = _once(_apart(test, train, "test", data, same, choices), same, choices)
        val = _apart(val, [*train, *test], "validation", data, same, choices)
    return train, val, test


def _copied(pool: list[Row], same: dict[int, int]) -> Choices:
    """Return the choice that says how many pictures of a class are copies of others, if any are."""
    if more := len(pool) - len({(row.name, same[id(row)]) for row in pool}):
        return [
            ("copies", count(more, "picture"), "identical to another of the class: all learned from, or tested on once")
        ]
    return []


def _in_two_classes(rows: list[Row], same: dict[int, int]) -> Choices:
    """Return the choice that says how many pictures stand in more than one class, if any do, and the first."""
    names: dict[int, dict[str, None]] = {}
    for row in rows:
        names.setdefault(same[id(row)], {})[row.name] = None
    if not (several := {first: list(found) for first, found in names.items() if len(found) > 1}):
        return []
    first, found = next(iter(several.items()))
    source = next(row.source for row in rows if same[id(row)] == first)
    return [("pictures in several classes", count(len(several), "picture"), f"the first, {source!r}, is {some(found)}")]


def _apart(
    part: list[Row], others: list[Row], what: str, data: str, same: dict[int, int], choices: Choices
) -> list[Row]:
    """Leave out pictures that are among `others`; UserError when no test picture is left."""
    there = {same[id(row)] for row in others}
    kept = [row for row in part if same[id(row)] not in there]
    if left := len(part) - len(kept):
        those = "training pictures" if what == "test" else "training or test pictures"
        choices.append((f"{what} pictures left out", count(left, "picture"), f"identical to {those}"))
    if part and not kept and what == "test":
        raise UserError(
            f"All {len(part)} test pictures of {data!r} are identical to training pictures, so that nothing "
            "is left to test on. Add test pictures that are not learned from."
        )
    return kept


def _once(part: list[Row], same: dict[int, int], choices: Choices) -> list[Row]:
    """Leave out test pictures that the class has already: a picture says no more for being there twice."""
    first: dict[tuple[str, int], Row] = {}
    for row in part:
        first.setdefault((row.name, same[id(row)]), row)
    if left := len(part) - len(first):
        how = "identical to another test picture of the class, which counts once"
        choices.append(("test pictures left out", count(left, "picture"), how))
    return list(first.values())


def _adapt_to(splits: Splits, classes: Sequence[str]) -> Splits:
    """Keep the named classes; the test pictures of the others join the unseen ones."""
    wanted = list(dict.fromkeys(clean_name(name) for name in classes))
    require_classes(wanted, splits.train.classes)
    others = [name for name in splits.train.classes if name not in wanted]
    unseen = [row for part in (splits.test.of_classes(others), splits.unseen) if part for row in _rows(part)]
    choice = (
        "classes",
        f"{len(wanted)} of {len(splits.train.classes)}",
        "named by you; test pictures of the others are unseen",
    )
    return replace(
        splits,
        train=splits.train.of_classes(wanted),
        val=splits.val and splits.val.of_classes(wanted),
        test=_require_tests(splits.test.of_classes(wanted), "the classes named", splits.skipped),
        unseen=image_set(unseen) if unseen else None,
        choices=(*splits.choices, choice),
    )


def _rows(images: ImageSet) -> list[Row]:
    return [Row(r.source, images.classes[r.label], r.domain, r.encoded) for r in images.records]


def _require_two(classes: Sequence[str], data: str) -> None:
    if len(classes) < 2:
        raise UserError(f"One class alone, {classes[0]!r}, in {data!r}: to tell pictures apart takes at least two.")


def _require_tests(test: ImageSet, place: str, bad: Sequence[Skipped]) -> ImageSet:
    if not test.records:
        skipped = f" Of its files, {len(bad)} are bad, the first {bad[0].source!r}: {bad[0].reason}." if bad else ""
        raise UserError(
            f"No test picture for any of the {len(test.classes)} classes of {place!r}: add some, or more to each "
            f"class; identical ones count as one.{skipped}"
        )
    return test
