"""A data set as the protocols take it: published, embedded, or the user's own."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import PurePath

from overtone.data.imageset import ImageSet


@dataclass(frozen=True)
class DataSet:
    """Pictures to learn from, to choose by and to be judged on, and how its classes are put into words.

    All three number the same classes in the same way. Two classes may have one name, as ImageNet's sunglasses do.
    """

    name: str
    train: ImageSet  # without pictures where the set is for testing alone
    val: ImageSet | None
    test: ImageSet
    templates: tuple[str, ...] = ()  # none: the model's own
    divided_at: int | None = None  # how many classes are base ones, where the data says
    notes: tuple[str, ...] = ()  # what a reader of its figures must know

    @property
    def base(self) -> int:
        """How many classes, the first ones, are base classes: ceil(n / 2), as the field has it, if nothing is said."""
        return math.ceil(len(self.test.classes) / 2) if self.divided_at is None else self.divided_at

    @property
    def digest(self) -> str:
        """Which files and classes the set consists of, as a short hash that does not depend on where it stands."""
        sha = hashlib.sha256(repr((self.test.classes, self.templates, self.base)).encode())
        for images in filter(None, (self.train, self.val, self.test)):
            sha.update(b"\0")
            for record in images.records:
                sha.update(
                    f"{'/'.join(PurePath(record.source).parts[-2:])}\t{record.label}\n".encode(errors="surrogateescape")
                )
        return sha.hexdigest()[:16]
