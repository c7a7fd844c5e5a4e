"""Pictures with labels, not yet decoded."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from overtone.data.images import BadImage, Held, open_image
from overtone.data.names import natural_key, same_names
from overtone.data.threads import on_all_cores
from overtone.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Record:
    """One picture, not yet decoded."""

    source: str  # path or record name shown to the user
    label: int  # index into ImageSet.classes
    domain: str | None = None  # style or domain when the data says
    encoded: Held | None = None  # the file's bytes, or the pixels, when it does not stand on disk

    def open(self) -> Image.Image:
        """Return the picture as RGB; raises BadImage."""
        return open_image(self.source if self.encoded is None else self.encoded)


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Pictures and the names of their classes."""

    records: tuple[Record, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> list[int]:
        """The class of each picture, as an index into `classes`."""
        return [record.label for record in self.records]

    @property
    def domains(self) -> tuple[str, ...]:
        """The distinct domains, sorted; empty when the data names none."""
        return tuple(sorted({record.domain for record in self.records if record.domain is not None}))

    def select(self, indices: Iterable[int]) -> "ImageSet":
        """Return the pictures at `indices`, with the same classes."""
        return replace(self, records=tuple(self.records[i] for i in indices))

    def of_classes(self, names: Sequence[str]) -> "ImageSet":
        """Return the pictures of the classes `names`, labelled in that order; UserError for a name that is none."""
        wanted = tuple(dict.fromkeys(names))
        require_classes(wanted, self.classes)
        return self.relabelled(wanted)

    def known_as(self, names: Iterable[str]) -> "ImageSet":
        """Return the same pictures, with the classes called as among `names` where they are but for case, _ and -."""
        return replace(self, classes=tuple(same_names(self.classes, names)))

    def relabelled(self, names: Sequence[str]) -> "ImageSet":
        """Return the pictures whose class is among `names`, labelled in that order; a name may have no pictures."""
        label = {i: names.index(name) for i, name in enumerate(self.classes) if name in names}
        return ImageSet(tuple(replace(r, label=label[r.label]) for r in self.records if r.label in label), tuple(names))


@dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose by and what to be judged on."""

    train: ImageSet
    val: ImageSet | None
    test: ImageSet
    unseen: ImageSet | None  # test pictures of classes that are not adapted to, with their own class list
    skipped: tuple[Skipped, ...]  # inputs that could not be used
    choices: tuple[tuple[str, str, str], ...]  # (what, value, how) of every decision made here
    # Where the test pictures are held out here: the division anew, of what is left without the bad pictures given
    anew: "Callable[[Sequence[Skipped]], Splits] | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Row:
    """One picture with the name of its class, before classes have numbers."""

    source: str
    name: str
    domain: str | None = None
    encoded: Held | None = None


def image_set(rows: Iterable[Row], classes: Sequence[str] | None = None) -> ImageSet:
    """Number the classes (those given, or those found in natural order) and keep the rows that are of them."""
    rows = tuple(rows)
    if classes is None:
        classes = sorted({row.name for row in rows}, key=natural_key)
    label = {name: i for i, name in enumerate(classes)}
    records = (Record(r.source, label[r.name], r.domain, r.encoded) for r in rows if r.name in label)
    return ImageSet(tuple(records), tuple(classes))


def require_classes(names: Iterable[str], classes: Sequence[str]) -> None:
    """Raise UserError for the first of `names` that is not among `classes`."""
    for name in names:
        if name not in classes:
            raise UserError(
                f"No class {name!r} among the {len(classes)} of the data.{did_you_mean(name, classes)} "
                f"The first are {', '.join(repr(known) for known in classes[:5])}."
            )


def check(images: ImageSet) -> tuple[ImageSet, list[Skipped]]:
    """Decode every picture once, on all cores, and part the good from the bad; UserError when none is good."""
    reasons = _faults(images.records)
    skipped = [Skipped(r.source, reason) for r, reason in zip(images.records, reasons, strict=True) if reason]
    require_good(images, skipped)
    return images.select(i for i, reason in enumerate(reasons) if not reason), skipped


def require_good(images: ImageSet, skipped: Sequence[Skipped]) -> None:
    """Raise UserError when every picture of a set was skipped."""
    if skipped and len(skipped) == len(images):
        first = skipped[0]
        raise UserError(
            f"None of the {len(skipped)} pictures can be used. The first, {first.source!r}: {first.reason}. "
            "Check that the files are whole and are pictures."
        )


def check_splits(splits: Splits) -> Splits:
    """Decode every picture of every split once; the bad ones go from their sets to `skipped`.

    Where the test pictures were held out here, the good ones are divided as if there had never been others.
    """
    if splits.anew:
        return _check_anew(splits)
    sets: dict[str, ImageSet | None] = {}
    skipped = list(splits.skipped)
    for part in ("train", "val", "test", "unseen"):
        images: ImageSet | None = getattr(splits, part)
        if images is not None:
            images, bad = check(images)
            skipped += bad
        sets[part] = images
    return replace(splits, skipped=tuple(skipped), **sets)  # type: ignore[arg-type]


def _check_anew(splits: Splits) -> Splits:
    """Decode the pictures and divide the good ones, until no picture that has a place is bad."""
    decoded: set[str] = set()
    good = 0
    while splits.anew:
        parts = [part for part in (splits.train, splits.val, splits.test, splits.unseen) if part]
        new = list({r.source: r for part in parts for r in part.records if r.source not in decoded}.values())
        decoded.update(record.source for record in new)
        bad = [Skipped(r.source, reason) for r, reason in zip(new, _faults(new), strict=True) if reason]
        if not bad:
            break
        good += len(new) - len(bad)
        if not good:
            require_good(ImageSet(tuple(new), splits.train.classes), bad)
        splits = splits.anew(bad)
    return splits


def _faults(records: Sequence[Record]) -> list[str | None]:
    """Decode pictures on all cores, and return why each cannot be used."""
    return list(on_all_cores(_fault, records))


def _fault(record: Record) -> str | None:
    try:
        record.open()
    except BadImage as error:
        return str(error)
    return None
