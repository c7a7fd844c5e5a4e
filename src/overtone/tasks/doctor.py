"""`overtone doctor`: is the installation whole, and which of the published data sets stand in a folder?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from overtone.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from overtone.data.published import Contents, Published

State = Literal["ok", "absent", "wrong"]
MARKS: dict[State, str] = {"ok": "ok", "absent": "-", "wrong": "wrong"}


@dataclass(frozen=True)
class DoctorConfig:
    """Check the installation; or, of a folder of published data sets, which are there, whole, and as published."""

    data_root: Positional[str] = ""
    """The folder that holds imagenet, caltech-101, oxford_pets and the others; the installation when not given."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, in a line, and what to do about it."""

    name: str
    state: State
    found: str
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoctorResult:
    """All that was looked at; `str` gives the lines to print."""

    title: str
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[str]:
        """The names of what is wrong; what is merely not there is not."""
        return [finding.name for finding in self.findings if finding.state == "wrong"]

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        return "\n".join([self.title, "", *(line for finding in self.findings for line in _lines(finding, width))])


def doctor(config: DoctorConfig) -> DoctorResult:
    """Look at the installation, or at the data sets under `config.data_root`. Raises UserError for no such folder."""
    if config.data_root:
        return examine_data(Path(config.data_root))
    from overtone.tasks.doctor_installation import examine_installation

    return DoctorResult("The installation", tuple(examine_installation()))


def examine_data(root: Path) -> DoctorResult:
    """Return what is there of each published data set."""
    from overtone.data.folders import neighbours
    from overtone.data.published import GUIDE, PUBLISHED

    if not root.is_dir():
        raise UserError(f"There is no folder {str(root)!r}.{did_you_mean(str(root), neighbours(root))}")
    findings = tuple(examine(published, root) for published in PUBLISHED)
    whole = sum(finding.state == "ok" for finding in findings)
    wrong = sum(finding.state == "wrong" for finding in findings)
    title = f"{str(root)!r}: of {len(findings)} data sets, {whole} as published, {wrong} wrong, "
    return DoctorResult(f"{title}{len(findings) - whole - wrong} not there. How to obtain them: {GUIDE}", findings)


def examine(published: "Published", root: Path) -> Finding:
    """Return whether a data set is there, and how what is there differs from what was published."""
    from overtone.data.published import contents, faults, missing_files

    missing = missing_files(published, root)
    if missing:
        state: State = "absent" if missing == [published.folder] else "wrong"
        return Finding(published.name, state, f"there is no {', '.join(missing)}", _where(published))
    try:
        found = contents(published, root)
    except UserError as error:
        return Finding(published.name, "wrong", str(error), _where(published))
    wrong = [*_differences(published, found), *faults(published, found)]
    return Finding(published.name, "wrong" if wrong else "ok", _counted(found), tuple(wrong))


def _differences(published: "Published", found: "Contents") -> Iterator[str]:
    """Yield where the numbers are not those published."""
    if found.classes != published.classes:
        yield f"{found.classes:,} classes instead of {published.classes:,}"
    for split, number in published.counts.items():
        if (there := len(found.splits.get(split, ()))) != number:
            yield f"{split} has {there:,} pictures instead of {number:,}"


def _counted(found: "Contents") -> str:
    splits = ", ".join(f"{split} {len(entries):,}" for split, entries in found.splits.items())
    return f"{found.classes:,} classes; pictures: {splits}"


def _where(published: "Published") -> tuple[str, ...]:
    places = [f"published at {place}" for place in published.where]
    if published.split:
        places.append(f"{published.split} at https://drive.google.com/file/d/{published.split_at}")
    return tuple(places)


def _lines(finding: Finding, width: int) -> Sequence[str]:
    head = f"{finding.name:<{width}}  {MARKS[finding.state]:<5}  {finding.found}"
    return [head, *(f"{'':<{width}}         {line}" for line in finding.advice)]
