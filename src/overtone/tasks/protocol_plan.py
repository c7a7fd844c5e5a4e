"""What a protocol measures: its cells, and what each learns from and is judged on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from overtone.data import ImageSet
from overtone.data.published import DataSet, few_shot_as_published, part_of
from overtone.errors import UserError
from overtone.tasks.protocols import Protocol

UNLEARNED = ("zero-shot",)  # methods that learn from nothing: one cell serves all shots and seeds
BASE, NEW, TEST = "base", "new", "test"


@dataclass(frozen=True)
class Cell:
    """One adaptation: a method, what it learns, how many pictures a class (0 for none), drawn under which seed."""

    method: str
    data: str
    shots: int
    seed: int

    def __str__(self) -> str:
        drawn = f", {self.shots} shots, seed {self.seed}" if self.shots else ""
        return f"{self.method} on {self.data}{drawn}"


@dataclass(frozen=True)
class Exam:
    """Pictures to be judged on, among their own classes."""

    images: ImageSet
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """What a cell learns from, and its exams."""

    train: ImageSet
    val: ImageSet | None
    templates: tuple[str, ...]
    exams: dict[str, Exam]


@dataclass(frozen=True)
class Plan:
    """All that a protocol measures."""

    protocol: Protocol
    sets: tuple[DataSet, ...]
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    digests: dict[str, str] = field(repr=False)  # of the sets, by name

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        sets: Sequence[DataSet],
        methods: Sequence[str],
        shots: Sequence[int],
        seeds: Sequence[int],
    ) -> "Plan":
        """Return the plan; UserError where the protocol cannot be had of these data sets."""
        digests = {data.name: data.digest for data in sets}
        unique = tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds))
        plan = cls(protocol, tuple(sets), tuple(methods), *unique, digests)
        plan._check()
        return plan

    @property
    def transfers(self) -> bool:
        """Whether one data set is learned and others are judged on."""
        return self.protocol in ("cross-dataset", "domain-generalization")

    @property
    def learned(self) -> tuple[DataSet, ...]:
        """The data sets that are learned."""
        return self.sets[:1] if self.transfers else self.sets

    @property
    def own(self) -> str | None:
        """The exam that a transfer does not count, as it is on the data set that was learned."""
        return self.sets[0].name if self.transfers and len(self.sets) > 1 and len(self.sets[0].test) else None

    @cached_property
    def exams(self) -> tuple[str, ...]:
        """The names of each cell's exams."""
        if not self.transfers:
            return (BASE, NEW) if self.protocol == "base-to-new" else (TEST,)
        if len(self.sets) == 1:
            return self.sets[0].test.domains
        return tuple(data.name for data in self.sets if len(data.test))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell; what shares its pictures stands together."""
        cells = [
            Cell(method, data.name, 0, 0) if method in UNLEARNED else Cell(method, data.name, shots, seed)
            for data in self.learned
            for shots in self.shots
            for seed in self.seeds
            for method in self.methods
        ]
        return tuple(dict.fromkeys(cells))

    def involved(self, cell: Cell) -> dict[str, str]:
        """Return the digests of the data sets that a cell depends on."""
        return self.digests if self.transfers else {cell.data: self.digests[cell.data]}

    def lesson(self, cell: Cell, default_templates: tuple[str, ...]) -> Lesson:
        """Return what a cell learns from and is judged on, drawn anew."""
        data = next(data for data in self.learned if data.name == cell.data)
        drawn = few_shot_as_published(data, cell.shots, cell.seed)
        learned = part_of(drawn, "base") if self.protocol == "base-to-new" else drawn
        exams = {name: Exam(images, own or default_templates) for name, (images, own) in self._exams(data).items()}
        val = learned.val if cell.shots else None
        return Lesson(learned.train, val, data.templates or default_templates, exams)

    def _exams(self, data: DataSet) -> dict[str, tuple[ImageSet, tuple[str, ...]]]:
        if self.protocol == "base-to-new":
            return {
                BASE: (part_of(data, "base").test, data.templates),
                NEW: (part_of(data, "new").test, data.templates),
            }
        if not self.transfers:
            return {TEST: (data.test, data.templates)}
        if len(self.sets) > 1:
            return {other.name: (other.test, other.templates) for other in self.sets if len(other.test)}
        by_domain = {
            domain: [i for i, r in enumerate(data.test.records) if r.domain == domain] for domain in self.exams
        }
        return {domain: (data.test.select(indices), data.templates) for domain, indices in by_domain.items()}

    def _check(self) -> None:
        for data in self.learned:
            if not len(data.train):
                raise UserError(f"{data.name} has no pictures to learn from: {self.protocol} learns {self._what()}.")
            if self.protocol == "base-to-new":
                _require_halves(data)
        if self.protocol == "cross-dataset" and len(self.sets) < 2:
            raise UserError("cross-dataset learns the first data set and judges on the others: name two or more.")
        if not self.exams:
            raise UserError(
                f"{self.sets[0].name} names no domains: for domain-generalization, name data sets to judge on behind "
                "it, or give its table a column `domain`."
            )

    def _what(self) -> str:
        return "the first data set" if self.transfers else "every data set"


def _require_halves(data: DataSet) -> None:
    for part in (BASE, NEW):
        test = part_of(data, part).test  # type: ignore[arg-type]
        if len(test.classes) < 2 or not len(test):
            raise UserError(
                f"{data.name} has {len(test.classes)} {part} classes with {len(test)} test pictures: base-to-new takes "
                "two classes or more in each half, with pictures to test."
            )
