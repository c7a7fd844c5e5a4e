"""Fetch what the English-German corpus is made of with apt's own client: index files, and catalogues out of packages.

apt works in a folder of its own below `.work/`, so that neither root's rights nor the machine's own lists are needed,
and checks the signatures and digests itself. Of a package only German catalogues and its copyright file are kept.
"""

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.packages import WORK

HERE = WORK / "parallel"
PINS = Path(__file__).with_name("parallel_packages.tsv")
CATALOGUE = re.compile(r"(?:^|/)(?:de|de_DE)/.*\.mo$|[-/]de(?:_DE)?\.mo$")
COPYRIGHT = re.compile(r"^usr/share/doc/[^/]+/copyright$")
BATCH = 20  # packages that are on the disk at once


@dataclass(frozen=True)
class Package:
    """A binary package, as an index or a line of pins has it."""

    name: str
    version: str
    sha256: str
    source: str = ""  # the source package it is built from


@dataclass(frozen=True)
class Unpacked:
    """What is kept of a package."""

    package: Package
    catalogues: tuple[Path, ...]
    copyright: Path | None  # None where the package keeps it in another one


def update() -> None:
    """Bring the indices up to date: packages, and their descriptions in English and German."""
    for folder in (HERE / "lists/partial", HERE / "cache/archives/partial"):
        folder.mkdir(parents=True, exist_ok=True)
    # An empty value first: a list that the machine's own configuration began is else only added to.
    languages = [f"Acquire::Languages{item}" for item in ("=", "::=en", "::=de")]
    _apt("update", *(word for item in languages for word in ("-o", item)))


def index(kind: str) -> Iterator[dict[str, str]]:
    """Yield the entries of all indices of a kind: "Packages", "Translation-en" or "Translation-de"."""
    files = sorted(file for file in (HERE / "lists").iterdir() if re.search(rf"_{kind}(\.\w+)?$", file.name))
    if not files:
        raise FileNotFoundError(f"apt has brought no index {kind}: does its configuration allow it?")
    for file in files:
        run = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(file)], check=True, capture_output=True)
        yield from stanzas(run.stdout.decode())


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the entries of a file in Debian's control format: fields by their names, with their further lines."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith((" ", "\t")):
                fields[name] = f"{fields.get(name, '')}\n{line[1:]}"
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def offered() -> list[Package]:
    """Return the packages that the indices have, several versions of some."""
    return [
        Package(entry["Package"], entry["Version"], entry["SHA256"], entry.get("Source", entry["Package"]).split()[0])
        for entry in index("Packages")
    ]


def pinned() -> list[Package]:
    """Return the packages that the corpus is made of."""
    lines = (line.split("\t") for line in PINS.read_text().splitlines() if not line.startswith("#"))
    return [Package(*line) for line in lines]


def choose(pins: Iterable[Package], offers: Iterable[Package]) -> tuple[list[Package], list[str]]:
    """Return for each pin the package to take, and a line for each that is not the pinned one.

    A point release replaces packages and the archive keeps no old ones: the latest offered then takes the place.
    Raises ValueError for a digest that is another than the pinned one.
    """
    by_name: dict[str, list[Package]] = {}
    for package in offers:
        by_name.setdefault(package.name, []).append(package)
    chosen, notes = [], []
    for pin in pins:
        found = by_name.get(pin.name, [])
        same = next((package for package in found if package.version == pin.version), None)
        if same and same.sha256 != pin.sha256:
            raise ValueError(f"{pin.name} {pin.version}: sha256 is {same.sha256}, pinned {pin.sha256}")
        if same or found:
            chosen.append(same or found[-1])
        if not same:
            notes.append(f"{pin.name}: {pin.version} is gone, {found[-1].version if found else 'nothing'} taken")
    return chosen, notes


def fetch(packages: Sequence[Package]) -> list[Unpacked]:
    """Return the packages' catalogues, downloading those that are not there yet."""
    missing = [package for package in packages if not _folder(package).is_dir()]
    for start in range(0, len(missing), BATCH):
        with tempfile.TemporaryDirectory(dir=HERE) as scratch:
            wanted = {f"{package.name}={package.version}": package for package in missing[start : start + BATCH]}
            _apt("download", *wanted, cwd=scratch)
            archives = {file.name.partition("_")[0]: file for file in Path(scratch).glob("*.deb")}
            for package in wanted.values():
                _unpack(archives[package.name], _folder(package))
        print(f"{min(start + BATCH, len(missing)):,} of {len(missing):,} packages fetched", flush=True)
    return [_unpacked(package) for package in packages]


def _apt(*arguments: str, cwd: str | Path = ".") -> None:
    places: Mapping[str, object] = {"Dir::State::lists": HERE / "lists", "Dir::Cache": HERE / "cache"}
    # Without another user to drop to, who may not write into a folder of ours.
    options = [f"{name}={value}" for name, value in (*places.items(), ("APT::Sandbox::User", "root"))]
    command = ["apt-get", "-qq", *(word for option in options for word in ("-o", option)), *arguments]
    subprocess.run(command, cwd=cwd, check=True)


def _folder(package: Package) -> Path:
    return HERE / "packages" / f"{package.name}_{package.version.replace(':', '%3a')}"


def _unpack(archive: Path, folder: Path) -> None:
    """Write the catalogues and the copyright file of a .deb into a folder that is there only once it is whole."""
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        for member in tar:
            path = member.name.removeprefix("./")
            if member.isfile() and (CATALOGUE.search(path) or COPYRIGHT.search(path)):
                tar.extract(member, beside, filter="data")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "dpkg-deb")
    beside.replace(folder)


def _unpacked(package: Package) -> Unpacked:
    files = sorted(file for file in _folder(package).rglob("*") if file.is_file())
    notes = [file for file in files if file.name == "copyright"]
    return Unpacked(package, tuple(file for file in files if file.suffix == ".mo"), notes[0] if notes else None)
